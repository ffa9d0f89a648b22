"""Does a difference grow along an axis of the grid? Its slope over the doublings of a value, from all points together.

Legend: Q instructions, S training runs (seeds).
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jpo_dist.statistics.crossed import CROSSED, TooLittle, crossed_contrast
from jpo_dist.study.bounds import interval_within
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.tables import SEED, Result, Table, point_of, tables

Grid = Mapping[str, Sequence[Any]]
Arms = Mapping[str, Mapping[str, Table]]


def trends(results: Sequence[Result], question: QuestionConfig, grid: Grid | None = None) -> list[dict[str, Any]]:
    """For each asked pair, and each combination of the grid's other values, the slope of its difference.

    `slope` is by how much the difference grows when the value of `question.trend` doubles, by least squares over the
    points; instructions and seeds that all its points have are paired. `planned` are all values of that axis, `points`
    those at which both arms have a result. Where these are fewer there is no slope yet, which would be another than
    was asked for, and `method` says what is missing. `grid`: all that is planned; None: all that any result has.
    """
    axis = question.trend
    if axis is None:
        return []
    groups = _by_place(results, axis, grid or {})
    planned = sorted({*map(float, (grid or {}).get(axis, ())), *(value for of in groups.values() for value in of)})
    lines = []
    for rest, by_value in groups.items():
        found = tables([one._replace(values={**one.values, "at": v}) for v in planned for one in by_value.get(v, [])])
        at = [found.get(f"at={value}", {}) for value in planned]
        lines += [
            {"point": rest, "axis": axis, "first": pair[0], "second": pair[1], "planned": planned,
             **_line(axis, planned, at, pair, question.primary)}
            for pair in question.compare
        ]  # fmt: skip
    return lines


def _by_place(results: Sequence[Result], axis: str, grid: Grid) -> dict[str, dict[float, list[Result]]]:
    """By the combination of the grid's other values, then by the value of the axis; those that are planned first."""
    others = {name: values for name, values in grid.items() if name != axis}
    combined = itertools.product(*others.values()) if grid else ()
    places = [point_of(dict(zip(others, values, strict=True))) for values in combined]
    groups: dict[str, dict[float, list[Result]]] = {place: defaultdict(list) for place in places}
    for one in results:
        rest = point_of({name: value for name, value in one.values.items() if name != axis})
        group = groups.setdefault(rest, defaultdict(list))
        group[float(one.values[axis])].append(one._replace(values={SEED: one.values[SEED]}))
    return groups


def slopes(values: Sequence[float]) -> list[float]:
    """What each point adds to the least-squares slope over log2 of these values; they add up to 0.

    >>> slopes([1, 2, 4])
    [-0.5, 0.0, 0.5]
    """
    x = [math.log2(value) for value in values]
    mean = sum(x) / len(x)
    whole = sum((one - mean) ** 2 for one in x)
    return [(one - mean) / whole for one in x]


def _line(
    axis: str, planned: Sequence[float], at: Sequence[Arms], pair: tuple[str, str], metric: str
) -> dict[str, Any]:
    """The points that a pair has, and its slope where these are all of them."""
    places = list(zip(planned, at, strict=True))
    lacking = {arm: [value for value, point in places if metric not in point.get(arm, {})] for arm in pair}
    points = [value for value in planned if not any(value in of for of in lacking.values())]
    nothing: dict[str, Any] = {"points": points, "seeds": [], "slope": None, "interval": None, "p_value": None,
                               "reading": "undecided"}  # fmt: skip
    if len(points) == len(planned) > 1:
        return {**nothing, **_slope(planned, at, pair, metric)}
    said = [f"{arm} has no result at {axis}={', '.join(f'{v:g}' for v in of)}" for arm, of in lacking.items() if of]
    return {**nothing, "method": f"none: {'; '.join(said) or f'{axis} has one point'}"}


def _slope(values: Sequence[float], at: Sequence[Arms], pair: tuple[str, str], metric: str) -> dict[str, Any]:
    all_tables = [point[arm][metric] for point in at for arm in pair]
    seeds = [seed for seed in all_tables[0].seeds if all(seed in table.seeds for table in all_tables)]
    weights = [sign * weight for weight in slopes(values) for sign in (1.0, -1.0)]
    chosen = [table.of_seeds(seeds) for table in all_tables]
    try:
        estimate = crossed_contrast([(one.values_QS, one.counts_QS) for one in chosen], np.array(weights))
    except TooLittle as reason:
        return {"seeds": seeds, "method": str(reason)}
    return {"seeds": seeds, "slope": estimate.value, "interval": interval_within(estimate, metric, chosen, weights),
            "method": CROSSED, "p_value": estimate.p_value()}  # fmt: skip
