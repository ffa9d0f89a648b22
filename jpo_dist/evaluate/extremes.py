"""The held-out comparisons that a policy is surest of, and those that it gets most wrong, with their text.

Legend: C comparisons.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from jpo_dist.batches.prepare import Prepared
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.text import as_text

ROWS, CHARACTERS = 20, 500
"""Comparisons at each end, and how much of a text is shown."""


def extremes(beta_z_C: np.ndarray, held_out: Prepared) -> list[dict[str, Any]]:
    """Up to ROWS decided comparisons with the least margin, `worst`, the least first, then as many others with the
    greatest, `best`, the greatest first. Equal margins keep the order of the set. Texts are cut."""
    comparisons = held_out.comparisons
    decided_C = np.flatnonzero(~comparisons.is_tie_C)
    order_C = decided_C[np.argsort(beta_z_C[decided_C], kind="stable")]
    count = min(ROWS, len(order_C) // 2)
    chosen = [("worst", row) for row in order_C[: len(order_C) - count][:ROWS]]
    chosen += [("best", row) for row in order_C[::-1][:count]]
    return [_row(end, int(row), float(beta_z_C[row]), comparisons) for end, row in chosen]


def _row(end: str, row: int, beta_z: float, comparisons: ComparisonSet) -> dict[str, Any]:
    ends = pa.array([int(comparisons.winners_C[row]), int(comparisons.losers_C[row])], pa.int64())
    winner, loser = ComparisonSet(comparisons.items.take(ends), pa.table({})).all_items()
    return {
        "end": end,
        "margin (beta z)": round(beta_z, 4),
        "winner's instruction": _cut(as_text(winner.instruction)),
        "winner's response": _cut(winner.response),
        "loser's instruction": _cut(as_text(loser.instruction)),
        "loser's response": _cut(loser.response),
    }


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}… ({len(text) - CHARACTERS} more characters)"
