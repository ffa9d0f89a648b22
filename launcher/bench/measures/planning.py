"""What planning an epoch costs, in seconds and memory: a random graph of items that have lengths and no texts.

Legend: N items, C comparisons.
"""

import resource
from pathlib import Path

import numpy as np

from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from launcher.bench.clock import now, since
from launcher.bench.sizes import Figures, Sizes
from launcher.bench.synthetic import edges

RANKS = 8
LENGTH_MEAN, LENGTH_SD, LENGTHS = 81, 59, (8, 528)
"""Tokens of an item of the helpful rows: mean, deviation, least and most."""
MIB = 2**20


def measure(sizes: Sizes) -> Figures:
    """What it costs to plan every step of an epoch over a random graph, in this process, which has done nothing
    else."""
    random = np.random.default_rng(0)
    count = sizes.planned
    winners_C = random.integers(count, size=count)
    losers_C = (winners_C + random.integers(1, count, size=count)) % count
    lengths_N = np.clip(_lognormal(random, count), *LENGTHS).astype(np.int64)
    graph = edges(winners_C, losers_C)
    train = TrainConfig(epochs=1)
    before, start = resident_mib(), now()
    plan = make_plan(Prepared.of_lengths(graph, lengths_N), train, RANKS)
    steps = micro_steps = items = 0
    for step in plan.steps():
        steps += 1
        micro_steps += len(step.micro_steps)
        items += sum(len(micro.items_N) for micro in step.micro_steps)
    spent = since(start)
    return {
        "planning.cpu_s": round(spent.cpu, 2),
        "planning.peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "planning.before_mib": round(before),
        "planning.comparisons": count,
        "planning.steps": steps,
        "planning.micro_steps": micro_steps,
        "planning.item_forwards": items,
        "planning.ranks": RANKS,
    }


def _lognormal(random: np.random.Generator, count: int) -> np.ndarray:
    variance = np.log(1 + (LENGTH_SD / LENGTH_MEAN) ** 2)
    return random.lognormal(np.log(LENGTH_MEAN) - variance / 2, variance**0.5, count)


def resident_mib() -> float:
    """Memory of this process that is in use now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MIB
