"""What each policy offers, best first: batches of pairs that `limits.Ledger` takes or leaves.

Legend: N items, K pairs of a batch, Q instructions, D features. `group_N` names, for every item, where its partners
may come from. A round offers each open item one partner; rounds end when the ledger is full or takes nearly nothing.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jpo_dist.pairing.embedding import similarity
from jpo_dist.pairing.limits import Ledger
from jpo_dist.pairing.neighbours import nearest

Random = np.random.Generator

_WORTH, _PATIENCE = 0.01, 4
"""Rounds end when so many in a row had less than this share of their pairs taken."""
ALL_PAIRS_UP_TO = 64
"""Responses to one instruction up to which all their pairs are looked at; among more, partners are drawn."""
_MOST_SKIPPED = 64
"""`hard` looks past so many responses to an item's own instruction."""


class Shelf(NamedTuple):
    """Items sorted by group, then score: the partners an item may have are then at most two ranges of places."""

    rows_M: np.ndarray
    groups_M: np.ndarray
    keys_M: np.ndarray
    levels_L: np.ndarray
    """The different scores, ascending; one level when scores are not looked at."""

    @classmethod
    def of(cls, rows_M: np.ndarray, group_N: np.ndarray, scores_N: np.ndarray | None) -> "Shelf":
        level_M = np.zeros(len(rows_M), np.int64)
        levels_L = np.zeros(1)
        if scores_N is not None:
            levels_L, level_M = np.unique(scores_N[rows_M], return_inverse=True)
        order_M = np.lexsort((rows_M, level_M, group_N[rows_M]))
        keys_M = group_N[rows_M] * (len(levels_L) + 1) + level_M
        return cls(rows_M[order_M], group_N[rows_M][order_M], keys_M[order_M], levels_L)

    def draw(self, groups_K: np.ndarray, scores_K: np.ndarray | None, gap: float, random: Random) -> np.ndarray:
        """(K,) a random item of each group whose score is more than `gap` away, any item without scores; -1: none."""
        wide = len(self.levels_L) + 1
        start_K = np.searchsorted(self.keys_M, groups_K * wide)
        stop_K = np.searchsorted(self.keys_M, groups_K * wide + wide)
        low_K = high_K = start_K
        if scores_K is not None:
            # Rounded sums may misplace an exact tie; the ledger subtracts and has the last word.
            low_K = np.searchsorted(self.keys_M, groups_K * wide + np.searchsorted(self.levels_L, scores_K - gap))
            above_K = np.searchsorted(self.levels_L, scores_K + gap, side="right")
            high_K = np.searchsorted(self.keys_M, groups_K * wide + above_K)
        below_K = low_K - start_K
        count_K = below_K + stop_K - high_K
        pick_K = (random.random(len(groups_K)) * count_K).astype(np.int64)
        place_K = np.where(pick_K < below_K, start_K + pick_K, high_K + pick_K - below_K)
        return np.where(count_K > 0, self.rows_M[np.minimum(place_K, len(self.rows_M) - 1)], -1)


class Chooser(NamedTuple):
    """What all policies need: the ledger they fill, the scores they look at (None: at none), the tie band, the random
    generator."""

    ledger: Ledger
    scores_N: np.ndarray | None
    gap: float
    random: Random

    def shelf(self, group_N: np.ndarray) -> Shelf:
        """The open items of all groups (-1: of none), to draw partners from."""
        return Shelf.of(np.flatnonzero(self.ledger.open_N() & (group_N >= 0)), group_N, self.scores_N)

    def scores(self, rows_K: np.ndarray) -> np.ndarray | None:
        """(K,) scores of these items; None when they are not looked at."""
        return None if self.scores_N is None else self.scores_N[rows_K]

    def offer_shuffled(self, first_K: np.ndarray, second_K: np.ndarray) -> int:
        """Pairs without a partner (-1) are dropped; the rest are offered in random order."""
        found = np.flatnonzero(second_K >= 0)
        found = found[self.random.permutation(len(found))]
        return self.ledger.offer(first_K[found], second_K[found])


def rounds(ledger: Ledger, play: Callable[[], tuple[int, int]], patience: int = _PATIENCE) -> None:
    """Call `play` (offered, taken) until the ledger is full, nothing is offered, or it is no longer worth it."""
    poor = 0
    while not ledger.full and poor < patience:
        offered, taken = play()
        if not offered:
            return
        poor = 0 if taken > _WORTH * offered else poor + 1


def random_pairs(chooser: Chooser, group_N: np.ndarray) -> None:
    """Each open item against a random open item of its group whose score differs."""

    def play() -> tuple[int, int]:
        shelf = chooser.shelf(group_N)
        rows = shelf.rows_M
        found_K = shelf.draw(group_N[rows], chooser.scores(rows), chooser.gap, chooser.random)
        return int((found_K >= 0).sum()), chooser.offer_shuffled(rows, found_K)

    rounds(chooser.ledger, play)


def dissimilar_pairs(
    chooser: Chooser, group_N: np.ndarray, vector_N: np.ndarray, vectors_QD: np.ndarray, draws: int
) -> None:
    """Each open item against the least similar of `draws` random ones.

    The farthest of all would be the same few odd instructions for every item. `vector_N[n]` is the row of an item's
    instruction in `vectors_QD`.
    """

    def play() -> tuple[int, int]:
        shelf = chooser.shelf(group_N)
        rows = shelf.rows_M
        found_K, least_K = np.full(len(rows), -1), np.full(len(rows), np.inf)
        for _ in range(draws):
            drawn_K = shelf.draw(group_N[rows], chooser.scores(rows), chooser.gap, chooser.random)
            cosine_K = similarity(vectors_QD, vector_N[rows], vector_N[drawn_K])
            better_K = (drawn_K >= 0) & (cosine_K < least_K)
            found_K, least_K = np.where(better_K, drawn_K, found_K), np.where(better_K, cosine_K, least_K)
        return int((found_K >= 0).sum()), chooser.offer_shuffled(rows, found_K)

    rounds(chooser.ledger, play)


