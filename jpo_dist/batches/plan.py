"""The plan of a run: which comparisons make a step, and which rank scores which item in which micro-step.

Legend: C comparisons, N items, W ranks, U items of one step. The plan is a pure function of (comparisons, lengths,
seed, budget, ranks): no state, no communication, the same on every rank. The comparisons of a step and their order
depend neither on W nor on the budget; only how their items are spread does. That changes speed and memory, never the
gradient.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np

from jpo_dist.batches.micro_steps import NO_LIMIT, Limits, Sizes, connected, micro_steps, spread
from jpo_dist.batches.order import epoch_order, item_groups
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from jpo_dist.records.examples import Examples


@dataclass(frozen=True)
class MicroStep:
    """One engine forward on every rank. `winners_C[c]` and `losers_C[c]` index the items of all ranks end to end."""

    items_by_rank: tuple[np.ndarray, ...]
    skips_by_rank: tuple[np.ndarray, ...]
    """Leading tokens of each item that are not scored: every comparison of the item has them on both sides."""
    comparisons_C: np.ndarray
    winners_C: np.ndarray
    losers_C: np.ndarray

    @cached_property
    def items_N(self) -> np.ndarray:
        """Items of all ranks, in the order in which gathered scores arrive."""
        return np.concatenate(self.items_by_rank)

    @property
    def counts(self) -> list[int]:
        """Items on each rank: known from the plan, so that no sizes are exchanged."""
        return [len(mine) for mine in self.items_by_rank]


@dataclass(frozen=True)
class Step:
    """One optimizer step: comparisons with their total weight, split into micro-steps."""

    index: int
    epoch: int
    comparisons_C: np.ndarray
    total_weight: float
    micro_steps: tuple[MicroStep, ...]
    limits: Limits


@dataclass(frozen=True)
class Plan:
    """A whole run. `plan.step(k)` costs the same for every k, so resuming is starting at another k."""

    winners_C: np.ndarray
    losers_C: np.ndarray
    weights_C: np.ndarray
    shared_C: np.ndarray
    """Tokens of instruction that both items of a comparison begin with; zeros score everything."""
    lengths_N: np.ndarray
    instructions_N2: np.ndarray | None
    """(number, length) of each item's instruction: a rank computes equal ones once. None: every item by itself."""
    order_of: Callable[[int], np.ndarray]
    """Epoch to the order of its comparisons."""
    limits: Limits
    comparisons_per_step: int
    num_steps: int

    @property
    def num_ranks(self) -> int:
        return self.limits.ranks

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.winners_C) // self.comparisons_per_step)

    def step(self, index: int) -> Step:
        """The step number `index`, counted from 0 over all epochs: its comparisons, and what each rank scores.

        Steps beyond an epoch's last go on in the next epoch's order; the last one of an epoch may be smaller.
        """
        epoch, position = divmod(index, self.steps_per_epoch)
        start = position * self.comparisons_per_step
        chosen_C = self.order_of(epoch)[start : start + self.comparisons_per_step]
        items_U, ends = np.unique([self.winners_C[chosen_C], self.losers_C[chosen_C]], return_inverse=True)
        winners, losers = ends.reshape(2, -1).tolist()
        instructions = ([], []) if self.instructions_N2 is None else self.instructions_N2[items_U].T.tolist()
        sizes = Sizes(self.lengths_N[items_U].tolist(), *instructions)
        skips_U = _skips(winners, losers, self.shared_C[chosen_C], len(items_U))
        micros = []
        for places in micro_steps(winners, losers, sizes, self.limits):
            by_rank = spread({end for p in places for end in (winners[p], losers[p])}, sizes, self.limits)
            assert by_rank is not None, "micro_steps returned one that does not fit"
            row = {item: i for i, item in enumerate(item for mine in by_rank for item in mine)}
            micros.append(
                MicroStep(
                    tuple(items_U[mine] for mine in by_rank),
                    tuple(skips_U[mine] for mine in by_rank),
                    chosen_C[places],
                    np.array([row[winners[p]] for p in places]),
                    np.array([row[losers[p]] for p in places]),
                )
            )
        return Step(index, epoch, chosen_C, float(self.weights_C[chosen_C].sum()), tuple(micros), self.limits)

    def steps(self, start: int = 0) -> Iterator[Step]:
        """The steps from `start` to the end of the run, each made when it is asked for."""
        for index in range(start, self.num_steps):
            yield self.step(index)


def _skips(winners: list[int], losers: list[int], shared_C: np.ndarray, count: int) -> np.ndarray:
    """(U,) leading tokens of each item that need no score.

    Items that comparisons connect have one number: a token must be left out on both sides of a comparison or on none,
    and each item has one score for all its comparisons.
    """
    skips_U = np.zeros(count, dtype=np.int64)
    for places in connected(winners, losers):
        least = shared_C[places].min()
        skips_U[[winners[p] for p in places]] = least
        skips_U[[losers[p] for p in places]] = least
    return skips_U


def make_plan(dataset: Prepared, train: TrainConfig, num_ranks: int, quadratic: float = 0.0) -> Plan:
    """The plan of the whole run. `quadratic`: see Limits.

    Raises ValueError when there is nothing to train on or a limit cannot hold the longest comparison.
    """
    comparisons, lengths_N = dataset.comparisons, dataset.tokens.lengths_N
    if not len(comparisons):
        raise ValueError("data.train has no comparisons left to train on")
    winners_C, losers_C = comparisons.winners_C, comparisons.losers_C
    limits = Limits(num_ranks, train.tokens_per_micro_step, train.squares_per_micro_step or NO_LIMIT, quadratic)
    for key, limit, power in (("tokens", limits.tokens, 1), ("squares", limits.squares, 2)):
        longest = int((lengths_N[winners_C] ** power + (winners_C != losers_C) * lengths_N[losers_C] ** power).max())
        if longest > limit:
            one = ("item", "") if isinstance(comparisons, Examples) else ("comparison", " in its two items")
            raise ValueError(
                f"train.{key}_per_micro_step ({limit}) is less than the longest {one[0]} ({longest} {key}{one[1]}); "
                "raise it, or lower data.max_length"
            )
    per_step = train.items_per_step if isinstance(comparisons, Examples) else train.comparisons_per_step
    per_epoch = -(-len(comparisons) // per_step)
    seed = train.seed if train.shuffle else None
    group_C = item_groups(winners_C, losers_C) if train.sample_by == "group" else None
    return Plan(
        winners_C=winners_C,
        losers_C=losers_C,
        weights_C=comparisons.weights_C,
        shared_C=dataset.shared_C,
        lengths_N=lengths_N,
        instructions_N2=dataset.instructions_N2,
        order_of=lru_cache(maxsize=2)(partial(epoch_order, len(comparisons), seed, group_C)),
        limits=limits,
        comparisons_per_step=per_step,
        num_steps=train.max_steps or per_epoch * train.epochs,
    )
