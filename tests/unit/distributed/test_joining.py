"""Ranks that do not find each other say where they looked, and for how long."""

import os
import socket

import pytest
import torch

from jpo_dist.distributed import joining, waiting
from jpo_dist.distributed.joining import PLACE, JoinError, join
from tests.support.procs import run_ranks


def one_of_two(port: int) -> list[str]:
    """Rank 0 of two, the other of which never comes."""
    place = dict(zip(PLACE, ("0", "0", "2", "127.0.0.1", str(port)), strict=True))
    os.environ.update(place)
    said: list[str] = []
    joining.telling = lambda what, tell: waiting.telling(what, tell, first_s=0.2)  # type: ignore[attr-defined]
    try:
        join(3, said.append)
    except JoinError as error:
        return [*said, str(error)]
    return said


@pytest.mark.slow
def test_a_rank_whose_peers_never_come_says_so_while_it_waits_and_then_ends() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    [told] = run_ranks(one_of_two, 1, port, group=False)
    assert told[0].startswith(f"rank 0 of 2 waits for the others at 127.0.0.1:{port}, 0 s")
    assert told[-1].startswith(f"the ranks do not find each other (rank 0 of 2, 127.0.0.1:{port}): ")
    assert told[-1].endswith(
        "start all ranks with torchrun, or unset RANK and WORLD_SIZE where no launcher has set them"
    )
    assert "\n" not in told[-1]


def alone_where_every_port_is_taken(port: int) -> int:
    """A rank without peers, told an address that another process listens at."""
    place = dict(zip(PLACE, ("0", "0", "1", "127.0.0.1", str(port)), strict=True))
    os.environ.update(place)
    join(3, lambda said: None)
    total = torch.ones(1)
    torch.distributed.all_reduce(total)
    return int(total)


@pytest.mark.slow
def test_a_rank_without_peers_needs_no_port() -> None:
    """It took one that was free, let it go, and listened there: now and then another process had taken it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert run_ranks(alone_where_every_port_is_taken, 1, taken.getsockname()[1], group=False) == [1]


def test_an_interface_that_is_not_there_is_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranks would not find each other, and be started again."""
    for name in PLACE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo,nosuch0")
    with pytest.raises(
        ValueError, match=r"^GLOO_SOCKET_IFNAME \(lo,nosuch0\) must be an interface of .*, which has .*lo"
    ):
        joining.refuse_unknown_interface()
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    joining.refuse_unknown_interface()
