"""An export is the twin of its source: keys, shapes, dtypes, bits and side files, at every ZeRO stage.

Two ranks load the sources in turn, export each as it is, and again with every weight changed by a known amount. All
families and forms under ZeRO-3 are nightly; in one process tests/unit/model/export/test_families.py has them.
"""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers as hf
from safetensors.torch import save_file

from jpo_dist.distributed import ranks
from jpo_dist.model.build import build_policy
from jpo_dist.model.engine import Engine, connect, set_parameters
from jpo_dist.model.export.write import export
from tests.support.checkpoints import CASES, NOT_OF_A_MODEL, save_model, weights_of
from tests.support.procs import run_ranks
from tests.support.runs import config_for
from tests.support.tiny import byte_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SHIFT = 0.25


DAILY = [("gemma3 with vision", 3), ("gpt2 without prefix", 2), ("bfloat16 in float32", 0)]
EVERY = [(name, 3) for name in CASES] + [(name, stage) for name in ("gemma3 with vision", "gpt2") for stage in (0, 2)]
TORN, LOST = "bfloat16 in float32", "model.layers.1.mlp.up_proj.weight"
NIGHTLY = [export for export in EVERY if export not in DAILY]


class Made(NamedTuple):
    """The folders of a source and its exports."""

    source: Path
    untrained: Path
    changed: Path
    refused: str = ""
    """What was said of an export whose source lacks a weight by then."""


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Made | str]:
    return make(tmp_path_factory.mktemp("daily"), DAILY)


@pytest.fixture(scope="module")
def nightly(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Made | str]:
    return make(tmp_path_factory.mktemp("nightly"), NIGHTLY)


def make(folder: Path, exports: list[tuple[str, int]]) -> dict[tuple[str, int], Made | str]:
    for name in {name for name, _ in exports}:
        save_model(folder / name, CASES[name].config, CASES[name].form)
    found: dict[tuple[str, int], Made | str] = run_ranks(export_each, 2, str(folder), exports, timeout=900)[0]
    return found


def export_each(folder: str, exports: list[tuple[str, int]]) -> dict[tuple[str, int], Made | str]:
    connect(200)
    return {(name, stage): export_one(Path(folder), name, stage) for name, stage in exports}


def export_one(folder: Path, name: str, stage: int) -> Made | str:
    """The exports, or the error of one that failed."""
    model = {"dtype": CASES[name].dtype}
    runs = [f"{folder}/{name}-{stage}-{what}" for what in ("untrained", "changed")]
    configs = [config_for(f"{folder}/{name}", "-", run, engine={"zero_stage": stage}, model=model) for run in runs]
    try:
        policy = build_policy(configs[0].model, configs[0].engine, configs[0].optim)
        untrained = export(policy, byte_tokenizer(), configs[0], {})
        change(policy)
        changed = export(policy, byte_tokenizer(), configs[1], {})
        refused = refuse(policy, folder / name, runs[0]) if name == TORN else ""
        return Made(folder / name, untrained, changed, refused)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def refuse(policy: Engine, source: Path, run: str) -> str:
    """Export once more to `run`, when the source is another."""
    torn = source.with_name("torn")
    if ranks.rank() == 0:
        shutil.copytree(source, torn)
        weights = weights_of(torn)
        del weights[LOST]
        save_file(weights, torn / "model.safetensors")
    ranks.barrier()
    with pytest.raises((ValueError, ranks.PeerError)) as told:
        export(policy, byte_tokenizer(), config_for(str(torn), "-", run, engine={"zero_stage": policy.zero_stage}), {})
    return str(told.value)


def change(policy: Engine) -> None:
    before = dict(policy.whole_parameters())
    set_parameters(policy.module, policy.zero_stage, lambda name: before[name] + SHIFT)


@pytest.fixture(
    params=[*DAILY, *(pytest.param(export, marks=pytest.mark.nightly) for export in NIGHTLY)],
    ids=lambda export: f"{export[0]}, stage {export[1]}",
)
def one(request: pytest.FixtureRequest) -> Made:
    found = request.getfixturevalue("daily" if request.param in DAILY else "nightly")[request.param]
    assert isinstance(found, Made), found
    return found


def test_an_untrained_export_is_its_source_bit_for_bit(one: Made) -> None:
    source, again = weights_of(one.source), weights_of(one.untrained)
    assert again.keys() == source.keys()
    for key, weight in source.items():
        assert again[key].dtype == weight.dtype, key
        assert again[key].shape == weight.shape, key
        assert torch.equal(bits(again[key]), bits(weight)), key


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def test_its_files_are_those_of_its_source(one: Made) -> None:
    """The card is ours; a pickle is written as safetensors."""
    names = {file.name for file in one.source.iterdir()} - NOT_OF_A_MODEL
    renamed = {name: name.replace("pytorch_model", "model").replace(".bin", ".safetensors") for name in names}
    assert {file.name for file in one.untrained.iterdir()} == {"README.md", *renamed.values()}
    assert "base_model:" in (one.untrained / "README.md").read_text(encoding="utf-8")
    for name in sorted(names):
        if name.endswith(".index.json"):
            theirs, ours = (json.loads(file.read_text()) for file in (one.source / name, one.untrained / renamed[name]))
            places = {key: renamed[file] for key, file in theirs["weight_map"].items()}
            assert ours == {"metadata": theirs["metadata"], "weight_map": places}
        elif not name.endswith((".bin", ".safetensors")):
            assert (one.untrained / name).read_bytes() == (one.source / name).read_bytes(), name


def test_a_trained_export_has_what_training_made_of_every_weight(one: Made) -> None:
    """Except of those that text does not go through."""
    (before, found), (after, found_again) = load(one.source), load(one.changed)
    assert found_again["missing_keys"] == found["missing_keys"] == set()
    assert found_again["unexpected_keys"] == found["unexpected_keys"]
    trained = {name for name, _ in before.named_parameters() if "vision" not in name and "multi_modal" not in name}
    rough = {"rtol": 2e-2, "atol": 2e-2} if "in bfloat16" in one.source.name else {"rtol": 0, "atol": 0}
    weights = after.state_dict()
    for name, weight in before.state_dict().items():
        if name in trained:
            torch.testing.assert_close(weights[name], weight + SHIFT, **rough)
        else:  # of a picture, or the second name of a tied weight
            one_of_two = before.config.get_text_config().tie_word_embeddings and name.startswith("lm_head")
            assert torch.equal(weights[name], weight + SHIFT if one_of_two else weight), name


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    loaded: tuple[Any, dict[str, Any]] = hf.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    return loaded


def test_a_weight_that_the_source_lacks_is_named_and_the_earlier_export_stays(
    daily: dict[tuple[str, int], Made | str],
) -> None:
    """And nothing is left of the one that was refused."""
    made = daily[TORN, 0]
    assert isinstance(made, Made), made
    assert f"no weights for {LOST} of LlamaForCausalLM" in made.refused
    assert weights_of(made.untrained).keys() == weights_of(made.source).keys()
    assert [file.name for file in made.untrained.parent.glob(".export*")] in ([], [".export.lock"])
