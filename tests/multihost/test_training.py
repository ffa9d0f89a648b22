"""Two hosts, one ZeRO-3 worker on each, submitted as a Ray job: the losses of two workers on one host."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.virtual.hosts import VirtualHost
from tests.multihost.conftest import Job
from tests.support.commands import MEASURED, warm_commands

pytestmark = [pytest.mark.slow, pytest.mark.multihost, pytest.mark.timeout(600)]


def steps(run_dir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line["metrics"].items() if not k.startswith(MEASURED)} for line in lines]


def hosts_of_workers(run_dir: Path) -> set[str]:
    """Which addresses the ranks of the run had, by their own word."""
    return set(json.loads((run_dir / "plan.json").read_text())["hosts"])


def test_two_hosts_give_the_losses_of_one(two_hosts: list[VirtualHost], finished_job: Job, tmp_path: Path) -> None:
    two, one = finished_job.folder / "run", tmp_path / "run"
    with warm_commands(tmp_path) as warm:  # two ranks of this machine, without Ray
        warm.ranks(2, "train", str(finished_job.config), f"run.dir={one}", "tracking.uri=none").check()
    assert hosts_of_workers(two) == {host.ip for host in two_hosts}
    assert len(hosts_of_workers(one)) == 1
    assert steps(two) == steps(one)
    assert len(steps(two)) == 7
