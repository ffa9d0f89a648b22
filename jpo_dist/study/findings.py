"""From the results of all cells to what may be said: each arm's figures, and each asked difference with its reading.

Legend: Q instructions, S training runs (seeds).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jpo_dist.statistics.crossed import (
    CROSSED,
    AllAlike,
    Estimate,
    TooLittle,
    Variances,
    crossed,
    crossed_difference,
    variances,
)
from jpo_dist.statistics.hypotheses import equivalence, holm, reading
from jpo_dist.statistics.intervals import BOOTSTRAP, alike_rate, bootstrap_ratio
from jpo_dist.study.bounds import bounds, interval_within
from jpo_dist.study.question import RATES, QuestionConfig
from jpo_dist.study.tables import SEED, Result, Table, tables
from jpo_dist.study.trends import Grid, trends


def findings(
    results: Sequence[Result],
    question: QuestionConfig,
    strata: Mapping[str, str] | None = None,
    grid: Grid | None = None,
) -> dict[str, Any]:
    """All figures of the report, JSON-able.

    `arms`: a line for each point and arm, with every metric's value and 95 % interval. `comparisons`: a line for each
    point and asked pair, on the primary metric; `trends`: how these grow along `question.trend`, over all
    values that `grid` has of it. p-values are adjusted over all of them together. A pair of which one arm has no result
    yet has no line. `others`: the same pairs on every other metric, and `strata` on the primary one for the
    instructions of each label (label by id): differences with intervals and no test, since none was asked. `without`:
    the cells of which no answer has the primary metric, such as verdicts of a judge none of whose replies could be
    read; they are runs of their arm and in no figure of it.
    """
    found = tables(results)
    pairs = [
        (point, arms, first, second)
        for point, arms in found.items()
        for first, second in question.compare
        if all(question.primary in arms.get(arm, {}) for arm in (first, second))
    ]
    lines = [_compared(*pair, question.primary, question.margin) for pair in pairs]
    growing = trends(results, question, grid)
    _adjust([*lines, *growing])
    return {
        "primary": question.primary,
        "margin": question.margin,
        "arms": [
            _arm(point, arm, of, _seeds(results, point, arm))
            for point, arms in found.items()
            for arm, of in arms.items()
        ],
        "without": [
            {"arm": one.arm, "values": one.values, "counts": one.counts}
            for one in results
            if not one.sums.get(question.primary)
        ],
        "comparisons": lines,
        "trends": growing,
        "others": [
            _plain(_compared(*pair, metric, question.margin), None)
            for pair in pairs
            for metric in sorted({*pair[1][pair[2]]} & {*pair[1][pair[3]]} - {question.primary})
        ],
        "strata": _by_label(results, question, strata or {}),
    }


def _adjust(lines: Sequence[dict[str, Any]]) -> None:
    """Add `p_holm` and the reading to lines with a p-value, for all of them together."""
    adjusted = iter(holm([line["p_value"] for line in lines if line["p_value"] is not None]))
    for line in lines:
        line["p_holm"] = None if line["p_value"] is None else next(adjusted)
        if line["p_holm"] is not None:
            value = line["difference"] if "difference" in line else line["slope"]
            line["reading"] = reading(line["p_holm"], value, line.get("p_equivalent"))


def _by_label(results: Sequence[Result], question: QuestionConfig, strata: Mapping[str, str]) -> dict[str, Any]:
    """The primary metric of each arm, and each asked difference, on the instructions of each label alone."""
    primary = question.primary
    made: dict[str, Any] = {"arms": [], "comparisons": []}
    for label in sorted(set(strata.values())):
        kept = [{i: c for i, c in one.sums.get(primary, {}).items() if strata.get(i) == label} for one in results]
        # A run without a figure is none here either: counted as one, it would take the interval from all the others.
        some = [one._replace(sums={primary: of} if of else {}) for one, of in zip(results, kept, strict=True)]
        count = sum(one == label for one in strata.values())
        for point, arms in tables(some).items():
            made["arms"] += [
                {"label": label, "instructions": count, **_arm(point, arm, of, _seeds(results, point, arm))}
                for arm, of in arms.items()
            ]
            made["comparisons"] += [
                _plain(_compared(point, arms, first, second, primary, question.margin), label)
                for first, second in question.compare
                if all(primary in arms.get(arm, {}) for arm in (first, second))
            ]
    return made


def _plain(line: Mapping[str, Any], label: str | None) -> dict[str, Any]:
    """A difference without tests."""
    kept = ("point", "first", "second", "metric", "seeds", "difference", "interval", "method")
    return {**({} if label is None else {"label": label}), **{name: line[name] for name in kept}}


def _seeds(results: Sequence[Result], point: str, arm: str) -> list[Any]:
    """The runs of an arm at a point, also those in which nothing could be measured."""
    return sorted((one.values.get(SEED) for one in results if (one.point, one.arm) == (point, arm)), key=str)


def _arm(point: str, arm: str, of: Mapping[str, Table], seeds: Sequence[Any]) -> dict[str, Any]:
    return {
        "point": point,
        "arm": arm,
        "seeds": list(seeds),
        "metrics": {metric: _figure(table, metric) for metric, table in of.items()},
    }


def _figure(table: Table, metric: str) -> dict[str, Any]:
    total = table.counts_QS.sum()
    value = float(table.values_QS.sum() / total) if total else None
    made: dict[str, Any] = {"value": value, "answers": int(total)}
    made["by_seed"] = [float(v / c) if c else None for v, c in zip(*_by_run(table), strict=True)]
    made["interval"], made["method"] = _interval(table, metric, value)
    return made


def _interval(table: Table, metric: str, value: float | None) -> tuple[list[float] | None, str]:
    """(95 % interval of a metric, how it was made); None with the reason. A rate that is the same everywhere has
    Wilson's, any other metric none, but for the KL of the reference from itself, which is 0 whatever is asked."""
    is_rate = metric in RATES and bounds(metric, table) == (0.0, 1.0)
    has = table.counts_QS.sum(axis=1) > 0
    several = len(table.seeds) > 1
    try:
        if several:
            return interval_within(crossed(table.values_QS, table.counts_QS), metric, [table]), CROSSED
        found = bootstrap_ratio(table.values_QS[has, 0], table.counts_QS[has, 0])
        if found.low is not None or has.sum() < 2:
            return found.as_dict()["interval"], _one_run(found.method)
        reason = found.method
    except AllAlike as alike:
        reason = str(alike)
    except TooLittle as little:
        return None, str(little)
    if value is not None and is_rate:
        found = alike_rate(value, int(has.sum()))
        return found.as_dict()["interval"], found.method if several else _one_run(found.method)
    if metric == "kl" and not table.squares_QS.any():
        return [0.0, 0.0], CROSSED if several else _one_run(BOOTSTRAP)
    return None, reason


