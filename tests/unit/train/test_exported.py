"""Whether what is exported is the end of the run that the commits in a folder are of."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.checkpoint import manifest as manifests
from jpo_dist.checkpoint.manifest import Manifest
from jpo_dist.run_dir import EXPORT, EXPORT_MERGED, EXPORTED, PLAN
from jpo_dist.train import exported
from tests.support.runs import config_for

LORA = {"rank": 2, "merge_on_export": True}


def committed(run: Path, step: int, attempt: int = 1, **state: Any) -> Path:
    folder = run / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    manifests.write(folder, Manifest(step, attempt, 1, 0.5, {"state": {"best": {}, "stopped": False, **state}}, {}))
    return folder


def write(run: Path, of: dict[str, Any] | None, name: str = EXPORT, at: float | None = None) -> None:
    """An export with the note `of`, written at that time."""
    (run / name).mkdir(exist_ok=True)
    weights = run / name / "model.safetensors"
    weights.write_bytes(b"weights")
    (run / name / EXPORTED).unlink(missing_ok=True)
    if of is not None:
        (run / name / EXPORTED).write_text(json.dumps(of))
    if at is not None:
        os.utime(weights, (at, at))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two commits of a run of six steps."""
    (tmp_path / PLAN).write_text('{"num_steps": 6}')
    committed(tmp_path, 4)
    committed(tmp_path, 6)
    return tmp_path


def missing(run: Path, **model: Any) -> str | None:
    """Why the run is not finished, "" where it is; None: it is not at its end."""
    config = config_for("m", "d", str(run), model=model)
    end = exported.at_end(run)
    found = None if end is None else exported.lacking(config, *end)
    assert exported.finished_at(config) == (end[1].step if end and not found else None)
    return found


def note(run: Path, step: int, last: int = 6, at_the_end: bool = True, **model: Any) -> dict[str, Any]:
    folders = (run / "checkpoints" / f"step-{one:08d}" for one in (step, last))
    return exported.note(*folders, config_for("m", "d", str(run), model=model), as_at_the_end=at_the_end)


def test_only_an_export_of_the_end_ends_a_run(run: Path) -> None:
    assert missing(run) == "there is no export"
    write(run, note(run, 4, last=4))  # what `jpo export` wrote while the run went on
    assert missing(run) == "export is of step 4"
    write(run, note(run, 4, at_the_end=False))  # and what it wrote after the end, with --commit 4
    assert missing(run) == "export is of step 4"
    write(run, note(run, 6))
    assert missing(run) == ""


def test_the_best_commit_is_the_end_that_is_exported_and_both_steps_are_noted(run: Path) -> None:
    committed(run, 5, best={"step": 4}, stopped=True)
    (run / "checkpoints" / "step-00000006" / "manifest.json").unlink()
    (run / "checkpoints" / "step-00000006").rmdir()
    write(run, note(run, 4, last=5))
    assert missing(run) == "", "it was stopped before the last step of the plan"
    write(run, note(run, 5, last=5, at_the_end=False))
    assert missing(run) == "export is of step 5", "as `jpo export --commit newest` wrote it"
    write(run, note(run, 4, last=5))
    known = json.loads((run / EXPORT / EXPORTED).read_text())
    assert (known["step"], known["last_step"]) == (4, 5)


def test_a_run_that_began_anew_is_not_finished_by_the_export_of_the_one_before(run: Path) -> None:
    write(run, note(run, 6))
    committed(run, 6, attempt=2)
    assert missing(run) == "export is of step 6, of an earlier run"


def test_before_the_end_no_export_ends_a_run(run: Path) -> None:
    write(run, note(run, 6))
    (run / PLAN).write_text('{"num_steps": 8}')
    assert missing(run) is None


def test_with_merge_on_export_the_merge_is_of_the_end_too(run: Path) -> None:
    write(run, note(run, 6))
    assert missing(run, lora={"rank": 2}) == ""
    assert missing(run, lora=LORA) == "there is no export-merged"
    write(run, note(run, 4, last=4), EXPORT_MERGED)
    assert missing(run, lora=LORA) == "export-merged is of step 4"
    write(run, None, EXPORT_MERGED)
    assert missing(run, lora=LORA) == "export-merged is of an earlier export"
    write(run, note(run, 6), EXPORT_MERGED)
    assert missing(run, lora=LORA) == ""


def test_another_export_dtype_is_another_export_but_of_an_adapter_alone(run: Path) -> None:
    write(run, note(run, 6))
    write(run, note(run, 6), EXPORT_MERGED)
    assert missing(run, export_dtype="model") == "export was written with model.export_dtype=source"
    assert missing(run, export_dtype="model", lora={"rank": 2}) == ""
    assert missing(run, export_dtype="model", lora=LORA) == "export-merged was written with model.export_dtype=source"


def test_an_export_of_an_earlier_version_ends_a_run_where_it_came_after_the_last_commit(run: Path) -> None:
    last = (run / "checkpoints" / "step-00000006" / "manifest.json").stat().st_mtime
    write(run, None, at=last + 5)
    assert missing(run) == ""
    write(run, None, EXPORT_MERGED, at=last + 6)
    assert missing(run, lora=LORA) == ""
    write(run, None, EXPORT_MERGED, at=last + 4)
    assert missing(run, lora=LORA) == "export-merged is older than that"
    write(run, None, at=last - 5)
    assert missing(run) == "export is older than that"


def test_a_run_was_done_once_where_its_commits_are_gone_but_not_on_the_way(run: Path) -> None:
    assert not exported.had_finished(run)
    write(run, note(run, 4, last=4))
    assert exported.had_finished(run)
    (run / PLAN).write_text('{"num_steps": 8}')
    assert not exported.had_finished(run), "an export of a commit on the way is no end"
    for file in run.glob("checkpoints/*/*"):
        file.unlink()
    for folder in run.glob("checkpoints/*"):
        folder.rmdir()
    assert exported.had_finished(run)
