"""Comparisons a second against TRL, in one process or two, with the reference live or cached."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from jpo_dist.distributed import ranks
from jpo_dist.model.engine import connect
from jpo_dist.train.setup import Setup
from launcher.bench import ours, peer
from launcher.bench.clock import Spent, in_turns, least, of_all_ranks
from launcher.bench.sizes import Figures, Sizes

NATS = 1.0
"""How far the arms' mean margins of step 0 may be apart: bfloat16 costs an item some tenths of a nat; a token more or
less on one side, several."""
LOSS, OF_THE_FALL = 0.05, 0.3
"""How far the losses after the first update may be apart, and as a share of the fall of ours. TRL trains bfloat16
weights without a float32 copy: its small updates are rounded."""


class GuardError(AssertionError):
    """The arms do not compute the same thing: a comparison of their times would mean nothing."""


def one_process(sizes: Sizes) -> Figures:
    """One process against TRL, reference not cached, at the batch size that suits TRL best; and what sharing
    instructions gains on top."""
    folder, rows = _begin(sizes)
    setup = ours.ready(sizes, rows, folder)
    shared = ours.instructions_once(setup)
    ours.check_alike([setup, shared])
    best, found = best_batch(setup, folder, "training", sizes.trl_batches)
    found |= {"training.trl_batch": best, **against_trl(setup, folder, sizes, "training", best)}
    return found | instructions_once(setup, shared, sizes)


def instructions_once(setup: Setup, shared: Setup, sizes: Sizes) -> Figures:
    """`train.share_instructions` against our own step, on rows in which each instruction has two responses."""
    apart, once = in_turns([ours.Steps(setup), ours.Steps(shared)], sizes.repetitions)
    return {
        "training.shared_instructions_gain": round(apart.cpu / once.cpu, 3),
        "training.shared_instructions_tokens": ours.computed(shared)["tokens"],
    }


def cached(sizes: Sizes) -> Figures:
    """One process against TRL, both with a cached reference; what it cost to fill the caches counts on neither side."""
    folder, rows = _begin(sizes)
    setup = ours.ready(sizes, rows, folder, reference={"mode": "cached"})
    return against_trl(setup, folder, sizes, "cached", sizes.trl_batches[0])


def two_ranks(sizes: Sizes) -> Figures:
    """Two ZeRO-3 ranks against TRL, reference not cached, CPU seconds of both ranks together."""
    folder, rows = _begin(sizes)
    setup = ours.ready(sizes, rows, folder, engine={"zero_stage": 3})
    return against_trl(setup, folder, sizes, "two_ranks", sizes.trl_batches[0])


def _begin(sizes: Sizes) -> tuple[Path, list[dict[str, str]]]:
    sizes.require_rows()
    peer.require()
    connect()
    return Path(tempfile.mkdtemp()), ours.joint_rows(sizes)


def best_batch(setup: Setup, folder: Path, name: str, batches: Sequence[int]) -> tuple[int, Figures]:
    """TRL's own best number of comparisons at a time, by one step of each: CPU seconds, or seconds of a GPU."""
    clock = "cpu" if setup.device.type == "cpu" else "wall"
    count = min(len(setup.dataset.comparisons), 2 * max(batches))
    spent: dict[int, float] = {}
    for batch in (batches[-1], *batches):  # the first turn warms up and is tried again
        race = peer.race(setup, folder, lambda: None, batch, 1, count=count)
        spent[batch] = getattr(race.theirs[0], clock)
    found: Figures = {
        f"{name}.trl_batch_{batch}_comparisons_per_{clock}_s": round(count / s, 3) for batch, s in spent.items()
    }
    return min(spent, key=lambda batch: spent[batch]), found


def against_trl(setup: Setup, folder: Path, sizes: Sizes, name: str, batch: int) -> Figures:
    """The figures of steps of both arms in turns, the least of each. Raises GuardError where they compute other
    things."""
    step = ours.Steps(setup)
    race = peer.race(setup, folder, step, batch, sizes.repetitions + 1)
    check(step, race)
    theirs, mine = (least(of_all_ranks(spent)) for spent in race.counted)
    return (
        speeds(name, mine, theirs, len(setup.dataset.comparisons))
        | {f"{name}.{what}": count for what, count in ours.computed(setup).items()}
        | {f"{name}.last_loss": round(step.losses[-1], 4), f"{name}.trl_last_loss": round(race.losses[-1], 4)}
    )


def speeds(name: str, mine: Spent, theirs: Spent, comparisons: int) -> Figures:
    """The figures of one step of each arm: ratios above 1 say that ours is faster."""
    return {
        f"{name}.cpu_ratio": round(theirs.cpu / mine.cpu, 3),
        f"{name}.wall_ratio": round(theirs.wall / mine.wall, 3),
        f"{name}.comparisons_per_s": round(comparisons / mine.wall, 3),
        f"{name}.trl_comparisons_per_s": round(comparisons / theirs.wall, 3),
        f"{name}.cpu_s": round(mine.cpu, 2),
        f"{name}.trl_cpu_s": round(theirs.cpu, 2),
        f"{name}.wall_s": round(mine.wall, 2),
        f"{name}.trl_wall_s": round(theirs.wall, 2),
        f"{name}.comparisons": comparisons,
    }


def check(step: ours.Steps, race: peer.Race) -> None:
    """Raises GuardError unless both arms scored the same and learned alike."""
    apart = abs(step.margins[0] - race.margins[0])
    if apart > NATS:
        raise GuardError(f"mean margin of step 0: ours {step.margins[0]:.3f}, TRL's {race.margins[0]:.3f} nats")
    first, mine, theirs = step.losses[0], step.losses[1], race.losses[1]
    if abs(first - race.losses[0]) > LOSS or abs(mine - theirs) > max(LOSS, OF_THE_FALL * (first - mine)):
        raise GuardError(f"losses of steps 0 and 1: ours {step.losses[:2]}, TRL's {race.losses[:2]}")
    assert len(step.losses) == len(race.losses), f"rank {ranks.rank()} took another number of steps than TRL"
