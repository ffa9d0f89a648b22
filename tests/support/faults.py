"""Trainings on virtual hosts that something happens to: the real command, and what is seen of it from outside."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from cluster.virtual.hosts import VirtualHost
from tests.support.commands import Done, Files, environment, lines_of
from tests.support.hosts import nodes, ray_answers, wait_until

LIMITS = ["cluster.collective_timeout_s=25", "cluster.health_timeout_s=20", "cluster.start_timeout_s=120"]
NODE_LIMITS = {"RAY_health_check_timeout_ms": "5000", "RAY_health_check_failure_threshold": "3"}
"""In the environment of `ray start`: a host that says nothing any more is given up after (3 + 5) * 3 s, not 65 s."""
STEPS = 8
RUN_LIMIT_S = 400.0


class Moment(NamedTuple):
    """When something happened to a run, and how far it was then."""

    ms: int
    step: int
    pid: int
    """Of the rank that JPO_FAULT means; 0: of none."""


@dataclass
class Trial:
    """One `jpo train` on the head of a cluster. Its files are in `folder`: run/, mlflow.db, what it said."""

    head: VirtualHost
    folder: Path
    run_dir: Path
    words: list[str]
    process: "subprocess.Popen[str]"
    started_ms: int

    @property
    def marker(self) -> Path:
        """Made by the rank that JPO_FAULT means when it gets there."""
        return self.folder / "fired"

    def fired(self) -> Moment:
        """Wait for the fault that was ordered."""
        wait_until(lambda: self._is_over() or (self.marker.exists() and self.marker.read_text() != ""), RUN_LIMIT_S)
        assert self.marker.exists(), f"the run ended before its fault:\n{self.said()[-4000:]}"
        at = self.marker.stat().st_mtime_ns // 10**6
        return Moment(at, newest_step(self.run_dir), int(self.marker.read_text()))

    def now(self) -> Moment:
        return Moment(time.time_ns() // 10**6, newest_step(self.run_dir), 0)

    def go_on(self) -> None:
        """Let the rank go on that JPO_FAULT holds."""
        Path(f"{self.marker}.go").touch()

    def reaches(self, step: int) -> None:
        """Wait until a step is done."""
        wait_until(lambda: self._is_over() or newest_step(self.run_dir) >= step, RUN_LIMIT_S)
        assert newest_step(self.run_dir) >= step, f"the run ended before step {step}:\n{self.said()[-4000:]}"

    def ends(self, code: int = 0) -> Done:
        """Wait for the end of the command, which must have this exit code."""
        try:
            self.process.wait(timeout=RUN_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end within {RUN_LIMIT_S:g} s:\n{self.said()[-6000:]}") from None
        seconds = time.time() - self.started_ms / 1000
        out, err = ((self.folder / name).read_text(encoding="utf-8") for name in ("said.out", "said.err"))
        return Done(self.process.returncode, out, err, seconds).check(code)

    def said(self) -> str:
        files = [self.folder / name for name in ("said.out", "said.err")]
        return "".join(file.read_text(encoding="utf-8") for file in files if file.exists())

    def again(self) -> "Trial":
        """The same command."""
        return _run(self.head, self.folder, self.run_dir, self.words)

    def hosts(self) -> list[str]:
        """Addresses of the ranks."""
        return list(json.loads((self.run_dir / "plan.json").read_text(encoding="utf-8"))["hosts"])

    def events(self) -> list[dict[str, Any]]:
        """What Ray's controller wrote down: commits, losses, new groups."""
        path = self.run_dir / "ray" / "cluster.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def _is_over(self) -> bool:
        return self.process.poll() is not None


