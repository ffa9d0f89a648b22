"""`jpo study`: what is shared is done once, kill -9, a cell that fails alone, a report that can be remade."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from jpo_dist.study.findings import findings
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.results import read_results
from tests.support.commands import ROOT, Files, environment, jpo
from tests.support.hosts import wait_until
from tests.support.metric_names import undocumented

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(1200)]

CHECKER = "jpo_dist.evaluate.constraints:constraints_held"


@pytest.fixture(scope="module")
def study(tiny: Files, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two arms, two seeds, one grid axis of one value: the untrained model, and one that is trained a little."""
    instructions = tmp_path_factory.mktemp("study") / "instructions.jsonl"
    rows = [{"instruction": f"say {n}. Write without commas."} for n in range(6)]
    instructions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = json.loads(Path(tiny.config).read_text())
    train = {**own, "train": {**own["train"], "seed": "$seed", "max_steps": 4}, "checkpoint": {"every": 2}}
    del train["run"]
    generate = {"instructions": str(instructions), "temperatures": [1.0], "samples": 2, "max_new_tokens": 8}
    generate["stop"] = list("abcdefgh")  # a random model hardly ever ends by itself, and then no answer passes
    model = {"path": own["model"]["path"]}
    return {
        "question": {"answers": "answers", "checker": CHECKER, "compare": [["trained", "longer"]]},
        "seeds": [1, 2],
        "at_once": 2,
        "shared": {"cluster": {"workers": 0}},
        "stages": [{"build": {"sources": [{"path": own["data"]["train"]}]}}],
        "arms": {
            "trained": [{"train": train}],
            "longer": [{"train": {**train, "train": {**train["train"], "max_steps": 6}}}],
        },
        "measure": [{"name": "answers", "generate": {**generate, "model": {**model, "path": "@policy"}}}],
    }


def written(study: dict[str, Any], folder: Path) -> str:
    config = folder.with_name(f"{folder.name}.yaml")
    config.write_text(json.dumps({**study, "dir": str(folder)}))
    return str(config)


