"""What the plan alone decides: padding, how even the ranks are, and what planning costs. Nothing is computed.

Legend: C comparisons, N items, S steps, W ranks.
"""

import resource
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from jpo_dist.batches.load import load_data
from jpo_dist.batches.plan import MicroStep, Plan, Step, make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from jpo_dist.data import read
from jpo_dist.model.device import device
from jpo_dist.model.load import attention_share, load_tokenizer
from jpo_dist.model.scorer import pack
from jpo_dist.paths import resolve
from jpo_dist.records.comparisons import COMPARISON_SCHEMA, ITEM_SCHEMA, ComparisonSet
from launcher.bench import ours
from launcher.bench.clock import now, since
from launcher.bench.sizes import Figures, Sizes

RANKS, COMPARISONS, EPOCHS = 8, 64, 5
LENGTH_MEAN, LENGTH_SD, LENGTHS = 81, 59, (8, 528)
"""Tokens of an item of the helpful rows: mean, deviation, least and most."""
MIB = 2**20


def measure(sizes: Sizes) -> Figures:
    """All rows, each winner against another row's loser, 64 comparisons a step, 8 ranks."""
    sizes.require_rows()
    found, _ = read.read(resolve(sizes.rows), on_bad_row="error")
    rows = ours.joint_rows(replace(sizes, comparisons=len(found)))
    config = ours.config_for(sizes, rows, Path(tempfile.mkdtemp()))
    dataset, _, _ = load_data(config, load_tokenizer(config.model))
    train = TrainConfig(
        comparisons_per_step=COMPARISONS, tokens_per_micro_step=sizes.tokens_per_micro_step, epochs=EPOCHS
    )
    share = attention_share(config.model)
    plan = make_plan(dataset, train, RANKS, quadratic=share)
    full = [step for step in plan.steps() if len(step.comparisons_C) == COMPARISONS] or list(plan.steps())
    return {
        "balance.makespan_tokens": round(makespan(plan, full, float), 4),
        "balance.makespan_cost": round(makespan(plan, full, lambda length: length * (1 + share * length)), 4),
        "balance.worst_step_tokens": round(max(makespan(plan, [step], float) for step in full), 4),
        "balance.padding_share": round(padding_share(dataset, full), 6),
        "balance.steps": len(full),
        "balance.ranks": RANKS,
        "balance.comparisons": COMPARISONS,
        "balance.micro_steps": sum(len(step.micro_steps) for step in full),
    }


def makespan(plan: Plan, steps: list[Step], cost: Callable[[int], float]) -> float:
    """What the ranks wait for over what they have to do: the fullest rank of each micro-step to an even share, both
    summed."""
    loads_MW = np.array([_loads(plan, micro, cost) for step in steps for micro in step.micro_steps])
    return float(loads_MW.max(1).sum() / loads_MW.mean(1).sum())


def _loads(plan: Plan, micro: MicroStep, cost: Callable[[int], float]) -> list[float]:
    return [sum(cost(int(plan.lengths_N[item])) for item in mine) for mine in micro.items_by_rank]


def padding_share(dataset: Prepared, steps: list[Step]) -> float:
    """Share of the tokens that go through the model and belong to no item, counted in the packs of all ranks."""
    computed = real = 0
    for micro in (micro for step in steps for micro in step.micro_steps):
        for mine, skips in zip(micro.items_by_rank, micro.skips_by_rank, strict=True):
            computed += pack(dataset.tokens, mine, device(), skips).ids_1T.numel()
            real += int(dataset.tokens.lengths_N[mine].sum())
    return 1 - real / computed


def planning(sizes: Sizes) -> Figures:
    """Every step of an epoch over a random graph, in this process, which has done nothing else."""
    random = np.random.default_rng(0)
    count = sizes.planned
    winners_C = random.integers(count, size=count)
    losers_C = (winners_C + random.integers(1, count, size=count)) % count
    lengths_N = np.clip(_lognormal(random, count), *LENGTHS).astype(np.int64)
    graph = comparisons(winners_C, losers_C)
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


def comparisons(winners_C: np.ndarray, losers_C: np.ndarray) -> ComparisonSet:
    """Edges without texts: a plan needs no more."""
    count = len(winners_C)
    columns = {name: pa.nulls(count, COMPARISON_SCHEMA.field(name).type) for name in COMPARISON_SCHEMA.names}
    known = {"winner": winners_C, "loser": losers_C, "weight": np.ones(count), "tie": np.zeros(count, dtype=bool)}
    columns |= {name: pa.array(values) for name, values in known.items()}
    return ComparisonSet(ITEM_SCHEMA.empty_table(), pa.table(columns, COMPARISON_SCHEMA))


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MIB
