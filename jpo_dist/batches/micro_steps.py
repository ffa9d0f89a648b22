"""The micro-steps of a step: which comparisons make one, and which rank scores which of its items.

Legend: W ranks. Here items are numbered within the step and everything is a Python list: a step is some dozens of
items, and for so few an array operation costs more than the loop it replaces.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

NO_LIMIT = 2**62
REFUSALS = 256
"""A micro-step is closed when so many groups did not fit into it: otherwise a step of thousands of comparisons would
deal out its items millions of times. Steps of fewer comparisons never get there."""


class Limits(NamedTuple):
    """What one micro-step may hold, and what attention costs."""

    ranks: int
    tokens: int
    """Most tokens on a rank."""
    squares: int
    """Most sum of squared item lengths on a rank: what attention costs grows with it."""
    quadratic: float
    """What attention adds to the cost of a token for each token of its item; see `model.load.attention_share`."""

    def cost(self, tokens: int, squares: int) -> float:
        """The cost of so many tokens with this sum of squared lengths, in tokens that need no attention."""
        return tokens + self.quadratic * squares


class Sizes(NamedTuple):
    """What the items of a step take, in tokens."""

    lengths: Sequence[int]
    instructions: Sequence[int]
    """Items with the same number have the same instruction, computed once for those on one rank. Empty: every item
    stands alone."""
    instruction_lengths: Sequence[int]
    """Tokens of each item's instruction; empty where `instructions` is."""


class _Unit(NamedTuple):
    """Items that stay together on one rank, and what they cost there."""

    items: list[int]
    tokens: int
    squares: int


def _units(items: Iterable[int], sizes: Sizes) -> list[_Unit]:
    lengths = sizes.lengths
    if not sizes.instructions:
        return [_Unit([i], lengths[i], lengths[i] ** 2) for i in items]
    grown: dict[int, list[int]] = {}
    for i in sorted(items):  # sets differ in order: the same items must always go to the same ranks
        grown.setdefault(sizes.instructions[i], []).append(i)
    return [
        _Unit(
            same,
            sum(lengths[i] for i in same) - (len(same) - 1) * sizes.instruction_lengths[same[0]],
            sum(lengths[i] ** 2 for i in same),
        )
        for same in grown.values()
    ]


def connected(winners: Sequence[int], losers: Sequence[int]) -> list[list[int]]:
    """Places of the comparisons in groups that share items, directly or through others: each item is scored once."""
    root: dict[int, int] = {}

    def find(item: int) -> int:
        while root.setdefault(item, item) != item:
            root[item] = root[root[item]]
            item = root[item]
        return item

    for winner, loser in zip(winners, losers, strict=True):
        root[find(winner)] = find(loser)
    groups: dict[int, list[int]] = {}
    for place, winner in enumerate(winners):
        groups.setdefault(find(winner), []).append(place)
    return list(groups.values())


def spread(items: Iterable[int], sizes: Sizes, limits: Limits) -> list[list[int]] | None:
    """The items of each rank: costliest first, each to the rank with the least cost so far.

    None if a rank is then over a limit.
    """
    by_rank: list[list[int]] = [[] for _ in range(limits.ranks)]
    tokens, squares = [0] * limits.ranks, [0] * limits.ranks
    least = [(0.0, rank) for rank in range(limits.ranks)]
    for unit in sorted(_units(items, sizes), key=lambda u: (-limits.cost(u.tokens, u.squares), u.items[0])):
        cost, rank = least[0]
        tokens[rank] += unit.tokens
        squares[rank] += unit.squares
        if tokens[rank] > limits.tokens or squares[rank] > limits.squares:
            return None
        by_rank[rank] += unit.items
        heapq.heapreplace(least, (cost + limits.cost(unit.tokens, unit.squares), rank))
    return by_rank


@dataclass
class _Part:
    """Comparisons that go into one micro-step, their items, and sums over these that bound what a rank gets."""

    places: list[int]
    items: set[int]
    tokens: int
    cost: float
    costliest: float
    """The highest cost of one of its units."""
    refusals: int = 0

    def add(self, other: "_Part") -> None:
        """Items of both are counted twice in the sums, which can only make the bounds too careful."""
        self.places += other.places
        self.items |= other.items
        self.tokens += other.tokens
        self.cost += other.cost
        self.costliest = max(self.costliest, other.costliest)


def micro_steps(winners: Sequence[int], losers: Sequence[int], sizes: Sizes, limits: Limits) -> list[list[int]]:
    """Places of the comparisons of each micro-step: big groups first, each into the first one that has room for it."""
    ends = list(zip(winners, losers, strict=True))
    groups = [
        _part(places, ends, sizes, limits)
        for connected_places in connected(winners, losers)
        for places in _cut(connected_places, ends, sizes, limits)
    ]
    groups.sort(key=lambda group: -group.tokens)
    bins: list[_Part] = []
    for group in groups:
        for held in bins:
            if held.refusals < REFUSALS and _fit_together(held, group, sizes, limits):
                held.add(group)
                break
        else:
            bins.append(replace(group, places=[*group.places], items={*group.items}))
    even = _even(groups, len(bins))
    return [part.places for part in (even if all(_fits(part.items, sizes, limits) for part in even) else bins)]


def _part(places: list[int], ends: list[tuple[int, int]], sizes: Sizes, limits: Limits) -> _Part:
    items = {item for place in places for item in ends[place]}
    units = _units(items, sizes)
    costs = [limits.cost(unit.tokens, unit.squares) for unit in units]
    return _Part(places, items, sum(unit.tokens for unit in units), sum(costs), max(costs))


def _even(groups: list[_Part], count: int) -> list[_Part]:
    """The same groups in as many micro-steps of like size: memory must hold the fullest one."""
    bins = [_Part([], set(), 0, 0.0, 0.0) for _ in range(count)]
    for group in groups:
        min(bins, key=lambda held: held.tokens).add(group)
    return bins


def _cut(places: list[int], ends: list[tuple[int, int]], sizes: Sizes, limits: Limits) -> list[list[int]]:
    """A group too large for one micro-step is cut between comparisons; an item on both sides is scored twice."""
    if len(places) == 1 or _fits({item for place in places for item in ends[place]}, sizes, limits):
        return [places]
    parts = [places[:1]]
    items = set(ends[places[0]])
    for place in places[1:]:
        if _fits(items | set(ends[place]), sizes, limits):
            parts[-1].append(place)
            items |= set(ends[place])
        else:
            parts.append([place])
            items = set(ends[place])
    return parts


def _fit_together(a: _Part, b: _Part, sizes: Sizes, limits: Limits) -> bool:
    """Whether the items of both fit into one micro-step.

    Sums decide where they can: dealing the items out anew for each pair of parts would make a step of many comparisons
    quadratic.
    """
    if a.tokens + b.tokens > limits.ranks * limits.tokens:
        return False
    # Costliest first to the least loaded leaves no rank more than an even share and one unit (Graham, 1969).
    # Not so where units of the two become one, by the instruction they have in common.
    most = (a.cost + b.cost) / limits.ranks + max(a.costliest, b.costliest)
    if most <= limits.tokens and limits.squares == NO_LIMIT and not sizes.instructions:
        return True
    fits = _fits(a.items | b.items, sizes, limits)
    a.refusals += not fits
    return fits


def _fits(items: set[int], sizes: Sizes, limits: Limits) -> bool:
    tokens = sum(unit.tokens for unit in _units(items, sizes))
    return tokens <= limits.ranks * limits.tokens and spread(items, sizes, limits) is not None
