"""The policy `balanced`: joint pairs whose instructions predict nothing, since each wins as often as it loses.

It makes pairs by exchanges: two nodes u and v, each with an open winner and an open loser, give the two comparisons
winner of u > loser of v and winner of v > loser of u, both or none. So at every moment each node has exactly as many
wins as losses, whatever limit stops the work.

1. Nodes are instructions. Guaranteed: of two instructions, each wins over the other equally often; hence each
   instruction, and each cluster however defined, has as many wins as losses.
2. The instructions that took no part in 1, for lack of responses that differ, can win or lose but hardly both. Nodes
   are now clusters of such instructions: like ones by embedding, cut into bands of equal propensity to win. Guaranteed:
   each of these clusters has as many wins as losses; a single instruction in it need not. Items whose cluster cannot
   pay for them are left out, and counted.

The propensity is what a linear model of the instruction's words expects of the score. Without it a cluster that
follows the topic would let the easy constraint win over the hard one.

Legend: N items, M rows that may still be paired, U units (a winner and a loser of one node), K pairs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from jpo_dist.pairing.offers import Chooser, rounds

_PATIENCE = 8
"""Rounds in a row that may bring little before the work ends; more than in other policies, because a round may draw a
score that no pair lies around."""


def balanced_pairs(
    chooser: Chooser, cell_N: np.ndarray, instruction_N: np.ndarray, cluster_of: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Fill the ledger; returns what the report says of it.

    `cluster_of` gets the rows that stage 1 did not use and returns their cluster; it is called only when the budget
    leaves room for stage 2. Raises AssertionError without scores.
    """
    ledger = chooser.ledger
    usable_N = cell_N >= 0
    exchange(chooser, np.where(usable_N, instruction_N, -1), cell_N)
    by_instruction = len(ledger.winners)
    used = np.unique(instruction_N[np.concatenate(ledger.made()[:2])])
    rest = np.flatnonzero(usable_N & ~np.isin(instruction_N, used))
    if len(rest) and not ledger.full:
        cluster_N = np.full(len(cell_N), -1)
        cluster_N[rest] = cluster_of(rest)
        exchange(chooser, cluster_N, cell_N)
    unpaid = int((np.array(ledger.uses)[rest] == 0).sum())
    return {
        "by_instruction": by_instruction,
        "by_cluster": len(ledger.winners) - by_instruction,
        "one_sided_instructions": len(np.unique(instruction_N[rest])),
        "one_sided_items": len(rest),
        "one_sided_items_left_out": unpaid,
    }


def exchange(chooser: Chooser, node_N: np.ndarray, cell_N: np.ndarray) -> None:
    """Exchange between the nodes of each cell, round after round.

    A round parts every cell at a random score: what lies above by more than the tie band may win, the rest may lose,
    so any winner beats any loser.
    """
    ledger, random = chooser.ledger, chooser.random
    scores_N = chooser.scores_N
    if scores_N is None:
        raise AssertionError("balanced pairs need scores")
    joined_N = _joined(node_N, cell_N)

    def play() -> tuple[int, int]:
        rows_M = np.flatnonzero(ledger.open_N() & (node_N >= 0))
        rows_M = rows_M[random.permutation(len(rows_M))]
        part_M = _parting_scores(rows_M, cell_N, scores_N, random)
        wins_M = scores_N[rows_M] - part_M > chooser.gap
        loses_M = scores_N[rows_M] <= part_M
        winner_U, loser_U, rank_U = _units(rows_M[wins_M], rows_M[loses_M], joined_N)
        # Units of one rank are of different nodes; the order within a rank is random, as the rows are.
        order_U = np.lexsort((random.random(len(winner_U)), rank_U, cell_N[winner_U]))
        winner_U, loser_U, rank_U = winner_U[order_U], loser_U[order_U], rank_U[order_U]
        one = np.flatnonzero(_is_even_place(cell_N[winner_U]))
        one = one[np.lexsort((random.random(len(one)), rank_U[one]))]
        first_K = np.stack([winner_U[one], winner_U[one + 1]], axis=1).reshape(-1)
        second_K = np.stack([loser_U[one + 1], loser_U[one]], axis=1).reshape(-1)
        return max(len(first_K), len(rows_M) > 0), ledger.offer(first_K, second_K, together=2)

    rounds(ledger, play, _PATIENCE)


def _joined(node_N: np.ndarray, cell_N: np.ndarray) -> np.ndarray:
    """Nodes told apart by cell: a node of two scales is two nodes."""
    return np.unique(np.stack([node_N, cell_N]), axis=1, return_inverse=True)[1].reshape(-1)


def _parting_scores(
    rows_M: np.ndarray, cell_N: np.ndarray, scores_N: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """(M,) for each row, one score of its cell, drawn from those of open items but the highest."""
    part_M = np.full(len(rows_M), np.inf)
    for cell in np.unique(cell_N[rows_M]):
        here = cell_N[rows_M] == cell
        levels = np.unique(scores_N[rows_M[here]])
        if len(levels) > 1:
            part_M[here] = levels[random.integers(len(levels) - 1)]
    return part_M


def _units(winner_W: np.ndarray, loser_L: np.ndarray, node_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Winners, losers and place within the node, (U,) each: every node gives as many winners as losers."""
    winner_W, winner_rank_W = _ranked(winner_W, node_N)
    loser_L, loser_rank_L = _ranked(loser_L, node_N)
    num_nodes = int(node_N.max(initial=-1)) + 1
    most = np.minimum(*(np.bincount(node_N[rows], minlength=num_nodes) for rows in (winner_W, loser_L)))
    keep_W, keep_L = winner_rank_W < most[node_N[winner_W]], loser_rank_L < most[node_N[loser_L]]
    return winner_W[keep_W], loser_L[keep_L], winner_rank_W[keep_W]


def _ranked(rows: np.ndarray, node_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows by node, in their order within a node, and that order as a number."""
    rows = rows[np.argsort(node_N[rows], kind="stable")]
    first = np.searchsorted(node_N[rows], node_N[rows])
    return rows, np.arange(len(rows)) - first


def _is_even_place(cells_U: np.ndarray) -> np.ndarray:
    """True for the 1st, 3rd … of each run of equal values that has a next one."""
    place_U = np.arange(len(cells_U)) - np.searchsorted(cells_U, cells_U)
    has_next_U = np.append(cells_U[1:] == cells_U[:-1], False) if len(cells_U) else np.zeros(0, bool)
    return (place_U % 2 == 0) & has_next_U
