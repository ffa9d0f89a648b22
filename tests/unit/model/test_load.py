"""Models from disk: what is converted once, and what gets no adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.sections import DataConfig, LoraConfig, ModelConfig
from jpo_dist.model.adapter import add_adapter
from jpo_dist.model.files import model_folder
from jpo_dist.model.load import load_model, load_tokenizer
from jpo_dist.model.scorer import Scorer, pack
from jpo_dist.objective.scores import item_scores
from tests.support.tiny import PLAIN, byte_tokenizer, comparisons, tiny_model


def test_a_converted_gguf_file_is_known_by_its_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fine-tunes of one model have files of one size, and people name them alike."""
    monkeypatch.setenv("JPO_CACHE", str(tmp_path / "cache"))
    converted = []

    def convert(source: Path, folder: Path, _: object) -> None:
        converted.append(source.parent.name)
        folder.mkdir()
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


@pytest.mark.parametrize("load", [load_tokenizer, load_model])
@pytest.mark.parametrize(
    ("path", "reason"), [("my-model", "We couldn't connect to .*"), ("runs/my model", "Repo id must use .*")]
)
def test_a_name_that_leads_nowhere_is_one_sentence_of_ours(
    load: Callable[[ModelConfig], Any], path: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub stands for one that cannot be reached: transformers says so in sixty lines of tracebacks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = rf"model\.path \({path}\): no folder seen from here, and not to be read from the hub: {reason}"
    with pytest.raises(ValueError, match=rf"^{told}[^.\n]; correct the path$") as caught:
        load(ModelConfig(path=path, dtype="float32"))
    assert caught.value.__suppress_context__


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


@pytest.mark.parametrize("targets", [["lm_head"], ["q_proj", "lm_head"]])
def test_an_adapter_of_the_head_is_refused(targets: list[str]) -> None:
    """It would be trained by nobody: scores are computed from the head's weight."""
    with pytest.raises(ValueError, match=r"model\.lora\.target_modules \(.*lm_head\) has lm_head.*leave it out"):
        add_adapter(tiny_model(), LoraConfig(rank=2, target_modules=targets))


def test_layers_that_are_not_there_are_answered_with_those_that_are() -> None:
    told = r"^model\.lora\.target_modules \(nope\): .*nope.* not found.*; its layers are .*k_proj.*; or say all-linear$"
    with pytest.raises(ValueError, match=told) as caught:
        add_adapter(tiny_model(), LoraConfig(rank=2, target_modules=["nope"]))
    assert not {"lm_head", "embed_tokens"} & set(str(caught.value).replace(",", " ").split())


@pytest.mark.parametrize("targets", [["q_proj"], "all-linear"])
def test_other_layers_get_adapters(targets: Any) -> None:
    adapted = add_adapter(tiny_model(), LoraConfig(rank=2, target_modules=targets))
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trained
    assert not any("lm_head" in name for name in trained)


SMALL: dict[str, Any] = {"vocab_size": 258, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GATED: dict[str, Any] = {**SMALL, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
DRAWS: dict[str, Callable[[], Any]] = {
    "opt": lambda: hf.OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=256, dropout=0.5),
    "seed-oss": lambda: hf.SeedOssConfig(**GATED, residual_dropout=0.5, attention_dropout=0.5),
    "phimoe": lambda: hf.PhimoeConfig(**GATED, num_local_experts=4, router_jitter_noise=0.5, input_jitter_noise=0.5),
}


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("family", DRAWS)
def test_a_policy_that_trains_draws_nothing_and_scores_as_its_reference(
    family: str, checkpointed: bool, tmp_path: Path
) -> None:
    """Their dropout is a number of theirs, no module; PhiMoE draws its experts."""
    torch.manual_seed(0)
    hf.AutoModelForCausalLM.from_config(DRAWS[family]()).save_pretrained(tmp_path)
    config = ModelConfig(path=str(tmp_path), dtype="float32", gradient_checkpointing=checkpointed)
    data = DataConfig(train="unused", template=PLAIN)
    tokens = tokenize(byte_tokenizer(), comparisons(2).all_items(), data)
    batch = pack(tokens, np.arange(len(tokens)), torch.device("cpu"))
    policy, reference = load_model(config), load_model(config, trainable=False)
    trained = [item_scores(Scorer(policy)(batch), batch) for _ in range(2)]
    torch.testing.assert_close(trained[0], trained[1], rtol=0, atol=0)
    torch.testing.assert_close(trained[0], item_scores(Scorer(reference)(batch), batch), rtol=0, atol=0)
    forwards: list[object] = []
    layer = next(m for name, m in policy.named_modules() if name.endswith("layers.1.self_attn"))
    layer.register_forward_hook(lambda *_: forwards.append(1))
    trained[0].sum().backward()
    assert len(forwards) == checkpointed, "evaluation mode must not switch checkpointing off"
