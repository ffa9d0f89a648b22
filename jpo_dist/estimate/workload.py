"""What the plan gives each rank to do: tokens, squares of lengths, scored rows; for real items or for guessed lengths.

Legend: M micro-steps of a step, W ranks, N items. Lengths are in tokens.
"""

from typing import NamedTuple

import numpy as np

from jpo_dist.batches.plan import Plan, Step
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from jpo_dist.objective.reference import reference_passes
from jpo_dist.objective.reference_cache import ITEMS_PER_PART
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item

MOST_STEPS, ENOUGH_COMPARISONS = 16, 4096
"""Steps of a run that are looked at: at most so many, and no more than have so many comparisons together."""


class Load(NamedTuple):
    """The work of one step of the plan."""

    comparisons: int
    items: int
    tokens_MW: np.ndarray
    """Tokens that are computed: an instruction that items of a rank share (train.share_instructions) counts once."""
    squares_MW: np.ndarray
    """Sum of squared item lengths, for attention."""
    rows_MW: np.ndarray
    """Tokens that are scored, for the head."""
    fillers: int
    """Tokens computed for ranks that have no item."""
    fullest: tuple[int, ...]
    """Lengths of the items of the rank and micro-step whose items have most tokens."""
    pass_M: np.ndarray
    """Number of the reference pass that each micro-step is in."""
    longest_pass: tuple[int, ...]
    """Lengths of the items of the rank and reference pass whose items have most tokens."""


def load_of(plan: Plan, step: Step, tokens_per_pass: int) -> Load:
    """The work of `step`. `tokens_per_pass`: as in ReferenceConfig."""
    ranks, lengths_N = plan.num_ranks, plan.lengths_N
    sums: list[list[tuple[int, int, int, int]]] = []
    for micro in step.micro_steps:
        row = []
        for items, skips in zip(micro.items_by_rank, micro.skips_by_rank, strict=True):
            lengths = lengths_N[items].astype(np.int64)
            whole, scored = int(lengths.sum()), int((lengths - np.maximum(skips, 1)).sum())
            row.append((whole - _computed_before(plan, items), int((lengths**2).sum()), scored, whole))
        sums.append(row)
    table = np.array(sums, dtype=np.int64).reshape(len(step.micro_steps), ranks, 4)
    micro_rank = divmod(int(table[..., 3].argmax()), ranks)
    passes = reference_passes(step.micro_steps, lengths_N, tokens_per_pass)
    pass_M = np.repeat(np.arange(len(passes)), [len(micros) for micros in passes])
    together = [np.unique(np.concatenate([m.items_by_rank[r] for m in ms])) for ms in passes for r in range(ranks)]
    longest = max(together, key=lambda items: int(lengths_N[items].sum()))
    by_micro = [micro.items_N for micro in step.micro_steps]
    return Load(
        comparisons=len(step.comparisons_C),
        items=sum(len(items_N) for items_N in by_micro),
        tokens_MW=table[..., 0],
        squares_MW=table[..., 1],
        rows_MW=table[..., 2],
        fillers=2 * int((table[..., 0] == 0).sum()),
        fullest=tuple(int(n) for n in lengths_N[step.micro_steps[micro_rank[0]].items_by_rank[micro_rank[1]]]),
        pass_M=pass_M,
        longest_pass=tuple(int(n) for n in lengths_N[longest]),
    )


def _computed_before(plan: Plan, items: np.ndarray) -> int:
    """Tokens of instructions that an earlier item of the same rank and micro-step has: only attention sees them
    again."""
    if plan.instructions_N2 is None:
        return 0
    first = np.unique(plan.instructions_N2[items, 0], return_index=True)[1]
    return int(np.delete(plan.instructions_N2[items, 1], first).sum())


def loads(plan: Plan, tokens_per_pass: int) -> list[Load]:
    """The work of some steps spread over the whole run. The shorter last one of an epoch is left out if there are
    others."""
    shorter = len(plan.winners_C) % plan.comparisons_per_step != 0
    whole = [i for i in range(plan.num_steps) if (i + 1) % plan.steps_per_epoch or not shorter]
    chosen = whole or list(range(plan.num_steps))
    places = np.unique(np.linspace(0, len(chosen) - 1, _looked_at(plan.comparisons_per_step)).astype(int))
    return [load_of(plan, plan.step(chosen[place]), tokens_per_pass) for place in places]


def _looked_at(comparisons_per_step: int) -> int:
    return min(MOST_STEPS, max(2, ENOUGH_COMPARISONS // comparisons_per_step))


def filling_pass(lengths_N: np.ndarray, ranks: int, tokens_per_pass: int) -> tuple[int, ...]:
    """Lengths of the items in the first forward that fills a reference cache, as reference_cache.score_once makes
    it."""
    mine = np.sort(lengths_N)[::-1][:ITEMS_PER_PART:ranks]
    count = int((np.cumsum(mine) <= tokens_per_pass).sum())
    return tuple(int(n) for n in mine[: max(1, count)])


def guessed(mean: float, spread: float, train: TrainConfig, longest: int) -> Prepared:
    """Comparisons of made-up items whose lengths are log-normal with this mean and standard deviation, in tokens, and
    at most `longest`."""
    steps = _looked_at(train.comparisons_per_step)
    count = max(steps * train.comparisons_per_step, ITEMS_PER_PART // 2)  # enough to fill a cache with
    edges = [Comparison(Item.of(str(i), "w"), Item.of(str(i), "l")) for i in range(count)]
    made = ComparisonSet.build(edges)
    sigma2 = np.log(1 + (spread / mean) ** 2)
    random = np.random.Generator(np.random.PCG64(train.seed))
    lengths_N = random.lognormal(np.log(mean) - sigma2 / 2, np.sqrt(sigma2), made.num_items)
    return Prepared.of_lengths(made, np.clip(lengths_N.round(), 3, longest).astype(np.int64))
