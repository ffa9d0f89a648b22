"""The run in a real MLflow: a server on loopback that comes, goes and loses answers; and SQLite without a server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.run_dir import METRICS
from jpo_dist.tracking.metrics_file import MetricsFile
from jpo_dist.tracking.run_file import tracking_uri
from jpo_dist.tracking.writer import Writer, replay, start_run
from launcher.pipeline.parent import tracked
from tests.support.disk import fill_up, small_disk

pytestmark = pytest.mark.slow

PARAMS = {"optim.lr": 5e-7, "data.template": "t" * 7000, "judge.api_key": "canary-secret", "train.seed": 0}


class Server:
    """`mlflow server` on one loopback port and one database; may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        artifacts = ["--artifacts-destination", str(self.folder / "artifacts")]
        env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command + store + artifacts, env=env, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self.answers, 60, lambda: (self.folder / "server.log").read_text()[-3000:])

    def answers(self) -> bool:
        try:
            return bool(urllib.request.urlopen(f"{self.uri}/health", timeout=2).status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def wait_until(condition: Callable[[], bool], seconds: float, why: Callable[[], str] = str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {why()}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    it = Server(tmp_path_factory.mktemp("server"))
    yield it
    it.kill()


@pytest.fixture
def up(server: Server) -> Server:
    if server.process is None:
        server.start()
    return server


def client(uri: str) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=uri)


def the_run(config: TrackingConfig, run: RunSection) -> Any:
    """The one MLflow run of a run folder; that there is one is part of every test."""
    uri = tracking_uri(config, run.dir)
    assert uri is not None
    c = client(uri)
    home = c.get_experiment_by_name(config.experiment)
    (found,) = [r for r in c.search_runs([home.experiment_id]) if r.info.run_name == run.name]
    return found


def rows(config: TrackingConfig, run: RunSection) -> dict[str, dict[int, tuple[float, int]]]:
    """{key: {step: (value, ts_ms)}} on the server. Fails when a key has two rows of one step."""
    found = the_run(config, run)
    c = client(str(tracking_uri(config, run.dir)))
    result: dict[str, dict[int, tuple[float, int]]] = {}
    for key in found.data.metrics:
        history = c.get_metric_history(found.info.run_id, key)
        steps = [m.step for m in history]
        assert len(steps) == len(set(steps)), f"{key} has steps twice: {sorted(steps)}"
        result[key] = {m.step: (m.value, m.timestamp) for m in history}
    return result


def written_down(run: RunSection) -> dict[str, dict[int, tuple[float, int]]]:
    result: dict[str, dict[int, tuple[float, int]]] = {}
    for text in (Path(run.dir) / METRICS).read_text().splitlines():
        line = json.loads(text)
        for key, value in line["metrics"].items():
            result.setdefault(key, {})[line["step"]] = (value, line["ts_ms"])
    return result


def metrics(step: int) -> dict[str, float]:
    return {"train/loss": 1 / (step + 3), "perf/tokens_per_second": 1000 * time.perf_counter()}


@pytest.mark.nightly
def test_stages_find_their_parent_although_the_server_was_away_when_it_began(server: Server, tmp_path: Path) -> None:
    server.kill()
    own, config = RunSection(dir=str(tmp_path / "whole"), name="whole"), TrackingConfig(uri=server.uri)
    with tracked(config, own, {"stages": "sft"}, "A pipeline.") as parent:
        assert parent() is None
        server.start()
        run_id = parent()
    found = the_run(config, own)
    assert (found.info.run_id, found.info.status) == (run_id, "FINISHED")
    assert found.data.tags["mlflow.note.content"] == "A pipeline."


def test_without_a_server_training_does_not_wait_and_later_it_gets_everything_once(
    server: Server, tmp_path: Path
) -> None:
    server.kill()
    run, config = RunSection(dir=str(tmp_path / "run"), name="down-first"), TrackingConfig(uri=server.uri)
    start = time.monotonic()
    assert start_run(config, run, PARAMS, {"dataset.fingerprint": "abc"}) is None
    assert time.monotonic() - start < 5
    began_ms = time.time() * 1000
    metrics_file, writer = MetricsFile(tmp_path / "run" / METRICS), Writer(config, run, interval_s=0.05)
    times = []
    for step in range(150):
        before = time.perf_counter()
        metrics_file.append(step, metrics(step))
        times.append(time.perf_counter() - before)
    assert sorted(times)[75] < 0.005
    start = time.monotonic()
    assert writer.close(1.0) == 150
    assert time.monotonic() - start < 4, "closing is bounded"
    server.start()
    assert replay(config, run, "FINISHED") == 0
    assert rows(config, run) == written_down(run)
    found = the_run(config, run)
    assert found.info.status == "FINISHED"
    stamps = [ts_ms for _, ts_ms in rows(config, run)["train/loss"].values()]
    assert found.info.start_time <= min(stamps), "it began before anybody told the server"
    assert max(stamps) <= found.info.end_time
    assert found.info.start_time <= began_ms, "it began before the server was there"
    assert found.data.tags["dataset.fingerprint"] == "abc"
    assert len(found.data.params["data.template"]) == 6000
    assert found.data.params["judge.api_key"] == "***"
    assert "canary-secret" not in "".join(p.read_text() for p in (tmp_path / "run").iterdir() if p.is_file())


def test_a_server_killed_and_back_again_has_every_step_once(up: Server, tmp_path: Path) -> None:
    run, config = RunSection(dir=str(tmp_path / "run"), name="server-killed"), TrackingConfig(uri=up.uri)
    assert start_run(config, run, PARAMS) is not None
    metrics_file, writer = MetricsFile(tmp_path / "run" / METRICS), Writer(config, run, interval_s=0.01)
    for step in range(300):
        metrics_file.append(step, metrics(step))
        if step == 100:
            wait_until(lambda: len(rows(config, run).get("train/loss", ())) > 50, 20)
            up.kill()
    up.start()
    assert writer.close(30) == 0
    assert rows(config, run) == written_down(run)
    assert the_run(config, run).info.status == "RUNNING"
    (tmp_path / "run/tracking.ack.json").unlink()  # as if every answer had been lost
    assert replay(config, run) == 0
    assert rows(config, run) == written_down(run)


def test_a_server_that_never_answers_holds_up_the_start_for_seconds_only(tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        config = TrackingConfig(uri=f"http://ann:canary-secret@127.0.0.1:{mute.getsockname()[1]}")
        start = time.monotonic()
        assert start_run(config, RunSection(dir=str(tmp_path / "run")), PARAMS) is None
        assert time.monotonic() - start < 15


CHILD = """
import sys, time
from pathlib import Path
from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.files import read_json, read_lines
from jpo_dist.run_dir import ACK, METRICS, OUTBOX
from jpo_dist.tracking.metrics_file import MetricsFile
from jpo_dist.tracking.writer import Writer
uri, folder, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def confirmed():
    known = read_json(Path(folder, ACK)).get("offset", 0)
    there = (entry for entry, end in read_lines(Path(folder, OUTBOX)) if end <= known)
    return max((entry["step"] for entry in there if entry.get("stream") == METRICS), default=first)

metrics_file = MetricsFile(folder + "/metrics.jsonl")
metrics_file.truncate_after(first - 1)
writer = Writer(TrackingConfig(uri=uri), RunSection(dir=folder, name="killed"), interval_s=0.001)
for step in range(first, last):
    metrics_file.append(step, {"train/loss": 1 / (step + 3), "perf/step_time": time.perf_counter()})
    time.sleep(0.002)  # a step of training
    while step > confirmed() + 100:  # else what a slow server lacks in the end takes minutes to send
        time.sleep(0.02)
    if step % 10 == 9:
        writer.log_checkpoint(step, folder, 1, time.perf_counter())
writer.finish("FINISHED")
sys.exit(writer.close(60))
"""


def test_killed_at_any_moment_and_resumed_a_run_has_one_row_per_key_and_step(up: Server, tmp_path: Path) -> None:
    run, config = RunSection(dir=str(tmp_path / "run"), name="killed"), TrackingConfig(uri=up.uri)

    def attempt(first: int, last: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", CHILD, up.uri, run.dir, str(first), str(last)])

    def sent() -> int:
        """Steps on the server; 0 while there is no run yet."""
        known = json.loads((tmp_path / "run/run.json").read_text()) if (tmp_path / "run/run.json").exists() else {}
        run_id = known.get("mlflow", {}).get("run_id")
        return 0 if run_id is None else len(client(up.uri).get_metric_history(run_id, "train/loss"))

    seen, first, furthest = 0, 0, 0
    for _ in range(3):  # every attempt does again what the server already has, with other times
        with attempt(first, 100_000) as child:
            try:
                wait_until(lambda known=seen: sent() > known + 30, 40)
            finally:
                child.kill()
        # What was under way to the server may still arrive there.
        furthest = max(furthest, *written_down(run)["train/loss"])
        seen = len(rows(config, run)["train/loss"])
        first = seen - 25
    end = furthest + 40
    assert attempt(first, end).wait(60) == 0
    on_server, local = rows(config, run), written_down(run)
    assert set(local["train/loss"]) == set(range(end))
    assert on_server["train/loss"] == local["train/loss"], "values that are equal again, and their times"
    assert set(on_server["perf/step_time"]) == set(range(end))
    assert set(on_server["ckpt/bytes"]) >= {step for step in range(end) if step % 10 == 9}
    assert on_server["perf/step_time"] != local["perf/step_time"], "the attempts were meant to differ"
    assert the_run(config, run).info.status == "FINISHED"


def test_parameters_that_changed_on_resume_are_told_in_a_tag(up: Server, tmp_path: Path) -> None:
    run, config = RunSection(dir=str(tmp_path / "run"), name="drift"), TrackingConfig(uri=up.uri)
    many = {f"section.key{n}": n for n in range(230)}
    first = start_run(config, run, {**PARAMS, **many})
    assert replay(config, run, "FAILED") == 0
    assert the_run(config, run).info.status == "FAILED"
    assert "jpo.config_drift" not in the_run(config, run).data.tags
    assert start_run(config, run, {**PARAMS, **many, "optim.lr": 1e-6, "section.new": 1}) == first
    data = the_run(config, run).data
    assert data.tags["jpo.config_drift"] == "optim.lr: 5e-07 -> 1e-06"
    assert len(data.params) == len(PARAMS) + 231
    assert the_run(config, run).info.status == "RUNNING"


def test_an_artifact_that_cannot_be_sent_does_not_hold_up_the_metrics(up: Server, tmp_path: Path) -> None:
    run, config = RunSection(dir=str(tmp_path / "run"), name="refused"), TrackingConfig(uri=up.uri)
    writer = Writer(config, run, interval_s=0.01)
    writer.log_artifact(tmp_path / "nothing-here")
    metrics_file = MetricsFile(tmp_path / "run" / METRICS)
    metrics_file.append(0, {"odd@name%": 1.0, "train/loss": 2.0})
    assert writer.close(30) == 0
    assert {key: values[0][0] for key, values in rows(config, run).items()} == {"odd_name_": 1.0, "train/loss": 2.0}


def test_a_server_that_lost_its_data_gets_all_of_it_again(tmp_path: Path) -> None:
    run = RunSection(dir=str(tmp_path / "run"), name="moved")
    metrics_file = MetricsFile(tmp_path / "run" / METRICS)
    for step in range(5):
        metrics_file.append(step, metrics(step))
    for database in ("first.db", "second.db"):
        config = TrackingConfig(uri=f"sqlite:///{tmp_path / database}")
        start_run(config, run, PARAMS)
        assert replay(config, run, "FINISHED") == 0
        assert rows(config, run) == written_down(run)


def test_the_default_is_a_database_beside_the_run_folder_that_shows_all_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, config = RunSection(dir="runs/demo", name="demo"), TrackingConfig()
    Path("runs/demo/export").mkdir(parents=True)
    Path("runs/demo/export/config.json").write_text("{}")
    Path("runs/demo/report.txt").write_text("report")
    Path("runs/demo/config.yaml").write_text("optim: {lr: 5e-7}\njudge: {api_key: canary-secret}\n")
    run_id = start_run(config, run, PARAMS)
    writer = Writer(config, run, interval_s=0.01)
    metrics_file = MetricsFile("runs/demo/metrics.jsonl")
    metrics_file.append(0, {"train/loss": 0.5})
    writer.log_checkpoint(10, "runs/demo/checkpoints/step-10", 123, 4.5)
    writer.log_checkpoint(20, "runs/demo/checkpoints/step-20", 123, 4.5)
    writer.log_artifact("runs/demo/report.txt")
    writer.log_model("runs/demo/export", copy=True)
    writer.finish("FINISHED")
    assert writer.close(30) == 0
    assert tracking_uri(config, run.dir) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    c = client(f"sqlite:///{tmp_path}/runs/mlflow.db")
    found = c.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["ckpt/bytes"] == 123
    assert found.data.tags["mlflow.jpo.checkpoint.path"] == f"{tmp_path}/runs/demo/checkpoints/step-20"
    stored = {a.path: Path(found.info.artifact_uri.removeprefix("file://")) / a.path for a in c.list_artifacts(run_id)}
    assert set(stored) == {"config.yaml", "checkpoints.json", "report.txt"}
    assert (tmp_path / "runs/mlartifacts") in stored["config.yaml"].parents
    assert "canary-secret" not in stored["config.yaml"].read_text()
    assert [made["step"] for made in json.loads(stored["checkpoints.json"].read_text())] == [10, 20]
    (model,) = c.search_logged_models([found.info.experiment_id])
    assert (model.source_run_id, str(model.status)) == (run_id, "READY")
    assert model.tags["jpo.path"] == f"{tmp_path}/runs/demo/export"
    assert [output.model_id for output in found.outputs.model_outputs] == [model.model_id]
    assert not (tmp_path / "mlruns").exists()


def test_tracking_none_writes_and_sends_nothing(tmp_path: Path) -> None:
    run, config = RunSection(dir=str(tmp_path / "run")), TrackingConfig(uri="none")
    assert start_run(config, run, PARAMS) is None
    writer = Writer(config, run)
    writer.set_tag("a", "b")
    writer.log_checkpoint(1, tmp_path, 1, 1.0)
    writer.log_model(tmp_path)
    writer.finish("FINISHED")
    assert writer.close(1) == replay(config, run) == 0
    assert not list(tmp_path.iterdir())


def test_training_code_runs_where_mlflow_is_not_installed(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["mlflow"] = None  # what a missing package looks like to import
from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.tracking.metrics_file import MetricsFile
from jpo_dist.tracking.writer import Writer, start_run
config, run = TrackingConfig(), RunSection(dir={str(tmp_path / "run")!r})
assert start_run(config, run, {{}}) is None
writer = Writer(config, run)
MetricsFile(run.dir + "/metrics.jsonl").append(0, {{"loss": 1.0}})
assert writer.close(10) == 1
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "pip install mlflow" in done.stderr


def test_a_full_disk_does_not_hide_what_the_run_ended_with(tmp_path: Path) -> None:
    """`replay` runs while the error is on its way out; one of its own would take its place."""
    with small_disk(tmp_path / "disk", mib=1) as disk:
        run, config = RunSection(dir=str(disk), name="full"), TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
        (disk / "tracking.jsonl").write_text('{"op": "tag", "key": "a", "value": "b"}\n')
        ballast = fill_up(disk)
        assert replay(config, run, "FAILED") == -1
        ballast.unlink()
        assert replay(config, run, "FAILED") == 0
