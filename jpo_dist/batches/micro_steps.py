"""Comparisons of a step into micro-steps, and the items of a micro-step onto ranks.

Legend: W ranks. Here items are numbered within the step and everything is a Python list: a step is some dozens of
items, and for so few an array operation costs more than the loop it replaces.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

NO_LIMIT = 2**62
REFUSALS = 256
"""So often a micro-step that is nearly full is tried in vain, then it is closed: a step of thousands of comparisons
would deal out its items millions of times. Steps of fewer comparisons never get there."""


class Room(NamedTuple):
    """What one micro-step can hold, and what attention costs."""

    ranks: int
    tokens: int
    """Most tokens on a rank."""
    squares: int
    """Most sum of squared item lengths on a rank: what attention costs grows with it."""
    quadratic: float
    """What attention adds to the cost of a token for each token of its item; see `policy.attention_share`."""

    def cost(self, tokens: int, squares: int) -> float:
        """In tokens of an item without attention; never less than `tokens`."""
        return tokens + self.quadratic * squares


class Sizes(NamedTuple):
    """Of the items of a step, in tokens."""

    lengths: Sequence[int]
    trunks: Sequence[int]
    """Items with the same number have the same instruction, computed once for those on one rank. Empty: every item
    stands alone."""
    instructions: Sequence[int]


class _Unit(NamedTuple):
    """Items that stay together on one rank, and what they cost there."""

    items: list[int]
    tokens: int
    squares: int


def _units(items: Iterable[int], sizes: Sizes) -> list[_Unit]:
    lengths = sizes.lengths
    if not sizes.trunks:
        return [_Unit([i], lengths[i], lengths[i] ** 2) for i in items]
    grown: dict[int, list[int]] = {}
    for i in sorted(items):  # sets differ in order: the same items must always go to the same ranks
        grown.setdefault(sizes.trunks[i], []).append(i)
    return [
        _Unit(
            branches,
            sum(lengths[i] for i in branches) - (len(branches) - 1) * sizes.instructions[branches[0]],
            sum(lengths[i] ** 2 for i in branches),
        )
        for branches in grown.values()
    ]


def connected(winners: Sequence[int], losers: Sequence[int]) -> list[list[int]]:
    """Places of the comparisons that hang together by their items, so that each item is scored once."""
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


def spread(items: Iterable[int], sizes: Sizes, room: Room) -> list[list[int]] | None:
    """Costliest first, each to the rank with the least cost so far; None if a rank is then over a limit."""
    by_rank: list[list[int]] = [[] for _ in range(room.ranks)]
    tokens, squares = [0] * room.ranks, [0] * room.ranks
    least = [(0.0, rank) for rank in range(room.ranks)]
    for unit in sorted(_units(items, sizes), key=lambda u: (-room.cost(u.tokens, u.squares), u.items[0])):
        cost, rank = least[0]
        tokens[rank] += unit.tokens
        squares[rank] += unit.squares
        if tokens[rank] > room.tokens or squares[rank] > room.squares:
            return None
        by_rank[rank] += unit.items
        heapq.heapreplace(least, (cost + room.cost(unit.tokens, unit.squares), rank))
    return by_rank


@dataclass
class _Part:
    """Comparisons that go into one micro-step, their items, and sums over these that bound what a rank gets."""

    places: list[int]
    items: set[int]
    tokens: int
    cost: float
    costliest: float
    """Cost of the costliest unit in it."""
    refusals: int = 0

    def add(self, other: "_Part") -> None:
        """Items of both are counted twice in the sums, which can only make the bounds too careful."""
        self.places += other.places
        self.items |= other.items
        self.tokens += other.tokens
        self.cost += other.cost
        self.costliest = max(self.costliest, other.costliest)


def micro_steps(winners: Sequence[int], losers: Sequence[int], sizes: Sizes, room: Room) -> list[list[int]]:
    """Places of the comparisons of each micro-step: big groups first, each into the first one that still has room."""
    ends = list(zip(winners, losers, strict=True))
    groups = [
        _part(places, ends, sizes, room)
        for connected_places in connected(winners, losers)
        for places in _cut(connected_places, ends, sizes, room)
    ]
    groups.sort(key=lambda group: -group.tokens)
    bins: list[_Part] = []
    for group in groups:
        for held in bins:
            if held.refusals < REFUSALS and _fit_together(held, group, sizes, room):
                held.add(group)
                break
        else:
            bins.append(replace(group, places=[*group.places], items={*group.items}))
    even = _even(groups, len(bins))
    return [part.places for part in (even if all(_fits(part.items, sizes, room) for part in even) else bins)]


def _part(places: list[int], ends: list[tuple[int, int]], sizes: Sizes, room: Room) -> _Part:
    items = {item for place in places for item in ends[place]}
    units = _units(items, sizes)
    costs = [room.cost(unit.tokens, unit.squares) for unit in units]
    return _Part(places, items, sum(unit.tokens for unit in units), sum(costs), max(costs))


def _even(groups: list[_Part], count: int) -> list[_Part]:
    """The same groups in as many micro-steps of like size: memory must hold the fullest one."""
    bins = [_Part([], set(), 0, 0.0, 0.0) for _ in range(count)]
    for group in groups:
        min(bins, key=lambda held: held.tokens).add(group)
    return bins


def _cut(places: list[int], ends: list[tuple[int, int]], sizes: Sizes, room: Room) -> list[list[int]]:
    """A group too large for one micro-step is cut between comparisons; an item on both sides is scored twice."""
    if len(places) == 1 or _fits({item for place in places for item in ends[place]}, sizes, room):
        return [places]
    parts = [places[:1]]
    items = set(ends[places[0]])
    for place in places[1:]:
        if _fits(items | set(ends[place]), sizes, room):
            parts[-1].append(place)
            items |= set(ends[place])
        else:
            parts.append([place])
            items = set(ends[place])
    return parts


def _fit_together(a: _Part, b: _Part, sizes: Sizes, room: Room) -> bool:
    """As `_fits` of their items, decided by sums where these decide: dealing the items out anew for each pair of parts
    would make a step of many comparisons quadratic."""
    if a.tokens + b.tokens > room.ranks * room.tokens:
        return False
    # Costliest first to the least loaded leaves no rank more than an even share and one unit (Graham, 1969).
    # Not so where units of the two become one, by the instruction they have in common.
    most = (a.cost + b.cost) / room.ranks + max(a.costliest, b.costliest)
    if most <= room.tokens and room.squares == NO_LIMIT and not sizes.trunks:
        return True
    fits = _fits(a.items | b.items, sizes, room)
    a.refusals += not fits
    return fits


def _fits(items: set[int], sizes: Sizes, room: Room) -> bool:
    tokens = sum(unit.tokens for unit in _units(items, sizes))
    return tokens <= room.ranks * room.tokens and spread(items, sizes, room) is not None