def train(
    head: VirtualHost,
    files: Files,
    folder: Path,
    *settings: str,
    fault: str = "",
    workers: int = 2,
    run_dir: Path | None = None,
) -> Trial:
    """Start `jpo train` on the head, a worker a host. `fault`: JPO_FAULT of the workers, which fires once.

    `files.folder` has a mlflow.db without runs, see `with_database`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(files.folder / "mlflow.db", folder / "mlflow.db")
    run_dir = run_dir or folder / "run"
    ordered = [f"cluster.env.JPO_FAULT={fault}", f"cluster.env.JPO_FAULT_ONCE={folder / 'fired'}"] if fault else []
    words = [
        "train", files.config, f"run.dir={run_dir}", f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
        f"cluster.workers={workers}", "cluster.placement=STRICT_SPREAD", f"cluster.address={head.head_address}",
        f"train.max_steps={STEPS}", *LIMITS, *ordered, *settings,
    ]  # fmt: skip
    return _run(head, folder, run_dir, words)


def _run(head: VirtualHost, folder: Path, run_dir: Path, words: list[str]) -> Trial:
    into = f'exec "$@" >"{folder}/said.out" 2>"{folder}/said.err"'
    own = {name: value for name, value in environment().items() if os.environ.get(name) != value and name != "PATH"}
    at = time.time_ns() // 10**6
    process = head.popen(["sh", "-c", into, "sh", sys.executable, "-m", "launcher", *words], own)
    return Trial(head, folder, run_dir, words, process, at)


def with_database(files: Files) -> Files:
    """With an MLflow file whose tables are made: that takes longer than a run."""
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{files.folder / 'mlflow.db'}").search_experiments()
    return files


# ---- what is measured


def newest_step(run_dir: Path) -> int:
    """In metrics.jsonl; -1: none."""
    return max((line["step"] for line in lines_of(run_dir)), default=-1) if (run_dir / "metrics.jsonl").exists() else -1


def detected_s(trial: Trial, fault: Moment) -> float:
    """From the fault to the first loss that was noticed."""
    seen = [event["ts_ms"] for event in trial.events() if event["event"] != "commit" and event["ts_ms"] > fault.ms]
    assert seen, f"no loss was noticed: {trial.events()}"
    return (min(seen) - fault.ms) / 1000


def recovered_s(trial: Trial, fault: Moment) -> float:
    """From the fault to the end of the first step that the run had not done before it."""
    return (min(line["ts_ms"] for line in lines_of(trial.run_dir) if line["step"] > fault.step) - fault.ms) / 1000


def work_lost(trial: Trial, fault: Moment) -> int:
    """Steps that were done before the fault and had to be done again by the last attempt."""
    notes = " ".join(json.loads((trial.run_dir / "plan.json").read_text(encoding="utf-8"))["notes"])
    resumed = re.search(r"resumed at step (\d+)", notes)
    return fault.step - int(resumed[1] if resumed else 0)


def step_seconds(run_dir: Path, first: int, last: int) -> float:
    """Median time of the steps from `first` to `last`."""
    return statistics.median(
        line["metrics"]["perf/step_seconds"] for line in lines_of(run_dir) if first <= line["step"] <= last
    )


# ---- the cluster


def make_whole(hosts: list[VirtualHost]) -> None:
    """Every cable in at full speed, every Ray node that is missing started again; without its head, all of them."""
    head = hosts[0]
    for host in hosts:
        host.set_link(True)
        host.limit_link(None)
    alive = nodes(head) if ray_answers(head, head) else {}
    # One that was cut off may end a little later. A new head is refused while nodes of the old one are there.
    missing = [host for host in hosts if host.ip not in alive or not ray_answers(head, host)]
    for host in missing:
        host.kill()
    for host in missing:
        host.restart(cpus=0 if host.is_head else 1)
    wait_until(lambda: nodes(head).keys() == {host.ip for host in hosts})


def training(host: VirtualHost) -> list[int]:
    """Ids of the training workers on a host."""
    found = []
    for pid in host.pids():
        with suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(psutil.Process(pid).cmdline()):
                found.append(pid)
    return found


def is_alive(pid: int) -> bool:
    with suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
