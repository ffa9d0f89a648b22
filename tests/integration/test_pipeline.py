"""`jpo run`: stages that begin from the files before them, killed with -9 and gone on, each done once."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from tests.support.commands import ROOT, Files, Warm, environment, jpo, lines_of
from tests.support.hosts import wait_until
from tests.support.metric_names import undocumented

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CHECKER = "jpo_dist.evaluate.constraints:constraints_held"


def ratings(path: Path) -> str:
    """Answers to ten instructions that a program can check, half of them right."""
    rows = [
        {"instruction": f"say {n}. Write without commas.", "response": f"well, {n}" if bad else f"well {n}"}
        for n in range(10)
        for bad in (True, False)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def pipeline(tiny: Files, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data = ratings(tmp_path_factory.mktemp("pipeline") / "answers.jsonl")
    own = json.loads(Path(tiny.config).read_text())
    train = {**own, "data": {**own["data"], "train": "@build:train"}}
    train["train"] = {**train["train"], "eval_every": 1000}  # at both ends
    del train["run"]
    return {
        "stages": [
            {
                "build": {
                    "sources": [{"path": data, "checker": CHECKER}],
                    "candidates": {"policy": "random", "budget": 20},
                }
            },
            {"judge": {"candidates": "@build/candidates.jsonl", "kind": "checker", "checker": {"function": CHECKER}}},
            {"build": {"sources": [{"path": ["@build", "@judge"]}], "split": {"test": 0}}, "name": "merged"},
            {"train": {**train, "data": {**train["data"], "train": "@merged"}}},
        ],
        "shared": {"cluster": {"workers": 0}},
    }


def written(pipeline: dict[str, Any], folder: Path) -> str:
    config = folder.with_name(f"{folder.name}.yaml")
    config.write_text(json.dumps({**pipeline, "dir": str(folder)}))
    return str(config)


def stage_folders(folder: Path) -> dict[str, Path]:
    """By the name of the stage: each has one."""
    found = [path for path in folder.iterdir() if path.is_dir() and path.with_name(f"{path.name}.yaml").exists()]
    assert len({path.name.rpartition("-")[0] for path in found}) == len(found)
    return {path.name.rpartition("-")[0]: path for path in found}


@pytest.fixture(scope="module")
def finished(pipeline: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    jpo("run", written(pipeline, folder), env={"JPO_TAGS": '{"team": "a", "jpo.stage": "none of ours"}'}).check()
    return folder


def test_every_stage_begins_from_the_files_before_it_and_is_tracked_under_the_pipeline(finished: Path) -> None:
    stages = stage_folders(finished)
    assert set(stages) == {"build", "judge", "merged", "train"}
    assert (stages["train"] / "export" / "model.safetensors").exists()
    merged = json.loads((stages["merged"] / "report.json").read_text())
    parts = [json.loads((stages[name] / "report.json").read_text()) for name in ("build", "judge")]
    assert merged["comparisons"] == sum(part["comparisons"] for part in parts)
    with sqlite3.connect(finished / "mlflow.db") as database:
        known = dict(database.execute("select key, value from params where key like 'digest.%'"))
        tags: dict[str, dict[str, str]] = {}
        for run_id, key, value in database.execute("select run_uuid, key, value from tags"):
            tags.setdefault(run_id, {})[key] = value
        assert undocumented(key for (key,) in database.execute("select distinct key from metrics")) == []
        statuses = [status for (status,) in database.execute("select status from runs")]
    parents = {found["mlflow.parentRunId"] for found in tags.values() if "mlflow.parentRunId" in found}
    named = {found["jpo.stage"]: found for run_id, found in tags.items() if run_id not in parents}
    assert {found["team"] for found in tags.values()} == {"a"}, "a tag of the person is on every run"
    assert set(statuses) == {"FINISHED"}
    assert set(named) == {"build", "judge", "merged", "train"}
    [parent] = {found["mlflow.parentRunId"] for found in named.values()}
    assert parent in tags
    assert named["train"]["mlflow.jpo.key"].startswith(stages["train"].name.rpartition("-")[2])
    assert named["train"]["mlflow.jpo.input.merged"].startswith(stages["merged"].name.rpartition("-")[2])
    ids = {found["jpo.stage"]: run_id for run_id, found in tags.items() if run_id not in parents}
    assert named["train"]["mlflow.jpo.input_run.merged"] == ids["merged"]
    assert {named["merged"][f"mlflow.jpo.input_run.{name}"] for name in ("build", "judge")} == {
        ids["build"],
        ids["judge"],
    }
    assert {"digest.sources.0", "digest.set", "digest.candidates"} == set(known)
    note = tags[parent]["mlflow.note.content"]
    assert "A pipeline: build → judge → merged → train. All stages are done." in note
    assert [f"/runs/{ids[name]}?" in note for name in stages] == [True] * 4


def measured_on_the_pipeline(finished: Path) -> list[tuple[int, str, float]]:
    own = json.loads((finished / "pipeline" / "run.json").read_text())["mlflow"]["run_id"]
    with sqlite3.connect(finished / "mlflow.db") as database:
        rows = database.execute("select step, key, value from metrics where run_uuid = ? order by step, key", (own,))
        return list(rows)


def test_figures_of_the_last_stage_that_measures_are_those_of_the_pipeline(finished: Path) -> None:
    last = [row["metrics"] for row in lines_of(stage_folders(finished)["train"]) if "eval/loss" in row["metrics"]][-1]
    found = measured_on_the_pipeline(finished)
    assert {step for step, _, _ in found} == {0}
    assert {"eval/loss", "eval/rewards/accuracies"} <= {name for _, name, _ in found}
    assert all(last[name] == value for _, name, value in found)


def test_what_is_done_is_not_done_again(pipeline: dict[str, Any], finished: Path, warm: Warm) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and "mlflow" not in path.name
    }
    measured = measured_on_the_pipeline(finished)
    done = warm("run", written(pipeline, finished)).check()
    assert done.said.count("done before") == 4
    assert measured_on_the_pipeline(finished) == measured, "no second point of a chart"
    after = {path: path.stat().st_mtime_ns for path in before}
    own = finished / "pipeline"  # the pipeline's own run says that it was there again
    assert {path for path in before if before[path] != after[path] and not path.is_relative_to(own)} <= {
        finished / ".lock"
    }


def test_a_change_is_done_again_from_there_on(pipeline: dict[str, Any], finished: Path, warm: Warm) -> None:
    done = warm("run", written(pipeline, finished), "stages.3.train.objective.beta=0.3", "--dry-run").check()
    assert [line.split()[:2] for line in done.out.splitlines()][:3] == [
        ["done", name] for name in ("build", "judge", "merged")
    ]
    assert "to do train" in done.said


@pytest.mark.nightly
def test_a_stage_that_fails_ends_the_pipeline_with_its_own_exit_code(
    pipeline: dict[str, Any], tmp_path: Path, finished: Path, warm: Warm
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)  # a folder may move: what is done is known by what it was made from
    config = written(pipeline, folder)
    bad = warm("run", config, "stages.3.train.train.tokens_per_micro_step=2").check(2)
    assert "stage train ended with exit code 2" in bad.said
    assert "train.tokens_per_micro_step (2) is less than the longest comparison" in bad.said
    own = json.loads((folder / "pipeline" / "run.json").read_text())["mlflow"]["run_id"]
    with sqlite3.connect(folder / "mlflow.db") as database:
        key = "mlflow.note.content"
        [[note]] = database.execute("select value from tags where run_uuid = ? and key = ?", (own, key))
    assert "3 of 4 stages are done. **train** failed with exit code 2." in note


@pytest.mark.nightly
def test_killed_while_it_trains_its_stage_ends_too_and_the_same_command_goes_on(
    pipeline: dict[str, Any], tmp_path: Path, finished: Path
) -> None:
    folder = tmp_path / "run"
    config = written(pipeline, folder)
    command = [sys.executable, "-m", "launcher", "run", config]
    started = subprocess.Popen(
        command, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: any(folder.glob("train-*/checkpoints/step-00000002/manifest.json")), 300)
    family = psutil.Process(started.pid).children(recursive=True)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    done = jpo("run", config).check()
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert done.said.count("done before") == 3
    ours, theirs = (stage_folders(one)["train"] for one in (folder, finished))
    weights = [load_file(run / "export" / "model.safetensors") for run in (ours, theirs)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[1])
    assert [line["metrics"]["loss"] for line in lines_of(ours)[1:]] == [
        line["metrics"]["loss"] for line in lines_of(theirs)[1:]
    ]
