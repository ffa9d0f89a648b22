"""Secrets that the hosts have are nowhere else: searched for by value in all that a Ray job leaves or shows."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.virtual.hosts import VirtualHost
from tests.multihost.conftest import Commands, Job
from tests.support.hosts import ask

pytestmark = [pytest.mark.multihost, pytest.mark.slow, pytest.mark.timeout(600)]

API = [
    "api/jobs/", "api/jobs/{job}", "api/jobs/{job}/logs", "nodes?view=summary", "logical/actors",
    "api/v0/actors?detail=1", "api/v0/jobs?detail=1", "api/v0/nodes?detail=1", "api/v0/runtime_envs?detail=1",
    "api/v0/tasks?detail=1", "api/v0/workers?detail=1", "api/v0/placement_groups?detail=1",
]  # fmt: skip


def contents(folder: Path) -> Iterator[bytes]:
    for path in folder.rglob("*"):
        if stat.S_ISREG(path.lstat().st_mode):
            yield path.read_bytes()


def places(hosts: list[VirtualHost], job: Job, commands: Commands) -> dict[str, list[bytes]]:
    """Everything that a training as a Ray job leaves behind or shows to those who may look."""
    head = hosts[0]
    answers = {path: ask(head, f"{head.dashboard_address}/{path.format(job=job.name)}") for path in API}
    assert all(answers.values()), answers
    return {
        "run folder": list(contents(job.folder / "run")),
        "mlflow": [path.read_bytes() for path in job.folder.glob("mlflow.db*")],
        "artifacts": list(contents(job.folder / "mlartifacts")),
        "files of Ray": [data for host in hosts for data in contents(host.temp_dir)],
        "api": [str(answer).encode() for answer in answers.values()],
        "command lines": list(commands.seen),
        "output": [(job.done.stdout + job.done.stderr).encode()],
    }


def test_no_secret_of_a_host_is_anywhere_else(
    two_hosts: list[VirtualHost], finished_job: Job, canaries: dict[str, str], seen_commands: Commands
) -> None:
    found = places(two_hosts, finished_job, seen_commands)
    control = finished_job.run_name.encode()
    # The name of the run is in each of them: the search sees what is there.
    assert [place for place, texts in found.items() if not any(control in text for text in texts)] == []
    for name, value in canaries.items():
        assert [place for place, texts in found.items() if any(value.encode() in text for text in texts)] == [], name
