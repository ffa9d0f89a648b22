"""Intervals end where their metric can: a rate at 0 and 1, also where some verdicts are ties."""

import itertools

import numpy as np
import pytest

from jpo_dist.statistics.crossed import crossed, crossed_rate
from jpo_dist.study.findings import findings
from jpo_dist.study.tables import Result, tables
from tests.unit.study.test_findings import question


def judged(seed: int, points: list[float]) -> Result:
    """A run with one verdict on each instruction."""
    return Result("new", {"seed": seed}, {"win": {f"{q:02d}": [v, v * v, 1] for q, v in enumerate(points)}}, {})


def test_a_tie_leaves_a_win_rate_a_rate() -> None:
    """It was taken for a score: rates of 91.25 and 100 had [40.0, 151.2]."""
    asked = question(primary="win", checker=None, compare=[])
    runs = [judged(0, [0.5, *[1.0] * 36, *[0.0] * 3]), judged(1, [1.0] * 40)]
    low, high = findings(runs, asked)["arms"][0]["metrics"]["win"]["interval"]
    points_QS = np.array([[2 * cell[0] for cell in one.sums["win"].values()] for one in runs]).T
    same = crossed_rate(points_QS, np.ones_like(points_QS))
    assert (low, high) == (same.low, same.high)
    assert high == 1.0


@pytest.mark.parametrize(
    ("metric", "per_answer", "ends"),
    [
        ("finished", (0.0, 1.0), (0.0, 1.0)),
        ("pass", (0.0, 0.75), (0.0, 1.0)),
        ("pass_of_finished", (0.25, 1.0), (0.0, 1.0)),
        ("tokens", (1.0, 9.0), (0.0, None)),
        ("pass", (-0.5, 1.0), (None, None)),
        ("score", (0.25, 0.75), (None, None)),
        ("kl", (0.0, 9.0), (None, None)),
    ],
)
def test_an_interval_ends_where_its_metric_can(
    metric: str, per_answer: tuple[float, float], ends: tuple[float | None, float | None]
) -> None:
    """Of 20 instructions one run has nearly all at one value, the other at the other: t reaches far beyond both."""
    runs = []
    for seed, arm in itertools.product(range(2), ("new", "old")):
        low, high = per_answer if (seed == 0) == (arm == "new") else per_answer[::-1]
        of_q = {f"{q:02d}": [v, v * v, 1] for q, v in enumerate([high] + [low] * 19)}
        runs.append(Result(arm, {"seed": seed}, {metric: of_q}, {}))  # type: ignore[dict-item]
    found = findings(runs, question(primary="pass"))
    table = tables(runs)[""]["new"][metric]
    wide = crossed(table.values_QS, table.counts_QS).interval()
    assert wide[0] < min(0.0, per_answer[0])
    assert wide[1] > max(1.0, per_answer[1])
    interval = found["arms"][0]["metrics"][metric]["interval"]
    assert interval == [wide[n] if end is None else end for n, end in enumerate(ends)]
    if metric == "pass":
        (gap,) = found["comparisons"]
        assert (gap["interval"] == [-1.0, 1.0]) == (ends == (0.0, 1.0))
