"""The helper that starts ranks for other tests: results, first errors, deaths and limits come out as they happened."""

import os
import signal

import pytest
import torch

from jpo_dist.distributed import ranks
from tests.support.procs import RankError, run_ranks


def _sum(x: int) -> tuple[int, int, int, str]:
    total = ranks.all_reduce_sum(torch.tensor([x + ranks.rank()])).item()
    return int(total), ranks.rank(), ranks.num_ranks(), os.environ["LOCAL_RANK"] + os.environ.get("EXTRA", "")


def test_results_come_in_rank_order_and_the_environment_is_that_of_the_rank() -> None:
    assert run_ranks(_sum, 2, 10, env={"EXTRA": "!"}) == [(21, 0, 2, "0!"), (21, 1, 2, "1!")]
    assert run_ranks(_sum, 1, 10) == [(10, 0, 1, "0")]


def _own_group() -> int:
    torch.distributed.init_process_group("gloo")
    return ranks.num_ranks()


def test_without_a_group_the_ranks_can_make_one_from_the_environment() -> None:
    assert run_ranks(_own_group, 2, group=False) == [2, 2]


def _fail(rank: int, by_peer_error: bool) -> None:
    if by_peer_error:
        with ranks.together("this"):
            if ranks.rank() == rank:
                raise ValueError("the cause")
    if ranks.rank() == rank:
        raise ValueError("the cause")
    ranks.barrier()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("by_peer_error", [True, False])
def test_the_cause_is_reported_and_not_its_echo_on_other_ranks(rank: int, by_peer_error: bool) -> None:
    with pytest.raises(RankError, match=rf"(?s)rank {rank} of 2 failed:.*ValueError: the cause"):
        run_ranks(_fail, 2, rank, by_peer_error)


def _die(how: str) -> str:
    if ranks.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL) if how == "kill" else signal.pause()
    try:
        ranks.barrier()
    except RuntimeError:
        return "connection lost"
    return ""


def test_a_killed_rank_is_an_outcome_or_an_error() -> None:
    alive, dead = run_ranks(_die, 2, "kill", check=False)
    assert (alive.value, alive.error, alive.exit_code) == ("connection lost", None, 0)
    assert (dead.value, dead.exit_code) == (None, -signal.SIGKILL)
    with pytest.raises(RankError, match=r"rank 1 of 2 failed:\nthe process ended without a result \(exit code -9\)"):
        run_ranks(_die, 2, "kill")


@pytest.mark.slow
def test_a_rank_that_hangs_is_killed_at_the_limit() -> None:
    waiting, stuck = run_ranks(_die, 2, "hang", timeout=5, check=False)
    assert waiting.value == "connection lost"  # told by the collective's own limit, which is the shorter one
    assert (stuck.value, stuck.exit_code) == (None, None)
    assert str(stuck.error).startswith("no result (limit 5 s")
    with pytest.raises(RankError, match=r"rank 1 of 2 failed:\nno result \(limit 5 s"):
        run_ranks(_die, 2, "hang", timeout=5)
