"""`jpo register`, `promote` and `rollback` where MLflow does not do what they ask: one sentence, which names it."""

import errno
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.tracking.mlflow_server import by_default
from jpo_dist.tracking.run_file import sqlite_uri
from jpo_dist.tracking.writer import start_run
from launcher.cli import app
from tests.support.raw_server import raw_server, silent, whole

LOST = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Run 'r' not found"}).encode()


@contextmanager
def dead(_: Path) -> Iterator[str]:
    yield "http://127.0.0.1:9"


@contextmanager
def never_answers(_: Path) -> Iterator[str]:
    with raw_server(silent) as server:
        yield server.url


@contextmanager
def has_lost_it(_: Path) -> Iterator[str]:
    with raw_server(whole(LOST, "404 Not Found")) as server:
        yield server.url


@contextmanager
def no_mlflow(_: Path) -> Iterator[str]:
    with raw_server(whole(b"<html>welcome</html>")) as server:
        yield server.url


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    """A database that another program writes to, and does not end."""
    with closing(sqlite3.connect(folder / "other.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        yield sqlite_uri(folder / "other.db")


def words(verb: str, folder: Path) -> list[str]:
    """The command's, over a run that MLflow knows."""
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text(json.dumps({"mlflow": {"run_id": "r", "experiment_id": "1"}}))
    (folder / "gate.yaml").write_text("winrate/low: {at_least: 0.5}\n")
    settings = {"model": {"path": "none"}, "data": {"train": "none.jsonl"}, "run": {"dir": str(folder / "run")}}
    (folder / "c.yaml").write_text(json.dumps(settings))
    return [verb, str(folder / "c.yaml"), *([str(folder / "gate.yaml")] if verb == "promote" else [])]


@pytest.mark.parametrize("verb", ["register", "promote", "rollback"])
@pytest.mark.parametrize(
    ("server", "said"),
    [
        (dead, "Connection refused"),
        (never_answers, "no whole reply within 5 s|timed out"),  # the reply or its socket, whichever is first
        (has_lost_it, "RESOURCE_DOES_NOT_EXIST|has no version with the alias"),
        (no_mlflow, "JSON|Expecting value|not a valid"),
        (locked, "database is locked"),
    ],
)
def test_a_server_that_does_not_do_it_is_named(
    verb: str, server: Callable[[Path], Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jpo_dist.tracking.reach.PROBE_S", 0.5 if server is locked else 5.0)
    with server(tmp_path) as uri:
        done = CliRunner().invoke(app, [*words(verb, tmp_path), f"tracking.uri={uri}"])
    assert done.exit_code in (1, 2), done.output
    assert "Traceback" not in done.output
    line = " ".join(done.output.split())
    assert f"tracking.uri ({uri}): " in line or (verb != "register" and server is has_lost_it), line
    assert re.search(said, line), line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("403 Forbidden"), r"tracking\.uri \(sqlite:.*\): 403 Forbidden; see that MLflow"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no room left on the disk of"),
    ],
)
def test_a_model_that_mlflow_does_not_take_says_why(
    error: OSError, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that sends it has met the reason."""
    from mlflow import MlflowClient

    def refuse(*_: Any) -> None:
        raise error

    uri, given = sqlite_uri(tmp_path / "mlflow.db"), words("register", tmp_path)
    (tmp_path / "run" / "run.json").unlink()
    (tmp_path / "run" / "export").mkdir()
    with by_default(uri):
        assert start_run(TrackingConfig(uri=uri), RunSection(dir=str(tmp_path / "run"), name="refused"), {})
        monkeypatch.setattr(MlflowClient, "log_model_artifacts", refuse)
        done = CliRunner().invoke(app, [*given, f"tracking.uri={uri}"])
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output
    assert re.search(said, " ".join(done.output.split())), done.output
