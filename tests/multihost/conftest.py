"""Two hosts, shared by all tests of this folder: making them takes longer than most tests."""

import pytest

from cluster.virtual_hosts import NoVirtualHosts, virtual_hosts


@pytest.fixture(scope="session")
def two_hosts():
    """A Ray cluster of two virtual hosts with one CPU each; the first is the head. Skips where they cannot be made."""
    try:
        context = virtual_hosts(2, cpus=1)
        hosts = context.__enter__()
    except NoVirtualHosts as reason:
        pytest.skip(str(reason))
    try:
        yield hosts
    finally:
        context.__exit__(None, None, None)
