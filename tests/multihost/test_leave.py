"""`python -m cluster.leave`: Ray knows before a host goes, and the node ends when nothing runs on it."""

import sys
from collections.abc import Iterator

import pytest

from cluster.virtual.hosts import NoVirtualHosts, VirtualHost, virtual_hosts

pytestmark = [pytest.mark.multihost, pytest.mark.slow, pytest.mark.nightly]

# On the head: work on the other host, until Ray says that the host is going away.
BUSY = """
import time
import ray
from ray._private.state import state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(address="auto", log_to_driver=False)
@ray.remote(num_cpus=1)
class Work:
    def host(self): return ray.util.get_node_ip_address()
other = next(n for n in ray.nodes() if n["NodeManagerAddress"] != ray.util.get_node_ip_address())
work = Work.options(scheduling_strategy=On(other["NodeID"], soft=False)).remote()
print("busy on", ray.get(work.host.remote()), flush=True)
while not (leaving := state.get_draining_nodes()): time.sleep(0.1)
print("leaving", list(leaving) == [other["NodeID"]], round(leaving[other["NodeID"]] / 1000 - time.time()), flush=True)
assert ray.get(work.host.remote()) == other["NodeManagerAddress"]  # what runs goes on
ray.kill(work)
while any(n["Alive"] for n in ray.nodes() if n["NodeID"] == other["NodeID"]): time.sleep(0.1)
print("gone", flush=True)
"""


@pytest.fixture
def hosts() -> Iterator[list[VirtualHost]]:
    """Hosts of this test's own: one of them goes."""
    try:
        with virtual_hosts(2, cpus=1) as made:
            yield made
    except NoVirtualHosts as reason:
        pytest.skip(str(reason))


def test_a_host_that_leaves_is_announced_and_ends_when_it_is_idle(hosts: list[VirtualHost]) -> None:
    head, other = hosts
    work = head.popen([sys.executable, "-c", BUSY])
    assert work.stdout is not None
    lines = (line for line in work.stdout if line.startswith(("busy", "leaving", "gone", "Traceback")))
    assert next(lines) == f"busy on {other.ip}\n"
    done = other.run([sys.executable, "-m", "cluster.leave", "60"])
    assert done.returncode == 0, done.stderr
    said, right, left_s = next(lines).split()
    assert (said, right) == ("leaving", "True")
    assert 40 < int(left_s) <= 60
    assert next(lines) == "gone\n"
    assert work.wait(timeout=30) == 0
    again = other.run([sys.executable, "-m", "cluster.leave", "60"])  # no node here any more: nothing to tell
    assert again.returncode == 0
