"""Does a difference grow along an axis of the grid? Its slope over the doublings of a value, from all points together.

Legend: Q instructions, S training runs (seeds).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jpo_dist.statistics.crossed import CROSSED, TooLittle, crossed_contrast
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.tables import SEED, Result, Table, tables

Arms = Mapping[str, Mapping[str, Table]]


def trends(results: Sequence[Result], question: QuestionConfig) -> list[dict[str, Any]]:
    """For each asked pair, and each combination of the grid's other values, the slope of its difference.

    `slope` is by how much the difference grows when the value of `question.trend` doubles, by least squares over the
    points; instructions and seeds that all its points have are paired. Nothing without `trend`, or with one point.
    """
    axis = question.trend
    if axis is None:
        return []
    groups: dict[str, dict[float, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for one in results:
        rest = ", ".join(f"{name}={value}" for name, value in one.values.items() if name not in (SEED, axis))
        groups[rest][float(one.values[axis])].append(one._replace(values={SEED: one.values[SEED]}))
    lines = []
    for rest, by_value in groups.items():
        values = sorted(by_value)
        found = tables([one._replace(values={**one.values, "at": v}) for v in values for one in by_value[v]])
        at = [found[f"at={value}"] for value in values]
        for first, second in question.compare:
            have = [point for point in at if all(question.primary in point.get(arm, {}) for arm in (first, second))]
            if len(have) == len(at) > 1:
                slope = _slope(values, at, (first, second), question.primary)
                lines.append({"point": rest, "axis": axis, "first": first, "second": second, **slope})
    return lines


def slopes(values: Sequence[float]) -> list[float]:
    """What each point adds to the least-squares slope over log2 of these values; they add up to 0.

    >>> slopes([1, 2, 4])
    [-0.5, 0.0, 0.5]
    """
    x = [math.log2(value) for value in values]
    mean = sum(x) / len(x)
    whole = sum((one - mean) ** 2 for one in x)
    return [(one - mean) / whole for one in x]


def _slope(values: Sequence[float], at: Sequence[Arms], pair: tuple[str, str], metric: str) -> dict[str, Any]:
    all_tables = [point[arm][metric] for point in at for arm in pair]
    seeds = [seed for seed in all_tables[0].seeds if all(seed in table.seeds for table in all_tables)]
    nothing: dict[str, Any] = {"seeds": seeds, "slope": None, "interval": None, "p_value": None, "reading": "undecided"}
    weights = [sign * weight for weight in slopes(values) for sign in (1.0, -1.0)]
    chosen = [table.of_seeds(seeds) for table in all_tables]
    try:
        estimate = crossed_contrast([(one.values_QS, one.counts_QS) for one in chosen], np.array(weights))
    except TooLittle as reason:
        return {**nothing, "method": str(reason)}
    return {**nothing, "slope": estimate.value, "interval": list(estimate.interval()), "method": CROSSED,
            "p_value": estimate.p_value()}  # fmt: skip
