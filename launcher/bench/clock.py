"""How long the arms of a comparison take: wall seconds and CPU seconds."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from jpo_dist.distributed import ranks


class Spent(NamedTuple):
    """Seconds spent. `cpu`: by all threads of this process."""

    cpu: float
    wall: float


def now() -> Spent:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Spent(time.process_time(), time.perf_counter())


def since(start: Spent) -> Spent:
    end = now()
    return Spent(end.cpu - start.cpu, end.wall - start.wall)


def timed(work: Callable[[], object]) -> Spent:
    start = now()
    work()
    return since(start)


def in_turns(arms: Sequence[Callable[[], object]], repetitions: int) -> list[Spent]:
    """Run the arms in turns; returns the least that each took, after one turn that does not count."""
    for arm in arms:
        arm()
    turns = [[timed(arm) for arm in arms] for _ in range(repetitions)]
    return [least(spent) for spent in zip(*turns, strict=True)]


def least(spent: Sequence[Spent]) -> Spent:
    return Spent(min(s.cpu for s in spent), min(s.wall for s in spent))


def of_all_ranks(spent: Sequence[Spent]) -> list[Spent]:
    """What all ranks spent in each repetition: CPU seconds summed over the ranks, wall seconds of the slowest."""
    return [
        Spent(sum(s.cpu for s in same), max(s.wall for s in same)) for same in zip(*ranks.gather(spent), strict=True)
    ]