def similar_pairs(
    chooser: Chooser, cell_N: np.ndarray, vector_N: np.ndarray, vectors_QD: np.ndarray, count: int, seed: int
) -> None:
    """Each open item against an item of the nearest instruction in its cell, then of the second nearest, up to `count`.

    `vector_N[n]` is the row of an item's instruction in `vectors_QD`.
    """
    num_vectors = len(vectors_QD)
    group_N = np.where(cell_N >= 0, cell_N * num_vectors + vector_N, -1)
    groups, near = [], []
    for cell in np.unique(cell_N[cell_N >= 0]):
        there = np.unique(vector_N[cell_N == cell])
        found = nearest(vectors_QD[there], count, seed)
        groups.append(cell * num_vectors + there)
        near.append(np.where(found >= 0, cell * num_vectors + there[found], -1))
    if not groups:
        return
    place_N = np.searchsorted(np.concatenate(groups), group_N)
    near_GK = np.concatenate(near)
    for turn in range(count):
        shelf = chooser.shelf(group_N)
        if chooser.ledger.full or not len(shelf.rows_M):
            return
        rows = shelf.rows_M[near_GK[place_N[shelf.rows_M], turn] >= 0]
        groups_K = near_GK[place_N[rows], turn]
        chooser.offer_shuffled(rows, shelf.draw(groups_K, chooser.scores(rows), chooser.gap, chooser.random))


def conditional_pairs(chooser: Chooser, group_N: np.ndarray) -> None:
    """All pairs of each instruction in random order; instructions with very many responses draw theirs."""
    rows = np.flatnonzero(group_N >= 0)
    rows = rows[np.argsort(group_N[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(group_N[rows], prepend=-1))
    sizes = np.diff(np.append(starts, len(rows)))
    pairs = [
        (rows[starts[sizes == size][:, None] + first], rows[starts[sizes == size][:, None] + second])
        for size in range(2, ALL_PAIRS_UP_TO + 1)
        if (sizes == size).any()
        for first, second in [np.triu_indices(size, 1)]
    ]
    if pairs:
        first_K, second_K = (np.concatenate([side.reshape(-1) for side in sides]) for sides in zip(*pairs, strict=True))
        chooser.offer_shuffled(first_K, second_K)
    large = np.repeat(sizes > ALL_PAIRS_UP_TO, sizes)
    rest_N = np.full(len(group_N), -1)
    rest_N[rows[large]] = group_N[rows[large]]
    random_pairs(chooser, rest_N)


def hard_pairs(
    chooser: Chooser, cell_N: np.ndarray, instruction_N: np.ndarray, reference_N: np.ndarray, count: int
) -> None:
    """Pairs to which the reference gives nearly the same log-probability, smallest |difference| first.

    An item meets its `count` nearest in its cell: above and below it, among the better and among the worse items.
    `reference_N`: log p of whole items in nats.
    """
    batches = [
        _near_in_reference(np.flatnonzero(cell_N == cell), chooser, instruction_N, reference_N, count)
        for cell in np.unique(cell_N[cell_N >= 0])
    ]
    if not batches:
        return
    codes_K = np.unique(np.concatenate(batches))
    first_K, second_K = np.divmod(codes_K, len(cell_N))
    order_K = np.argsort(np.abs(reference_N[first_K] - reference_N[second_K]), kind="stable")
    chooser.ledger.offer(first_K[order_K], second_K[order_K])


def _near_in_reference(
    rows_M: np.ndarray, chooser: Chooser, instruction_N: np.ndarray, reference_N: np.ndarray, count: int
) -> np.ndarray:
    """Candidate pairs of one cell as codes: lower row * N + higher row.

    An item stands for its rank in the reference's order; `met` holds, sorted, the ranks that the present item may meet.
    """
    by_rank = rows_M[np.lexsort((rows_M, reference_N[rows_M]))]
    scores_M = np.zeros(len(rows_M)) if chooser.scores_N is None else chooser.scores_N[by_rank]
    gap = -1.0 if chooser.scores_N is None else chooser.gap
    _, own_M, size = np.unique(instruction_N[by_rank], return_inverse=True, return_counts=True)
    reach = (count + np.minimum(size[own_M], _MOST_SKIPPED)).tolist()  # own responses lie nearby and do not count
    own = own_M.tolist()
    firsts: list[int] = []
    seconds: list[int] = []
    for signed_M in (scores_M, -scores_M):
        order, signed = np.argsort(signed_M, kind="stable").tolist(), signed_M.tolist()
        met: list[int] = []
        entering = 0
        for rank in order:
            while entering < len(order) and signed[rank] - signed[order[entering]] > gap:
                met.insert(bisect_left(met, order[entering]), order[entering])
                entering += 1
            at = bisect_left(met, rank)
            for near in (met[max(at - reach[rank], 0) : at][::-1], met[at : at + reach[rank]]):
                others = [other for other in near if own[other] != own[rank]][:count]
                firsts += [rank] * len(others)
                seconds += others
    first_K, second_K = by_rank[np.array(firsts, int)], by_rank[np.array(seconds, int)]
    return np.minimum(first_K, second_K) * len(reference_N) + np.maximum(first_K, second_K)
