"""The limits that every policy obeys: what a policy offers is taken, or counted under the limit that keeps it out.

Legend: N items, K offered pairs, C pairs taken.
"""

from array import array
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

REASONS = ("", "tie", "instruction", "split or scale")
"""Why a pair can never be taken. `instruction`: equal where they must differ, or different where they must be equal."""
_TIE, _INSTRUCTION, _CELL = 1, 2, 3
_AT_ONCE = 1 << 16
"""Offered pairs that are Python objects at once; even, since pairs may only be taken two by two."""


class Limits(NamedTuple):
    """The limits of one pairing. The arrays have one entry for each item."""

    cell_N: np.ndarray
    """Split and scale, as one number; -1: never paired."""
    instruction_N: np.ndarray
    scores_N: np.ndarray | None
    """None: nobody has compared the items yet, so nothing is a tie or a win."""
    joint: bool
    """Instructions must differ; otherwise they must be equal."""
    gap: float
    keep_ties: bool
    max_per_item: int
    max_imbalance: int | None
    two_sided_N: np.ndarray
    """Items that `max_imbalance` holds for."""
    budget: int | None


class Ledger:
    """Pairs taken so far and what is left of every limit."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        num_items = len(limits.cell_N)
        self.uses: list[int] = [0] * num_items
        self.balance: list[int] = [0] * num_items
        self.taken: set[int] = set()
        self.winners, self.losers, self.ties = array("q"), array("q"), array("b")
        self.offered = 0
        self.left_out: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        """Whether the budget is used up."""
        return self.limits.budget is not None and len(self.winners) >= self.limits.budget

    def open_N(self) -> np.ndarray:
        """(N,) whether an item may stand in one more pair."""
        return (np.array(self.uses) < self.limits.max_per_item) & (self.limits.cell_N >= 0)

    def offer(self, first_K: np.ndarray, second_K: np.ndarray, together: int = 1) -> int:
        """Take what the limits allow, in order; `together` pairs in a row all or none. Returns how many were taken."""
        before = len(self.winners)
        self.offered += len(first_K)
        first_K, second_K, reason_K, tie_K = self._judged(first_K, second_K)
        for start in range(0, len(first_K), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            columns = [values_K[part].tolist() for values_K in (first_K, second_K, reason_K, tie_K)]
            for at in range(0, len(columns[0]), together):
                self._take([column[at : at + together] for column in columns])
        return len(self.winners) - before

    def made(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Winners, losers and which are ties, (C,) each."""
        return np.array(self.winners, np.int64), np.array(self.losers, np.int64), np.array(self.ties, bool)

    def _judged(self, first_K: np.ndarray, second_K: np.ndarray) -> tuple[np.ndarray, ...]:
        """The pairs with the higher score first, the number of the reason for leaving one out, which are ties."""
        limits = self.limits
        reason_K = np.zeros(len(first_K), np.int8)
        tie_K = np.zeros(len(first_K), dtype=bool)
        if limits.scores_N is not None:
            gap_K = limits.scores_N[first_K] - limits.scores_N[second_K]
            swap_K = gap_K < 0
            first_K, second_K = np.where(swap_K, second_K, first_K), np.where(swap_K, first_K, second_K)
            tie_K = ~(np.abs(gap_K) > limits.gap)
            if not limits.keep_ties:
                reason_K[tie_K] = _TIE
        same_K = limits.instruction_N[first_K] == limits.instruction_N[second_K]
        reason_K[same_K == limits.joint] = _INSTRUCTION
        reason_K[limits.cell_N[first_K] != limits.cell_N[second_K]] = _CELL
        return first_K, second_K, reason_K, tie_K

    def _take(self, pairs: list[list[Any]]) -> None:
        firsts, seconds, reasons, ties = pairs
        found = REASONS[max(reasons)] or self._met(firsts, seconds, ties)
        if found:
            self.left_out[found] += len(firsts)
            return
        for first, second, tie in zip(firsts, seconds, ties, strict=True):
            self.taken.add(self._key(first, second))
            self.uses[first] += 1
            self.uses[second] += 1
            self.balance[first] += not tie
            self.balance[second] -= not tie
        self.winners.extend(firsts)
        self.losers.extend(seconds)
        self.ties.extend(ties)

    def _met(self, firsts: list[int], seconds: list[int], ties: list[bool]) -> str:
        """The limit that keeps these pairs out; empty when there is none."""
        limits = self.limits
        if limits.budget is not None and len(self.winners) + len(firsts) > limits.budget:
            return "budget"
        keys = [self._key(first, second) for first, second in zip(firsts, seconds, strict=True)]
        if any(key in self.taken for key in keys) or len(set(keys)) < len(keys):
            return "repeated"
        added = Counter(firsts + seconds) if len(firsts) > 1 else dict.fromkeys(firsts + seconds, 1)
        if any(self.uses[item] + more > limits.max_per_item for item, more in added.items()):
            return "max_per_item"
        most = limits.max_imbalance
        if most is not None and limits.scores_N is not None:
            for first, second, tie in zip(firsts, seconds, ties, strict=True):
                if not tie and (self._unbalances(first, 1, most) or self._unbalances(second, -1, most)):
                    return "max_imbalance"
        return ""

    def _unbalances(self, item: int, change: int, most: int) -> bool:
        """Whether one more win (+1) or loss (-1) brings |wins - losses| of an item above `most`."""
        return bool(self.limits.two_sided_N[item]) and abs(self.balance[item] + change) > most

    def _key(self, first: int, second: int) -> int:
        return min(first, second) * len(self.uses) + max(first, second)


def two_sided(
    scores_N: np.ndarray, cell_N: np.ndarray, instruction_N: np.ndarray, gap: float, joint: bool
) -> np.ndarray:
    """(N,) whether an item can both win and lose: some item scores more than `gap` higher, and some lower.

    Only items of its cell count, of another instruction (joint) or of its own.
    """
    if not joint:
        _, group_N = np.unique(np.stack([cell_N, instruction_N]), axis=1, return_inverse=True)
        highest_N, lowest_N = _extremes(scores_N, group_N)
    else:
        highest_N = _highest_of_others(scores_N, cell_N, instruction_N)
        lowest_N = -_highest_of_others(-scores_N, cell_N, instruction_N)
    return (highest_N - scores_N > gap) & (scores_N - lowest_N > gap) & (cell_N >= 0)


def _extremes(scores_N: np.ndarray, group_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    high_G, low_G = np.full(len(scores_N), -np.inf), np.full(len(scores_N), np.inf)
    group_N = group_N.reshape(-1)
    np.fmax.at(high_G, group_N, scores_N)
    np.fmin.at(low_G, group_N, scores_N)
    return high_G[group_N], low_G[group_N]


def _highest_of_others(scores_N: np.ndarray, cell_N: np.ndarray, instruction_N: np.ndarray) -> np.ndarray:
    """(N,) highest score in an item's cell among other instructions; -inf where there is none."""
    best_N = np.full(len(scores_N), -np.inf)
    for cell in np.unique(cell_N[cell_N >= 0]):
        rows = np.flatnonzero(cell_N == cell)
        down = rows[np.argsort(-scores_N[rows], kind="stable")]
        leader = instruction_N[down[0]]
        others = down[instruction_N[down] != leader]
        best_N[rows] = scores_N[down[0]]
        best_N[rows[instruction_N[rows] == leader]] = scores_N[others[0]] if len(others) else -np.inf
    return best_N
