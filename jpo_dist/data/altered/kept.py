"""Which items a set is made of: a share of the instructions, some answers of each, a share that compares within.

Legend: N items, Q different instructions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jpo_dist.data.altered.config import KeepConfig
from jpo_dist.data.collected import Said, joined
from jpo_dist.records.columns.pages import kept_rows
from jpo_dist.records.item import digest


class Kept(NamedTuple):
    """Which items stay, (N,), and counts of what was left out."""

    keep_N: np.ndarray
    report: dict[str, Any]


def thinned(parts: Sequence[Said], train_N: np.ndarray, config: KeepConfig) -> tuple[list[Said], dict[str, Any]]:
    """What each source says of the items that stay, and counts. The sources share their items, of which `train_N` are
    for training. Of several scores of one item the first counts."""
    items, rated = parts[0].items, joined(parts).scores()
    scores_N = np.full(len(items), np.nan)
    scores_N[rated["item"].to_numpy()[::-1]] = rated["score"].to_numpy()[::-1]
    ids = items.table()["id"].to_pylist()
    found = kept(ids, items.instruction_ids, items.instruction_N, scores_N, train_N, config)
    return [_part(part, found.keep_N) for part in parts], found.report


def _part(said: Said, keep_N: np.ndarray) -> Said:
    def some(table: pa.Table, *columns: str) -> pa.Table:
        return kept_rows(table, np.all([keep_N[table[name].to_numpy()] for name in columns], axis=0))

    return said._replace(
        comparisons=some(said.comparisons, "winner", "loser"),
        ratings=some(said.ratings, "item"),
        pair_scores=some(said.pair_scores, "item"),
    )


def kept(
    item_ids: Sequence[str],
    instruction_ids: Sequence[str],
    instruction_N: np.ndarray,
    scores_N: np.ndarray,
    train_N: np.ndarray,
    config: KeepConfig,
) -> Kept:
    """Which items stay: first some answers of each instruction, then instructions that compare, then a share of them.

    `item_ids`: N of them, `instruction_ids`: Q, of which `instruction_N` says the number of each item's.
    `scores_N`: NaN for none. `train_N`: whether an item is for training; all others stay.
    """
    keep_N = np.ones(len(item_ids), dtype=bool)
    report: dict[str, Any] = {"instructions": len(np.unique(instruction_N[train_N])), "items": int(train_N.sum())}
    if config.answers is not None:
        keep_N &= ~train_N | _first_answers(item_ids, instruction_N, config)
    if config.comparable is not None:
        compare_Q, best_N, worst_N = _differing(instruction_N, scores_N, train_N & keep_N, len(instruction_ids))
        keep_N &= ~train_N | compare_Q[instruction_N]
        order = _ranked(instruction_ids, np.flatnonzero(compare_Q), config.seed, "comparable")
        whole = nearest(config.comparable * len(order))
        for place, instruction in enumerate(order[whole:]):
            stays_N = best_N if place % 2 == 0 else worst_N
            keep_N &= (instruction_N != instruction) | ~train_N | stays_N
        report["comparable"] = whole
    order = _ranked(instruction_ids, np.unique(instruction_N[train_N & keep_N]), config.seed, "share")
    count = nearest(config.share * len(order))
    stay_Q = np.zeros(len(instruction_ids), dtype=bool)
    stay_Q[order[:count]] = True
    keep_N &= ~train_N | stay_Q[instruction_N]
    return Kept(keep_N, {**report, "instructions_kept": count, "items_kept": int((keep_N & train_N).sum())})


def nearest(number: float) -> int:
    """The nearest whole number; a half goes up."""
    return int(np.floor(number + 0.5 + 1e-9))


def _ranked(ids: Sequence[str], numbers: np.ndarray, seed: int, what: str) -> list[int]:
    """The instructions in an order that their ids and the seed decide. `what`: two draws are not the same."""
    return sorted(numbers.tolist(), key=lambda number: digest([what, seed, ids[number]]))


def _first_answers(item_ids: Sequence[str], instruction_N: np.ndarray, config: KeepConfig) -> np.ndarray:
    keep_N = np.zeros(len(item_ids), dtype=bool)
    taken = np.zeros(int(instruction_N.max(initial=-1)) + 1, dtype=np.int64)
    for row in sorted(range(len(item_ids)), key=lambda row: digest(["answers", config.seed, item_ids[row]])):
        if taken[instruction_N[row]] < (config.answers or 0):
            keep_N[row] = True
            taken[instruction_N[row]] += 1
    return keep_N


def _differing(
    instruction_N: np.ndarray, scores_N: np.ndarray, among_N: np.ndarray, num_instructions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which instructions have items of different scores, (Q,); and which items have the highest and the lowest score of
    their instruction, (N,) each."""
    usable_N = among_N & np.isfinite(scores_N)
    rows, scores = instruction_N[usable_N], scores_N[usable_N]
    high_Q, low_Q = np.full(num_instructions, -np.inf), np.full(num_instructions, np.inf)
    np.maximum.at(high_Q, rows, scores)
    np.minimum.at(low_Q, rows, scores)
    best_N, worst_N = (usable_N & (scores_N == of_Q[instruction_N]) for of_Q in (high_Q, low_Q))
    return high_Q > low_Q, best_N, worst_N
