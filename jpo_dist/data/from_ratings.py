"""From scored items to comparisons: pairing works on rows of arrays, and here rows become items again.

Legend: N ratings, C comparisons.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.pairing.config import WITHIN
from jpo_dist.pairing.pair import Pairs, Pool, pair
from jpo_dist.records.comparisons import Comparison, Origin, Rating
from jpo_dist.records.groups import labelled, shared
from jpo_dist.records.text import CONTENTS, as_text


class Made(NamedTuple):
    """Comparisons that a pairing policy made, and its report."""

    comparisons: list[Comparison]
    report: dict[str, Any]


def codes(values: Sequence[Any]) -> np.ndarray:
    """Equal values, equal numbers, in order of first appearance."""
    found: dict[Any, int] = {}
    return np.array([found.setdefault(value, len(found)) for value in values], dtype=np.int64)


def make_pool(
    ratings: Sequence[Rating], splits: Sequence[str] | None = None, reference_N: np.ndarray | None = None
) -> Pool:
    """N ratings as what pairing takes. `splits`: of each item; None puts all into one. `reference_N`: log p in nats."""
    return Pool(
        instructions=[as_text(rating.item.instruction, CONTENTS) for rating in ratings],
        instruction_N=codes([rating.item.instruction for rating in ratings]),
        scores_N=np.array([rating.score for rating in ratings], dtype=np.float64),
        scales_N=codes([rating.scale for rating in ratings]),
        splits_N=codes(splits) if splits is not None else np.zeros(len(ratings), dtype=np.int64),
        reference_N=reference_N,
        lengths_N=np.array([len(rating.item.response) for rating in ratings], dtype=np.int64),
    )


def from_scores(ratings: Sequence[Rating]) -> list[Comparison]:
    """Comparisons within one instruction, as scores alone give them."""
    return to_comparisons(ratings, pair(make_pool(ratings), WITHIN, seed=0), WITHIN.policy) if ratings else []


def to_comparisons(ratings: Sequence[Rating], pairs: Pairs, policy: str) -> list[Comparison]:
    """C pairs of rows as comparisons of the ratings' items, marked with the policy; the winner gives the source, and
    the groups are those that both scores share."""
    origin: Origin = "assumed" if policy == "assumed_wins" else "scored"
    rows = zip(pairs.winners_C.tolist(), pairs.losers_C.tolist(), pairs.is_tie_C.tolist(), strict=True)
    sides = ((ratings[w], ratings[v], tie) for w, v, tie in rows)
    return [
        labelled(
            Comparison(winner.item, loser.item, source=winner.source, tie=tie, origin=origin, pairing=policy),
            shared(winner.groups, loser.groups),
        )
        for winner, loser, tie in sides
    ]
