"""What a set says more than once, and what it says both ways. Legend: C comparisons."""

from typing import NamedTuple

import numpy as np

from jpo_dist.records.comparisons import ComparisonSet


class Restated(NamedTuple):
    """How many decided comparisons say again, or deny, what another one says."""

    repeated: int
    """The same winner and loser as an earlier one."""
    contradictions: int
    """Another one states the reverse; both count."""


def restated(built: ComparisonSet) -> Restated:
    """Counts over the decided comparisons of a set; ties restate nothing."""
    winners, losers = built.winners_C[~built.is_tie_C], built.losers_C[~built.is_tie_C]
    forward, backward = winners * built.num_items + losers, losers * built.num_items + winners
    return Restated(len(forward) - len(np.unique(forward)), int(np.isin(forward, backward).sum()))
