"""The files of a model: which folder a path means, what is no model, and what is converted once."""

from functools import partial
from pathlib import Path

import pytest

from jpo_dist.config.sections import LoraConfig, ModelConfig
from jpo_dist.digests import DIGESTS, write_digests
from jpo_dist.model.files import model_folder
from jpo_dist.model.load import load_model
from tests.support.tiny import tiny_model


def test_a_converted_gguf_file_is_known_by_its_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fine-tunes of one model have files of one size, and people name them alike."""
    monkeypatch.setenv("JPO_CACHE", str(tmp_path / "cache"))
    converted = []

    def convert(source: Path, folder: Path, _: object) -> None:
        converted.append(source.parent.name)
        folder.mkdir(exist_ok=True)
        (folder / "weights").write_bytes(source.read_bytes())

    monkeypatch.setattr("jpo_dist.model.files.convert_gguf", convert)
    configs = []
    for name, contents in (("first", b"aaaa"), ("second", b"bbbb"), ("copy of the first", b"aaaa")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.gguf").write_bytes(contents)
        configs.append(ModelConfig(path=str(tmp_path / name), gguf_file="model.gguf", dtype="float32"))
    folders = [Path(model_folder(config)) for config in configs]
    assert [(folder / "weights").read_bytes() for folder in folders] == [b"aaaa", b"bbbb", b"aaaa"]
    assert converted == ["first", "second"]
    (folders[0] / "weights").write_bytes(b"zzzz")
    assert (Path(model_folder(configs[0])) / "weights").read_bytes() == b"aaaa", "damaged: converted again"
    assert converted == ["first", "second", "first"]
    (tmp_path / "first" / "model.gguf").write_bytes(b"cccc")
    assert (Path(model_folder(configs[0])) / "weights").read_bytes() == b"cccc", "a file may be replaced by another"


def test_a_conversion_that_lacks_the_model_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a rank of a second host once left it: tokenizer and digests, and a folder that looked whole."""
    monkeypatch.setenv("JPO_CACHE", str(tmp_path / "cache"))

    def convert(source: Path, folder: Path, _: object, names: tuple[str, ...] = ("tokenizer_config.json",)) -> None:
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).write_text("{}")
        write_digests(folder, names)

    (tmp_path / "model.gguf").write_bytes(b"aaaa")
    config = ModelConfig(path=str(tmp_path), gguf_file="model.gguf", dtype="float32")
    monkeypatch.setattr("jpo_dist.model.files.convert_gguf", convert)
    folder = Path(model_folder(config))
    whole = partial(convert, names=("tokenizer_config.json", "config.json"))
    monkeypatch.setattr("jpo_dist.model.files.convert_gguf", whole)
    assert (Path(model_folder(config)) / "config.json").is_file()
    assert Path(model_folder(config)) == folder


def test_an_adapter_is_no_model_and_the_way_to_one_is_named(tmp_path: Path) -> None:
    """What a LoRA run exports, or another trainer's fine-tune: transformers would miss a `model_type` in it."""
    base = tmp_path / "base"
    tiny_model().save_pretrained(base)
    model = load_model(ModelConfig(path=str(base), dtype="float32", lora=LoraConfig(rank=2)))
    model.save_pretrained(tmp_path / "adapter")
    assert model_folder(ModelConfig(path=str(base))) == str(base)
    with pytest.raises(ValueError, match=r"adapter\) holds an adapter, not a model; .*merge_on_export=true"):
        model_folder(ModelConfig(path=str(tmp_path / "adapter")))


@pytest.mark.parametrize("inside", ["export", "export-merged"])
def test_a_run_folder_is_no_model_and_the_one_in_it_is_named(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("runs/a")
    tiny_model().save_pretrained(run / inside)
    with pytest.raises(ValueError, match=rf"model\.path \(runs/a\) holds no model; did you mean runs/a/{inside}\?"):
        model_folder(ModelConfig(path="runs/a"))
    assert model_folder(ModelConfig(path=f"runs/a/{inside}")) == f"runs/a/{inside}"
    (run / "weights.gguf").touch()
    monkeypatch.setenv("JPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("jpo_dist.model.files.convert_gguf", lambda source, folder, dtype: folder.mkdir())
    assert "weights-" in model_folder(ModelConfig(path="runs/a", gguf_file="weights.gguf"))


def test_a_conversion_of_an_older_version_is_found_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no digests, and gets them of the model's files alone: the mark of who has looked changes."""
    converted = []

    def convert(source: Path, folder: Path, _: object) -> None:
        converted.append(folder)
        folder.mkdir()
        (folder / "weights").write_bytes(source.read_bytes())

    monkeypatch.setenv("JPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("jpo_dist.model.files.convert_gguf", convert)
    (tmp_path / "a.gguf").write_bytes(b"aaaa")
    config = ModelConfig(path=str(tmp_path), gguf_file="a.gguf")
    folder = Path(model_folder(config))
    assert not (folder / DIGESTS).exists(), "as an older version left it"
    for _ in range(3):
        assert Path(model_folder(config)) == folder
    assert len(converted) == 1
