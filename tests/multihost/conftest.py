"""Two hosts, shared by all tests of this folder: making them takes longer than most tests. Secrets lie in them."""

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.virtual_hosts import NoVirtualHosts, VirtualHost, virtual_hosts


@pytest.fixture(scope="session")
def canaries() -> dict[str, str]:
    """Secrets as a host has them in its environment. None of these values may be seen anywhere else."""
    return {
        "HF_TOKEN": f"hf_{secrets.token_hex(17)}",
        "MLFLOW_TRACKING_PASSWORD": f"canary-{secrets.token_hex(16)}",
        "OPENAI_API_KEY": f"sk-{secrets.token_hex(24)}",
    }


@pytest.fixture(scope="session")
def two_hosts(canaries: dict[str, str], seen_commands: "Commands") -> Iterator[list[VirtualHost]]:
    """A Ray cluster of two virtual hosts with one CPU each; the first is the head. Skips where they cannot be made."""
    try:
        context = virtual_hosts(2, cpus=1, env=canaries)
        hosts = context.__enter__()
    except NoVirtualHosts as reason:
        pytest.skip(str(reason))
    try:
        yield hosts
    finally:
        context.__exit__(None, None, None)


class Commands:
    """Every command line that any process of this machine showed, looked at many times a second."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:  # it has ended
                    continue

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="session")
def seen_commands() -> Iterator[Commands]:
    commands = Commands()
    yield commands
    commands.close()
