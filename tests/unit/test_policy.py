"""Models from disk: what is converted once, and what gets no adapter."""

from pathlib import Path
from typing import Any

import pytest

from jpo_dist import policy as module
from jpo_dist.config import LoraConfig, ModelConfig
from jpo_dist.policy import add_adapter, load_model, model_folder
from tests.support.tiny import tiny_model


def test_a_converted_gguf_file_is_known_by_its_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fine-tunes of one model have files of one size, and people name them alike."""
    monkeypatch.setenv("JPO_CACHE", str(tmp_path / "cache"))
    converted = []

    def convert(source: Path, folder: Path, _: object) -> None:
        converted.append(source.parent.name)
        folder.mkdir()
        (folder / "weights").write_bytes(source.read_bytes())

    monkeypatch.setattr(module, "_convert_gguf", convert)
    configs = []
    for name, contents in (("first", b"aaaa"), ("second", b"bbbb"), ("copy of the first", b"aaaa")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.gguf").write_bytes(contents)
        configs.append(ModelConfig(path=str(tmp_path / name), gguf_file="model.gguf", dtype="float32"))
    folders = [Path(model_folder(config)) for config in configs]
    assert [(folder / "weights").read_bytes() for folder in folders] == [b"aaaa", b"bbbb", b"aaaa"]
    assert converted == ["first", "second"]
    (tmp_path / "first" / "model.gguf").write_bytes(b"cccc")
    assert (Path(model_folder(configs[0])) / "weights").read_bytes() == b"cccc", "a file may be replaced by another"


def test_an_adapter_is_no_model_and_the_way_to_one_is_named(tmp_path: Path) -> None:
    """What a LoRA run exports, or another trainer's fine-tune: transformers would miss a `model_type` in it."""
    base = tmp_path / "base"
    tiny_model().save_pretrained(base)
    model = load_model(ModelConfig(path=str(base), dtype="float32", lora=LoraConfig(rank=2)))
    model.save_pretrained(tmp_path / "adapter")
    assert model_folder(ModelConfig(path=str(base))) == str(base)
    with pytest.raises(ValueError, match=r"adapter holds an adapter, not a model; .*merge_on_export=true"):
        model_folder(ModelConfig(path=str(tmp_path / "adapter")))


@pytest.mark.parametrize("targets", [["lm_head"], ["q_proj", "lm_head"]])
def test_an_adapter_of_the_head_is_refused(targets: list[str]) -> None:
    """It would be trained by nobody: scores are computed from the head's weight."""
    with pytest.raises(ValueError, match=r"model\.lora\.target_modules \(.*lm_head\) has lm_head.*leave it out"):
        add_adapter(tiny_model(), LoraConfig(rank=2, target_modules=targets))


@pytest.mark.parametrize("targets", [["q_proj"], "all-linear"])
def test_other_layers_get_adapters(targets: Any) -> None:
    adapted = add_adapter(tiny_model(), LoraConfig(rank=2, target_modules=targets))
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trained
    assert not any("lm_head" in name for name in trained)
