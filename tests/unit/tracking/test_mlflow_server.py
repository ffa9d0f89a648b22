"""What the environment brings, on the way to a real MLflow: odd folders, and MLflow's own variables."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.run_dir import METRICS, RUN
from jpo_dist.tracking.metrics_file import MetricsFile
from jpo_dist.tracking.run_file import sqlite_path, sqlite_uri, tracking_uri
from jpo_dist.tracking.writer import Writer, start_run

ODD = "q?x=1&y/p%20q #é'\"; [a]"


@pytest.mark.parametrize("name", ["runs/mlflow.db", f"{ODD}/mlflow.db", "a%3Fb", "100%/x"])
def test_the_address_of_a_file_leads_back_to_it(name: str) -> None:
    assert sqlite_path(sqlite_uri(Path("/", name))) == Path("/", name)
    assert "?" not in sqlite_uri(Path("/", name))
    assert sqlite_uri(Path("/plain/runs/mlflow.db")) == "sqlite:////plain/runs/mlflow.db", "as it always was"


def test_a_query_is_no_part_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_path("sqlite:////runs/a%20b.db?timeout=9") == Path("/runs/a b.db")
    uri = tracking_uri(TrackingConfig(uri="sqlite:///a.db?timeout=9"), tmp_path / "run")
    assert uri == f"sqlite:///{tmp_path}/a.db?timeout=9"


@pytest.mark.slow
def test_a_run_below_an_odd_folder_is_tracked_beside_it_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the working folder there too, and variables that would send metrics later, or to another registry."""
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "nonsense")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    folder = tmp_path / ODD
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    run, config = RunSection(dir=str(folder / "run"), name="odd"), TrackingConfig()
    run_id = start_run(config, run, {"a": 1}, {"b": "2"})
    MetricsFile(folder / "run" / METRICS).append(0, {"loss": 0.5})
    (folder / "note.txt").write_text("kept")
    writer = Writer(config, run, interval_s=0.05)
    writer.log_artifact(folder / "note.txt")
    writer.finish("FINISHED")
    assert writer.close(60) == 0
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert database.execute("select run_uuid, status from runs").fetchall() == [(run_id, "FINISHED")]
        assert database.execute("select key, value from metrics").fetchall() == [("loss", 0.5)]
    assert [path.read_text() for path in (folder / "mlartifacts").rglob("note.txt")] == ["kept"]
    assert os.listdir(tmp_path) == [ODD.partition("/")[0]], "no folder made of an address"
    assert sorted(os.listdir(folder)) == [".mlflow.db.lock", "mlartifacts", "mlflow.db", "note.txt", "run"]


KILLED = """
import os, signal, sys
from mlflow.store.db import utils

def upgrade(engine):
    os.kill(os.getpid(), signal.SIGKILL)

utils._upgrade_db = upgrade
from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.tracking.writer import start_run
start_run(TrackingConfig(), RunSection(dir=sys.argv[1], name="killed"), {})
"""


@pytest.mark.slow
def test_a_kill_while_the_database_is_made_leaves_none_that_is_half_made(tmp_path: Path) -> None:
    """MLflow would never open that one again: the tables that it has would stand in the way of its own."""
    run = RunSection(dir=str(tmp_path / "run"), name="killed")
    died = subprocess.run([sys.executable, "-c", KILLED, run.dir], check=False)
    assert died.returncode == -signal.SIGKILL
    run_id = start_run(TrackingConfig(), run, {})
    assert run_id is not None
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select run_uuid from runs").fetchall() == [(run_id,)]
    assert [file.name for file in tmp_path.iterdir() if ".new" in file.name] == []


def test_a_run_that_was_made_before_its_tag_was_hidden_is_found_again(tmp_path: Path) -> None:
    """Also where a kill came between the run on the server and its id in the folder."""
    run, config = RunSection(dir=str(tmp_path / "run"), name="older"), TrackingConfig()
    run_id = start_run(config, run, {})
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        changed = database.execute("update tags set key = 'jpo.uid' where key = 'mlflow.jpo.uid'").rowcount
    assert changed == 1
    known = json.loads((tmp_path / "run" / RUN).read_text())
    del known["mlflow"]["run_id"]
    (tmp_path / "run" / RUN).write_text(json.dumps(known))
    assert start_run(config, run, {}) == run_id
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select run_uuid from runs").fetchall() == [(run_id,)]