def _one_run(method: str) -> str:
    return method if method.startswith("none") else f"{method}; one run, others may differ"


def _by_run(table: Table) -> tuple[np.ndarray, np.ndarray]:
    return table.values_QS.sum(axis=0), table.counts_QS.sum(axis=0)


def _compared(
    point: str, arms: Mapping[str, Mapping[str, Table]], first: str, second: str, metric: str, margin: float
) -> dict[str, Any]:
    """The difference of two arms, paired by instruction and seed; only seeds that both have."""
    pair = [arms[arm][metric] for arm in (first, second)]
    seeds = [seed for seed in pair[0].seeds if seed in pair[1].seeds]
    a, b = (table.of_seeds(seeds) for table in pair)
    made: dict[str, Any] = {
        "point": point,
        "first": first,
        "second": second,
        "metric": metric,
        "seeds": seeds,
    }
    nothing = {"p_value": None, "p_equivalent": None, "reading": "undecided"}
    if len(seeds) == 1:
        both = (a.counts_QS[:, 0] > 0) & (b.counts_QS[:, 0] > 0)
        sides = [(table.values_QS[both, 0], table.counts_QS[both, 0]) for table in (a, b)]
        found = bootstrap_ratio(*sides[0], *sides[1])
        rates = [float(values_Q.sum() / counts_Q.sum()) for values_Q, counts_Q in sides] if both.any() else None
        difference = rates[0] - rates[1] if rates else None
        return {**made, "difference": difference, "interval": found.as_dict()["interval"],
                "method": _one_run(found.method), **nothing}  # fmt: skip
    try:
        estimate = crossed_difference((a.values_QS, a.counts_QS), (b.values_QS, b.counts_QS))
    except TooLittle as reason:
        difference = reason.value if isinstance(reason, AllAlike) else None
        return {**made, "difference": difference, "interval": None, "method": str(reason), **nothing}
    return {**made, **_tested(estimate, margin), "interval": interval_within(estimate, metric, [a, b], (1.0, -1.0))}


def _tested(estimate: Estimate, margin: float) -> dict[str, Any]:
    return {
        "difference": estimate.value,
        "error": estimate.error,
        "degrees": estimate.degrees,
        "method": CROSSED,
        "p_value": estimate.p_value(),
        "p_equivalent": equivalence(estimate, margin),
        "reading": "undecided",
    }


def pilot(results: Sequence[Result], metric: str) -> dict[tuple[str, str], Variances | str]:
    """For each (point, arm), the variances behind its answers, or why they cannot be told: what a design goes by."""
    told: dict[tuple[str, str], Variances | str] = {}
    for point, arms in tables(results).items():
        for arm, of in arms.items():
            if metric not in of:
                continue
            table = of[metric]
            some = (table.counts_QS > 0).all(axis=1)
            try:
                told[point, arm] = variances(table.values_QS[some], table.squares_QS[some], table.counts_QS[some])
            except TooLittle as reason:
                told[point, arm] = str(reason)
    return told
