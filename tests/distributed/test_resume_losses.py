"""A run of any loss that is killed with SIGKILL goes on with the same losses, byte for byte.

SFT and KTO, and Davidson's loss with a reference that follows the policy, are killed by day in test_resume.
"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jpo_dist.records.comparisons import Comparison, ComparisonSet
from jpo_dist.records.folder import write_set
from tests.support.commands import Warm, numbers, warm_commands
from tests.support.tiny import PLAIN, comparisons, save_tiny

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900)]

NO_REFERENCE = ("reference.mode=none", "reference.path=null")
LOSSES: dict[str, tuple[str, ...]] = {
    "dpo": ("objective.instruction_weight=0",),
    "ipo": ("objective.loss=ipo",),
    "hinge": ("objective.loss=hinge",),
    "cdpo": ("objective.label_smoothing=0.1",),
    "robust": ("objective.loss=robust", "objective.label_smoothing=0.1"),
    "davidson": ("objective.loss=davidson", "objective.ties=use"),
    "rao_kupper": ("objective.loss=rao_kupper", "objective.ties=use"),
    "rpo inside": ("objective.similarity=inside",),
    "rpo outside": ("objective.similarity=outside", "objective.sft_weight=0.1"),
    "sigmoid_norm": ("objective.loss=sigmoid_norm", "objective.beta=2"),
    "sigmoid_norm, no reference": ("objective.loss=sigmoid_norm", "objective.beta=2", *NO_REFERENCE),
    "simpo": ("objective.loss=simpo", "objective.beta=2", *NO_REFERENCE),
    "tr-dpo, hard": ("reference.refresh_every=1",),
    "tr-dpo, soft": ("reference.refresh_every=1", "reference.refresh_share=0.5"),
    "cached reference": ("reference.mode=cached",),
}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    with warm_commands(tmp_path_factory.mktemp("warm")) as commands:
        yield commands


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three steps of two micro-steps each, every fourth comparison a tie, a commit after each step, and another model
    as reference, so that no margin is zero."""
    folder = tmp_path_factory.mktemp("losses")
    made = comparisons(32)
    items, edges = made.all_items(), zip(made.winners_C, made.losers_C, strict=True)
    ties = (Comparison(items[w], items[v], tie=i % 4 == 1) for i, (w, v) in enumerate(edges))
    write_set(ComparisonSet.build(ties), folder / "data")
    settings = {
        "model": {"path": save_tiny(folder / "model"), "dtype": "float32"},
        "data": {"train": str(folder / "data"), "template": PLAIN},
        "reference": {"path": save_tiny(folder / "other", seed=1)},
        "optim": {"lr": 1e-2},
        "train": {"comparisons_per_step": 8, "tokens_per_micro_step": 256, "max_steps": 3},
        "checkpoint": {"every": 1},
        "tracking": {"uri": "none"},
        "cluster": {"workers": 0},
        "run": {"name": "losses"},
    }
    path = folder / "losses.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return str(path)


@pytest.mark.parametrize("name", LOSSES)
def test_a_killed_run_of_any_loss_goes_on_with_the_same_losses(
    warm: Warm, config: str, tmp_path: Path, name: str
) -> None:
    words = ["train", config, *LOSSES[name]]
    warm(*words, f"run.dir={tmp_path / 'whole'}").check()
    killed = [*words, f"run.dir={tmp_path / 'run'}"]
    assert warm(*killed, env={"JPO_FAULT": "train:step@0@3"}).code == -signal.SIGKILL
    assert "resumed at step 2" in warm(*killed).check().said
    whole = numbers(tmp_path / "whole")
    assert numbers(tmp_path / "run") == whole
    assert [step for step, _ in whole] == [0, 1, 2, 3]