@pytest.fixture(scope="module")
def finished(study: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "study"
    done = jpo("study", written(study, folder), timeout=900).check()
    assert "cells: 4 of 4 done, 0 failed" in done.said
    return folder


def test_the_report_begins_with_the_answer_and_can_be_made_again(finished: Path, study: dict[str, Any]) -> None:
    report = (finished / "report.md").read_text()
    assert report.index("## Answer") < report.index("## Arms")
    assert "This rests on 2 training runs an arm" in report
    assert (finished / "arms.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in (finished / "report.html").read_text()
    kept = json.loads((finished / "report.json").read_text())
    found = read_results(finished / "results.json")
    again = findings(found.results, QuestionConfig(**study["question"]), found.strata)
    assert json.loads(json.dumps(again)) == {name: kept[name] for name in again}


def test_every_cell_is_a_child_of_the_studys_run_with_all_its_parameters(finished: Path) -> None:
    with sqlite3.connect(finished / "mlflow.db") as database:
        parents = dict(database.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'"))
        keys = dict(database.execute("select run_uuid, value from tags where key = 'mlflow.jpo.key.train'"))
        params: dict[str, dict[str, str]] = {}
        for run_id, key, value in database.execute("select run_uuid, key, value from params"):
            params.setdefault(run_id, {})[key] = value
        statuses = dict(database.execute("select run_uuid, status from runs"))
    [parent] = set(parents.values())
    cells = {(params[child]["arm"], params[child]["seed"]) for child in parents}
    assert cells == {(arm, seed) for arm in ("trained", "longer") for seed in ("1", "2")}
    assert {*params[next(iter(parents))]} == {"arm", "seed"}, "what a person compares"
    assert keys.keys() == parents.keys()
    assert set(statuses.values()) == {"FINISHED"}
    assert parent in statuses


def test_the_studys_run_has_the_figures_of_the_report_at_each_number_of_cells(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text())
    own = json.loads((finished / "study" / "run.json").read_text())["mlflow"]["run_id"]
    with sqlite3.connect(finished / "mlflow.db") as database:
        rows = list(database.execute("select step, key, value from metrics where run_uuid = ?", (own,)))
        tags = dict(database.execute("select key, value from tags where run_uuid = ?", (own,)))
    assert undocumented(key for _, key, _ in rows) == []
    steps = {step for step, _, _ in rows}
    assert max(steps) == 4
    assert steps <= {1, 2, 3, 4}, "cells that were measured"
    last = {key: value for step, key, value in rows if step == 4}
    assert {name: value for name, value in last.items() if ":" not in name} == {
        **{f"pass rate/{one['arm']}": one["metrics"]["pass"]["value"] for one in report["arms"]},
        "difference/trained - longer": report["comparisons"][0]["difference"],
    }
    assert "all that was planned" in tags["mlflow.note.content"]


def test_what_is_done_is_not_done_again_and_a_change_of_the_question_is_told(
    finished: Path, study: dict[str, Any]
) -> None:
    times = {path: path.stat().st_mtime_ns for path in finished.glob("*.done.json")}
    assert len(times) == 4 + 4  # trainings and answers; no cell needs the set of `stages`
    changed = {**study, "question": {**study["question"], "margin": 0.05}}
    jpo("study", written(changed, finished)).check()
    assert {path: path.stat().st_mtime_ns for path in finished.glob("*.done.json")} == times
    assert "The question was changed on" in (finished / "report.md").read_text()
    said = jpo("study", written(changed, finished), "--power", "0.1").check().said
    assert "runs for .80" in said


def test_a_part_of_a_study_is_published_with_what_was_cut_short(
    finished: Path, study: dict[str, Any], tmp_path: Path
) -> None:
    more = {**study, "seeds": [1, 2, 3], "question": {**study["question"], "margin": 0.05}}
    jpo("study", written(more, finished), "--publish", str(tmp_path)).check()
    page = (tmp_path / "README.md").read_text()
    assert "Cut short: 2 of 3 training runs of each arm (trained, longer) are done." in page
    assert "| trained | - | 2 | 4 |" in page  # the parts of the margin at the end of training
    names = ["README.md", "arms.png", "continue.json", "margins.png", "results.json", "study.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_published_study_goes_on_in_another_folder(finished: Path, study: dict[str, Any], tmp_path: Path) -> None:
    page, there = tmp_path / "page", tmp_path / "study"
    jpo("study", written(study, finished), "--publish", str(page)).check()
    more = written({**study, "seeds": [1, 2, 3]}, there)
    said = jpo("study", more, "--continue", str(page), timeout=900).check().said
    assert f"{page}: 4 of 4 cells are of this study" in said
    assert "cells: 6 of 6 done, 0 failed" in said
    assert len(list(there.glob("train-*.done.json"))) == 2, "the third run of each arm"
    before, now = (json.loads((one / "results.json").read_text())["cells"] for one in (page, there))
    assert [cell for cell in now if cell["values"]["seed"] < 3] == before
    assert (there / "report.md").read_text().count("| 3 |") >= 2


def test_killed_at_a_training_the_same_command_goes_on_to_the_same_results(
    finished: Path, study: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    command = [sys.executable, "-m", "launcher", "study", written(study, folder)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = subprocess.Popen(command, env=environment(), cwd=ROOT, **quiet)
    wait_until(lambda: any(folder.glob("train-*/checkpoints/step-00000002/manifest.json")), 300)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    jpo("study", written(study, folder), timeout=900).check()
    ours, theirs = (json.loads((one / "results.json").read_text()) for one in (folder, finished))
    assert ours == theirs


def test_on_ray_stages_are_tasks_with_the_same_results_and_kill_9_leaves_none(
    finished: Path, study: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    config = written({**study, "cluster": {"workers": 2}}, folder)
    command = [sys.executable, "-m", "launcher", "study", config]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = subprocess.Popen(command, env=environment(), cwd=ROOT, **quiet)
    wait_until(lambda: any(folder.glob("train-*/checkpoints/step-00000002/manifest.json")), 300)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    wait_until(lambda: not stages_that_run(folder), 60)
    jpo("study", config, timeout=900).check()
    ours, theirs = (json.loads((one / "results.json").read_text()) for one in (folder, finished))
    assert ours == theirs


def stages_that_run(folder: Path) -> list[str]:
    """Command lines of the processes that run a stage of this study."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        found += [" ".join(line)] if any(part.startswith(f"{folder}/") for part in line) else []
    return found


def test_a_cell_that_fails_is_named_and_the_others_are_reported(study: dict[str, Any], tmp_path: Path) -> None:
    train = study["arms"]["trained"][0]["train"]
    broken = {**train, "train": {**train["train"], "tokens_per_micro_step": 2}}
    folder = tmp_path / "study"
    changed = {**study, "seeds": [1], "arms": {"trained": study["arms"]["trained"], "longer": [{"train": broken}]}}
    done = jpo("study", written(changed, folder)).check(1)
    assert "cells: 1 of 2 done, 1 failed" in done.said
    assert "longer seed=1, in stage train with exit code 2" in done.said
    assert "train.tokens_per_micro_step (2) is less than the longest comparison" in done.said
    assert "1 cells failed and are in no figure: longer seed=1" in (folder / "report.md").read_text()
