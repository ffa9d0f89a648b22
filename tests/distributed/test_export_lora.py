"""Exports of LoRA: an adapter that fits its source, and the twin of the source with the adapter's update in it."""

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import peft
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

from jpo_dist.model.build import build_policy
from jpo_dist.model.engine import connect, set_parameters
from jpo_dist.model.export.write import export
from tests.support.checkpoints import NOT_OF_A_MODEL, save_model, weights_of
from tests.support.families import FAMILIES, gemma3_with_vision
from tests.support.procs import run_ranks
from tests.support.runs import config_for
from tests.support.tiny import byte_tokenizer

pytestmark = pytest.mark.slow

SOURCES = {
    "llama": (FAMILIES["llama, tied head"], "tied, both keys"),
    "gpt2": (FAMILIES["gpt2"], "without prefix"),
    "gemma3 with vision": (gemma3_with_vision, "bfloat16"),
}
DAILY = [("gemma3 with vision", 3), ("gpt2", 0)]
NIGHTLY = [(name, stage) for name in SOURCES for stage in (0, 3) if (name, stage) not in DAILY]
RANK, ALPHA = 2, 6


class Made(NamedTuple):
    source: Path
    untrained: Path
    changed: Path


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Made]:
    return make(tmp_path_factory.mktemp("daily"), DAILY)


@pytest.fixture(scope="module")
def nightly(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Made]:
    return make(tmp_path_factory.mktemp("nightly"), NIGHTLY)


def make(folder: Path, exports: list[tuple[str, int]]) -> dict[tuple[str, int], Made]:
    for name in {name for name, _ in exports}:
        save_model(folder / name, *SOURCES[name])
    found: dict[tuple[str, int], Made] = run_ranks(export_each, 2, str(folder), exports)[0]
    return found


@pytest.fixture(params=[*DAILY, *(pytest.param(run, marks=pytest.mark.nightly) for run in NIGHTLY)], ids=str)
def one(request: pytest.FixtureRequest) -> Made:
    made: Made = request.getfixturevalue("daily" if request.param in DAILY else "nightly")[request.param]
    return made


def export_each(folder: str, exports: list[tuple[str, int]]) -> dict[tuple[str, int], Made]:
    connect(200)
    lora = {"rank": RANK, "alpha": ALPHA, "merge_on_export": True}
    found = {}
    for name, stage in exports:
        runs = [f"{folder}/{name}-{stage}-{what}" for what in ("untrained", "changed")]
        settings: dict[str, Any] = {"engine": {"zero_stage": stage}, "model": {"lora": lora}}
        configs = [config_for(f"{folder}/{name}", "-", run, **settings) for run in runs]
        policy = build_policy(configs[0].model, configs[0].engine, configs[0].optim)
        first = export(policy, byte_tokenizer(), configs[0], {})
        before = dict(policy.whole_parameters())
        values = {key: tensor + 0.25 if "lora" in key else tensor for key, tensor in before.items()}
        set_parameters(policy.module, stage, values.__getitem__)
        found[name, stage] = Made(Path(folder) / name, first, export(policy, byte_tokenizer(), configs[1], {}))
    return found


def test_an_untrained_merge_is_its_source_bit_for_bit(one: Made) -> None:
    merged = one.untrained.with_name("export-merged")
    source, again = weights_of(one.source), weights_of(merged)
    assert again.keys() == source.keys()
    for key, weight in source.items():
        assert again[key].dtype == weight.dtype, key
        assert torch.equal(again[key].flatten().view(torch.uint8), weight.flatten().view(torch.uint8)), key
    for file in one.source.glob("*.json"):
        if file.name not in NOT_OF_A_MODEL:
            assert (merged / file.name).read_bytes() == file.read_bytes()


def test_a_merge_is_the_source_and_what_the_adapter_adds(one: Made) -> None:
    """W + alpha / rank * B A, transposed where the layer is a Conv1D."""
    name = one.source.name
    source, merged = weights_of(one.source), weights_of(one.changed.with_name("export-merged"))
    adapter = load_file(one.changed / "adapter_model.safetensors")
    layers = {key.removesuffix(".lora_A.weight") for key in adapter if key.endswith(".lora_A.weight")}
    assert 2 * len(layers) == len(adapter) > 0
    moved = set()
    for layer in layers:
        update = ALPHA / RANK * adapter[f"{layer}.lora_B.weight"] @ adapter[f"{layer}.lora_A.weight"]
        key = key_of(f"{layer.removeprefix('base_model.model.')}.weight", name)
        expected = source[key].float() + (update.T if name == "gpt2" else update).float()
        moved.add(key)
        assert "vision" not in key, "no text goes through it"
        tolerance = 2e-2 if source[key].dtype == torch.bfloat16 else 1e-6
        torch.testing.assert_close(merged[key].float(), expected, rtol=tolerance, atol=tolerance)
        assert not torch.equal(merged[key], source[key]), key
    for key in source.keys() - moved:
        assert torch.equal(merged[key], source[key]), key


def key_of(name: str, source: str) -> str:
    """The key of a weight, as the source of this test has it."""
    if source == "gpt2":
        return name.removeprefix("transformer.")
    if source == "gemma3 with vision":
        return name.replace("model.language_model.", "language_model.model.")
    return name


def test_an_adapter_has_the_tokenizer_of_its_source_and_no_model(one: Made) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE"):
        assert (one.untrained / name).read_bytes() == (one.source / name).read_bytes()
    assert not {"config.json", "model.safetensors"} & {file.name for file in one.untrained.iterdir()}
    settings = json.loads((one.untrained / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["base_model_name_or_path"] == str(one.source)
    towers = settings["exclude_modules"]
    assert towers == (r"(model\.vision_tower)\..*" if "vision" in one.source.name else None)


def test_peft_puts_it_on_its_base_with_nothing_missing(one: Made) -> None:
    base = hf.AutoModelForCausalLM.from_pretrained(one.source, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        adapted = peft.PeftModel.from_pretrained(base, one.changed)
    written = load_file(one.changed / "adapter_model.safetensors")
    layers = {name.replace(".default.", "."): weight for name, weight in adapted.named_parameters() if "lora" in name}
    assert layers.keys() == written.keys()
    assert all(torch.equal(layers[name].to(weight.dtype), weight) for name, weight in written.items())
