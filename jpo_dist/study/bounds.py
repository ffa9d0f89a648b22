"""Between what a metric's mean can lie: t has no ends of its own, and with few runs it reaches far beyond them."""

import math
from collections.abc import Sequence

from jpo_dist.statistics.crossed import Estimate
from jpo_dist.study.tables import Table

ROUNDING = 1e-5
"""Of sums as results.json has them."""


def bounds(metric: str, table: Table) -> tuple[float, float]:
    """The least and the greatest mean that a metric can have; infinite where it has no end.

    `finished` and `win` are 0, 1 or 1/2 of each answer. `pass` and `pass_of_finished` are what the checker says: a rate
    where its values are from 0 to 1, of which no sum of squares is more than the sum (v^2 <= v), and such a sum has a
    mean from 0 to 1 (by Cauchy and Schwarz). A score may be anything, but for zeros and ones.
    """
    if metric in ("finished", "win"):
        return 0.0, 1.0
    if metric in ("pass", "pass_of_finished") and (table.squares_QS <= table.values_QS * (1 + ROUNDING)).all():
        return 0.0, 1.0
    if metric == "score" and (table.squares_QS == table.values_QS).all():
        return 0.0, 1.0
    return (0.0 if metric == "tokens" else -math.inf), math.inf


def interval_within(
    estimate: Estimate, metric: str, tables: Sequence[Table], weights: Sequence[float] = (1.0,)
) -> list[float]:
    """The 95 % interval of the sum of weight times mean over tables of a metric, cut where that sum can lie.

    Raises ValueError when scipy is missing.
    """
    low, high = estimate.interval()
    parts = [
        sorted(weight * end for end in bounds(metric, table))
        for weight, table in zip(weights, tables, strict=True)
        if weight
    ]
    return [max(low, sum(part[0] for part in parts)), min(high, sum(part[1] for part in parts))]
