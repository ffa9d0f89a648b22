"""Losses and gradients that are not finite: their updates are left out and counted, and too many of them end the run.

What makes them so is in tests/support/poison.py.
"""

import re
import sqlite3
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.commands import Done, Files, Warm, commits, lines_of, tiny_files
from tests.support.poison import comparison_of_step, poison_model, with_poison

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BAD_STEP = 3
STEPS = 5  # one epoch: every comparison once


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return poison_model(tiny_files(tmp_path_factory.mktemp("nonfinite")))


def words(files: Files, data: str, run_dir: Path, *more: str) -> list[str]:
    own = [f"data.train={data}", f"run.dir={run_dir}", f"reference.path={files.folder / 'sound'}"]
    return ["train", files.config, *own, f"train.max_steps={STEPS}", "checkpoint.every=1", *more]


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    """Of the newest commit, without the poisoned row."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    newest = run_dir / "checkpoints" / commits(run_dir)[-1]
    if list((newest / "engine").glob("*optim_states.pt")):
        weights = get_fp32_state_dict_from_zero_checkpoint(str(newest), tag="engine")
    else:
        weights = torch.load(newest / "engine" / "mp_rank_00_model_states.pt", weights_only=False)["module"]
    (embedding,) = [name for name in weights if name.endswith("embed_tokens.weight")]
    weights[embedding] = weights[embedding][weights[embedding].isfinite().all(1)]
    assert len(weights[embedding]) == 257
    return weights


@pytest.fixture(scope="module")
def stages(poisoned: Files, warm: Warm) -> dict[str, Path]:
    """The run with one poisoned comparison: stage (and ranks) -> run folder."""
    data, made = with_poison(poisoned, comparison_of_step(poisoned, BAD_STEP)), {}
    for stage in ("0", "2", "3"):
        made[stage] = poisoned.folder / f"stage-{stage}"
        more = ["cluster.workers=0", "tracking.uri=none", f"engine.zero_stage={stage}"]
        done = warm(*words(poisoned, data, made[stage], *more)).check()
        assert re.search(r"step \d: not finite, update left out \(1 in a row\)", done.said)
    made["3 on two ranks"] = poisoned.folder / "two"
    warm.ranks(2, *words(poisoned, data, made["3 on two ranks"], "tracking.uri=none")).check()
    return made


def test_a_step_that_is_not_finite_is_left_out_and_counted_and_the_run_goes_on(stages: dict[str, Path]) -> None:
    lines = lines_of(stages["3"])[1:]
    (bad,) = [line for line in lines if "loss" not in line["metrics"]]
    assert bad["step"] == BAD_STEP
    assert bad["metrics"]["train/nonfinite_metrics"] > 0
    counts = [line["metrics"]["nonfinite_steps"] for line in lines]
    assert counts == [float(line["step"] >= BAD_STEP) for line in lines]
    rates = [line["metrics"]["learning_rate"] for line in lines]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == STEPS, "the schedule lags"
    assert lines[-1]["metrics"]["loss"] < lines[0]["metrics"]["loss"]


def test_stages_and_ranks_leave_out_the_same_step_and_learn_the_same(stages: dict[str, Path]) -> None:
    expected = [line["metrics"] for line in lines_of(stages["0"])]
    final = weights_of(stages["0"])
    for name, run_dir in stages.items():
        for ours, theirs in zip(expected, (line["metrics"] for line in lines_of(run_dir)), strict=True):
            assert ours.get("loss", -1) == pytest.approx(theirs.get("loss", -1), rel=5e-5), name
            assert ours.get("nonfinite_steps") == theirs.get("nonfinite_steps")
        weights = weights_of(run_dir)
        assert len(weights) == len(final)
        for (key, ours_w), theirs_w in zip(sorted(final.items()), (w for _, w in sorted(weights.items())), strict=True):
            assert ours_w.isfinite().all(), key
            torch.testing.assert_close(ours_w, theirs_w, rtol=0, atol=2e-4)


def ended(done: Done, run_dir: Path) -> None:
    done.check(1)
    assert re.search(
        r"not finite in 3 steps in a row, the last one step 3 with comparisons \[(\d+(, )?){8}\]; "
        r"the weights are those of step 0",
        done.said,
    )
    assert "Lower optim.lr" in done.said
    assert done.said.count("Traceback") == 0
    with sqlite3.connect(run_dir.parent / "mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FAILED",)]


@pytest.mark.parametrize("stage", ["0", pytest.param("2", marks=pytest.mark.nightly), "3"])
def test_too_many_in_a_row_end_the_run_with_the_step_and_its_comparisons(
    poisoned: Files, warm: Warm, tmp_path: Path, stage: str
) -> None:
    data, run_dir = with_poison(poisoned), tmp_path / "run"
    done = warm(*words(poisoned, data, run_dir, "cluster.workers=0", f"engine.zero_stage={stage}"))
    ended(done, run_dir)
    assert [line["metrics"]["nonfinite_steps"] for line in lines_of(run_dir)[1:]] == [1, 2]
    start = load_file(poisoned.folder / "sound" / "model.safetensors")
    for name, tensor in weights_of(run_dir).items():
        assert tensor.isfinite().all()
        if "embed_tokens" not in name:
            assert tensor.equal(start[name.removeprefix("module.").removeprefix("model.")]), name


def test_a_rate_that_blows_the_weights_up_ends_the_run_with_finite_weights(
    tiny: Files, warm: Warm, tmp_path: Path
) -> None:
    done = warm(
        "train", tiny.config, f"run.dir={tmp_path / 'run'}", "cluster.workers=0", "optim.lr=1e25",
        "checkpoint.every=1", "tracking.uri=none",
    )  # fmt: skip
    done.check(1)
    assert "not finite in 3 steps in a row, the last one step 4" in done.said
    assert "the weights are those of step 1" in done.said
    assert commits(tmp_path / "run") == ["step-00000002", "step-00000003"]
