"""Holding out whole instructions: a split by comparison would train on the instructions it is judged by."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jpo_dist.records import ComparisonSet, digest


class Split(NamedTuple):
    train: ComparisonSet
    held_out: ComparisonSet
    num_crossing: int
    """Comparisons between an instruction of one side and one of the other: in neither, counted here."""


def split_by_instruction(comparisons: ComparisonSet, fraction: float, seed: int) -> Split:
    """Hold out about `fraction` of the instructions. Depends on the text and the seed, not on the row order."""
    ids = [digest(messages) for messages in _message_lists(comparisons.items)]
    limit = int(fraction * 2**32)
    held_N = np.array([int(digest([seed, i])[:8], 16) < limit for i in ids], dtype=bool)
    winner_C, loser_C = held_N[comparisons.winners_C], held_N[comparisons.losers_C]
    return Split(
        train=comparisons.subset(~winner_C & ~loser_C),
        held_out=comparisons.subset(winner_C & loser_C),
        num_crossing=int((winner_C != loser_C).sum()),
    )


def _message_lists(items: pa.Table) -> list[list[list[str]]]:
    return [[[m["role"], m["content"]] for m in messages] for messages in items["instruction"].to_pylist()]
