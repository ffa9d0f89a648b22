"""The fault matrix: what happens to hosts, links, processes, disks and servers while the real command trains on them.

Every run ends with the losses of the undisturbed one and with one row a step in MLflow, or with one clear error. What
is measured on the way is in docs/reliability.md (`make faults`).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.virtual_hosts import NoVirtualHosts, VirtualHost, virtual_hosts
from tests.support import matrix
from tests.support.commands import Files, numbers, tiny_files, tracked
from tests.support.faults import Moment, Trial, detected_s, make_whole, recovered_s, train, work_lost

pytestmark = [pytest.mark.slow, pytest.mark.multihost, pytest.mark.nightly, pytest.mark.timeout(900)]
SAME = "same losses, bit for bit"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A tiny model; a commit every two steps."""
    return tiny_files(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[VirtualHost]]:
    """A head without workers, and three hosts with room for one each: two ranks and a spare."""
    try:
        with virtual_hosts(4, cpus=1, head_cpus=0) as made:
            yield made
    except NoVirtualHosts as reason:
        pytest.skip(str(reason))


@pytest.fixture
def hosts(cluster: list[VirtualHost]) -> Iterator[list[VirtualHost]]:
    """The whole cluster, head first; what a test did to it is mended afterwards."""
    yield cluster
    make_whole(cluster)


@pytest.fixture(scope="module")
def undisturbed(cluster: list[VirtualHost], files: Files) -> Path:
    """The run folder of two ranks that nothing happened to."""
    trial = train(cluster[0], files, files.folder / "undisturbed")
    trial.ends()
    tracked(trial.run_dir)
    return trial.run_dir


def host_of(trial: Trial, rank: int, hosts: list[VirtualHost]) -> VirtualHost:
    (host,) = [host for host in hosts if host.ip == trial.hosts()[rank]]
    return host


def recovers(name: str, trial: Trial, fault: Moment, undisturbed: Path) -> None:
    """The run gets to its end by itself, as if nothing had been; what it took is recorded."""
    trial.ends()
    is_undisturbed(trial, undisturbed)
    matrix.record(name, detected_s(trial, fault), recovered_s(trial, fault), work_lost(trial, fault), SAME)


def is_undisturbed(trial: Trial, undisturbed: Path) -> None:
    assert numbers(trial.run_dir) == numbers(undisturbed)
    assert tracked(trial.run_dir)[1] == "FINISHED"


def test_a_killed_worker_is_replaced(hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@6")
    fault = trial.fired()
    recovers("worker-killed", trial, fault, undisturbed)
    assert work_lost(trial, fault) == 1


def test_a_spare_host_takes_over_from_one_that_is_killed(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path
) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@6@wait")
    trial.fired()
    lost = host_of(trial, 1, hosts)
    fault = trial.now()
    lost.kill()
    recovers("host-killed", trial, fault, undisturbed)
    assert lost.ip not in trial.hosts()
