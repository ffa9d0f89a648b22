"""Two hosts, one ZeRO-3 worker on each, submitted as a Ray job: the losses of two workers on one host."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.virtual_hosts import VirtualHost
from tests.multihost.conftest import ROOT, Job

pytestmark = [pytest.mark.slow, pytest.mark.multihost, pytest.mark.timeout(600)]


def steps(run_dir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line["metrics"].items() if not k.startswith("perf/")} for line in lines]


def hosts_of_workers(run_dir: Path) -> set[str]:
    """Which addresses the ranks of the run had, by their own word."""
    return set(json.loads((run_dir / "plan.json").read_text())["hosts"])


def test_two_hosts_give_the_losses_of_one(two_hosts: list[VirtualHost], finished_job: Job) -> None:
    folder = finished_job.folder
    assert hosts_of_workers(folder / "run") == {host.ip for host in two_hosts}
    here = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = [f"run.dir={folder}/one", "tracking.uri=none"]
    command = [sys.executable, "-m", "launcher", "train", str(finished_job.config), *options]
    alone = subprocess.run(command, cwd=ROOT, env=here, capture_output=True, text=True, timeout=300, check=False)
    assert alone.returncode == 0, alone.stderr[-4000:]
    assert len(hosts_of_workers(folder / "one")) == 1
    assert steps(folder / "run") == steps(folder / "one")
    assert len(steps(folder / "run")) == 7
