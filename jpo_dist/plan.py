"""Which comparisons make a step, and which rank scores which item in which micro-step.

Legend: C comparisons, N items, W ranks. A pure function of (comparisons, lengths, seed, budget, ranks): no state, no
communication, the same on every rank. The comparisons of a step and their order do not depend on W or the budget;
only how their items are spread does, and that changes speed and memory, never the gradient.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from jpo_dist.config import TrainConfig
from jpo_dist.records import ComparisonSet

EVALUATED_AT_A_TIME = 512


@dataclass(frozen=True)
class MicroStep:
    """One engine forward on every rank. `winners_C[c]` and `losers_C[c]` index the items of all ranks end to end."""

    items_by_rank: tuple[np.ndarray, ...]
    comparisons_C: np.ndarray
    winners_C: np.ndarray
    losers_C: np.ndarray

    @cached_property
    def items_N(self) -> np.ndarray:
        """Items of all ranks, in the order in which gathered scores arrive."""
        return np.concatenate(self.items_by_rank)


@dataclass(frozen=True)
class Step:
    """One optimizer step: comparisons with their total weight, split into micro-steps."""

    index: int
    epoch: int
    comparisons_C: np.ndarray
    total_weight: float
    micro_steps: tuple[MicroStep, ...]


@dataclass(frozen=True)
class Plan:
    """A whole run. `plan.step(k)` costs the same for every k, so resuming is starting at another k."""

    winners_C: np.ndarray
    losers_C: np.ndarray
    weights_C: np.ndarray
    lengths_N: np.ndarray
    num_ranks: int
    budget: int
    comparisons_per_step: int
    num_steps: int
    seed: int | None

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.winners_C) // self.comparisons_per_step)

    def step(self, index: int) -> Step:
        epoch, position = divmod(index, self.steps_per_epoch)
        order_C = _order(len(self.winners_C), self.seed, epoch)
        chosen = order_C[position * self.comparisons_per_step : (position + 1) * self.comparisons_per_step]
        micro_steps = tuple(self._micro_step(group) for group in self._pack(chosen))
        return Step(index, epoch, chosen, float(self.weights_C[chosen].sum()), micro_steps)

    def steps(self, start: int = 0) -> Iterator[Step]:
        for index in range(start, self.num_steps):
            yield self.step(index)

    def _items(self, comparisons_C: np.ndarray) -> np.ndarray:
        return np.unique(np.concatenate([self.winners_C[comparisons_C], self.losers_C[comparisons_C]]))

    def _pack(self, chosen: np.ndarray) -> list[np.ndarray]:
        """Comparisons into micro-steps: big groups first, each into the first micro-step that still has room."""
        groups = [part for group in self._connected(chosen) for part in self._split(group)]
        groups.sort(key=lambda group: -int(self.lengths_N[self._items(group)].sum()))
        bins: list[np.ndarray] = []
        for group in groups:
            for i, held in enumerate(bins):
                joined = np.concatenate([held, group])
                if self._fits(joined):
                    bins[i] = joined
                    break
            else:
                bins.append(group)
        return self._even(groups, len(bins)) or bins

    def _even(self, groups: list[np.ndarray], count: int) -> list[np.ndarray] | None:
        """The same groups in as many micro-steps of like size, if they fit: memory must hold the fullest one."""
        loads = [0] * count
        bins: list[list[np.ndarray]] = [[] for _ in range(count)]
        for group in groups:
            least = loads.index(min(loads))
            bins[least].append(group)
            loads[least] += int(self.lengths_N[self._items(group)].sum())
        even = [np.concatenate(held) for held in bins]
        return even if all(self._fits(held) for held in even) else None

    def _connected(self, chosen: np.ndarray) -> list[np.ndarray]:
        """Comparisons that share an item go together, so that the item is scored once."""
        root: dict[int, int] = {}

        def find(item: int) -> int:
            while root.setdefault(item, item) != item:
                root[item] = root[root[item]]
                item = root[item]
            return item

        for c in chosen:
            root[find(int(self.winners_C[c]))] = find(int(self.losers_C[c]))
        groups: dict[int, list[int]] = {}
        for c in chosen:
            groups.setdefault(find(int(self.winners_C[c])), []).append(int(c))
        return [np.array(group) for group in groups.values()]

    def _split(self, group: np.ndarray) -> list[np.ndarray]:
        """A group too large for one micro-step is cut between comparisons; an item on both sides is scored twice."""
        parts: list[np.ndarray] = []
        held = group[:1]
        for c in group[1:]:
            joined = np.append(held, c)
            if self._fits(joined):
                held = joined
            else:
                parts.append(held)
                held = np.array([c])
        return [*parts, held]

    def _fits(self, comparisons_C: np.ndarray) -> bool:
        items = self._items(comparisons_C)
        if self.lengths_N[items].sum() > self.num_ranks * self.budget:
            return False
        return max(self._spread(items)[1]) <= self.budget

    def _spread(self, items: np.ndarray) -> tuple[list[list[int]], list[int]]:
        """Longest first, each to the rank with the least so far: (items by rank, tokens by rank)."""
        by_rank: list[list[int]] = [[] for _ in range(self.num_ranks)]
        loads = [0] * self.num_ranks
        for item in items[np.argsort(-self.lengths_N[items], kind="stable")]:
            rank = loads.index(min(loads))
            by_rank[rank].append(int(item))
            loads[rank] += int(self.lengths_N[item])
        return by_rank, loads

    def _micro_step(self, comparisons_C: np.ndarray) -> MicroStep:
        by_rank, _ = self._spread(self._items(comparisons_C))
        place = {item: i for i, item in enumerate(item for mine in by_rank for item in mine)}
        return MicroStep(
            tuple(np.array(mine, dtype=np.int64) for mine in by_rank),
            comparisons_C,
            np.array([place[int(i)] for i in self.winners_C[comparisons_C]], dtype=np.int64),
            np.array([place[int(i)] for i in self.losers_C[comparisons_C]], dtype=np.int64),
        )


@lru_cache(maxsize=2)
def _order(count: int, seed: int | None, epoch: int) -> np.ndarray:
    """The order of the comparisons in one epoch; None keeps the order of the data."""
    if seed is None:
        return np.arange(count)
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count)


def make_plan(comparisons: ComparisonSet, lengths_N: np.ndarray, train: TrainConfig, num_ranks: int) -> Plan:
    """Raises ValueError when there is nothing to train on or the budget cannot hold the longest comparison."""
    if not len(comparisons):
        raise ValueError("data.train has no comparisons left to train on; see the counts of skipped rows above")
    longest = int((lengths_N[comparisons.winners_C] + lengths_N[comparisons.losers_C]).max())
    if longest > train.tokens_per_micro_step:
        raise ValueError(
            f"train.tokens_per_micro_step ({train.tokens_per_micro_step}) is less than the longest comparison "
            f"({longest} tokens in its two items); raise it, or lower data.max_length"
        )
    per_epoch = -(-len(comparisons) // train.comparisons_per_step)
    return Plan(
        winners_C=comparisons.winners_C,
        losers_C=comparisons.losers_C,
        weights_C=comparisons.weights_C,
        lengths_N=lengths_N,
        num_ranks=num_ranks,
        budget=train.tokens_per_micro_step,
        comparisons_per_step=train.comparisons_per_step,
        num_steps=train.max_steps or per_epoch * train.epochs,
        seed=train.seed if train.shuffle else None,
    )


def evaluation_plan(comparisons: ComparisonSet, lengths_N: np.ndarray, train: TrainConfig, num_ranks: int) -> Plan:
    """Every comparison once, in order, many at a time: an item that several of them share is scored once."""
    many = max(train.comparisons_per_step, EVALUATED_AT_A_TIME)
    changes = {"shuffle": False, "max_steps": None, "epochs": 1, "comparisons_per_step": many}
    once = train.model_copy(update=changes)
    return make_plan(comparisons, lengths_N, once, num_ranks)
