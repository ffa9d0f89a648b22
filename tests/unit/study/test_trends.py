"""Slopes of differences: by hand, mirrored, and against simulations whose truth is known."""

import math
from typing import Any

import numpy as np
import pytest

from jpo_dist.study.findings import findings
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.tables import Result
from jpo_dist.study.trends import slopes, trends

SHARES = (0.25, 0.5, 1.0)


def question(**settings: Any) -> QuestionConfig:
    asked = {"answers": "a", "checker": "m:f", "compare": [("new", "old")], "trend": "share"}
    return QuestionConfig(**{**asked, **settings})  # type: ignore[arg-type]


def simulated(draw: np.random.Generator, slope: float, seeds: int = 5, tau: float = 0.01) -> list[Result]:
    """`new` is better than `old` by .1 + slope for each doubling, and runs differ by tau."""
    found = []
    hard_Q = draw.normal(0, 0.08, 120)
    for share in SHARES:
        for arm in ("new", "old"):
            for seed in range(seeds):
                gap = 0.1 + slope * math.log2(share) if arm == "new" else 0.0
                rate_Q = np.clip(0.4 + hard_Q + gap + draw.normal(0, tau), 0, 1)
                passed = draw.binomial(4, rate_Q)
                sums = {"pass": {f"{q:03d}": [float(n), float(n), 4] for q, n in enumerate(passed)}}
                found.append(Result(arm, {"seed": seed, "share": share}, sums, {"answers": 480}))
    return found


def test_the_slope_is_that_of_least_squares_through_the_differences() -> None:
    results = simulated(np.random.default_rng(0), 0.05)
    (line,) = trends(results, question())
    gaps = [one["difference"] for one in findings(results, question())["comparisons"]]
    assert line["slope"] == pytest.approx(np.polyfit(np.log2(SHARES), gaps, 1)[0], abs=1e-12)
    assert line["interval"][0] < 0.05 < line["interval"][1]


def test_swapping_the_arms_mirrors_it() -> None:
    results = simulated(np.random.default_rng(1), 0.05)
    (one,), (other,) = trends(results, question()), trends(results, question(compare=[("old", "new")]))
    assert other["slope"] == pytest.approx(-one["slope"], rel=1e-12)
    assert other["interval"] == pytest.approx([-one["interval"][1], -one["interval"][0]], rel=1e-12)
    assert other["p_value"] == pytest.approx(one["p_value"], rel=1e-9)


@pytest.mark.nightly
def test_the_interval_holds_as_often_as_it_says() -> None:
    draw = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        (line,) = trends(simulated(draw, 0.03), question())
        held += line["interval"][0] < 0.03 < line["interval"][1]
    assert 0.90 <= held / 200 <= 0.99


def test_its_p_value_is_adjusted_with_those_of_the_differences() -> None:
    found = findings(simulated(np.random.default_rng(3), 0.0), question())
    values = [one["p_value"] for one in [*found["comparisons"], *found["trends"]]]
    assert len(values) == 4
    smallest = min([*found["comparisons"], *found["trends"]], key=lambda one: one["p_value"])
    assert smallest["p_holm"] == min(1.0, 4 * smallest["p_value"])


def test_other_values_of_the_grid_have_slopes_of_their_own() -> None:
    results = [
        one._replace(values={"answers": answers, **one.values})
        for answers in (2, 4)
        for one in simulated(np.random.default_rng(answers), 0.05)
    ]
    assert [line["point"] for line in trends(results, question())] == ["answers=2", "answers=4"]
    cut = [one for one in results if (one.values["answers"], one.values["share"], one.arm) != (4, 1.0, "old")]
    assert [line["slope"] is None for line in trends(cut, question())] == [False, True]
    assert trends(results, question(trend=None)) == []


def test_weights_add_up_to_none_and_give_one_for_a_doubling() -> None:
    weights = slopes([1, 2, 8])
    assert sum(weights) == pytest.approx(0)
    assert sum(w * math.log2(x) for w, x in zip(weights, (1, 2, 8), strict=True)) == pytest.approx(1)


def without(results: list[Result], *left_out: tuple[str, float]) -> list[Result]:
    return [one for one in results if (one.arm, one.values["share"]) not in left_out]


def test_a_point_that_an_arm_lacks_is_told_and_no_slope_of_the_others_is() -> None:
    results = simulated(np.random.default_rng(5), 0.05, seeds=3)
    grid = {"share": [0.25, 0.5, 1]}
    (whole,) = findings(results, question(), grid=grid)["trends"]
    assert (whole["points"], whole["planned"]) == ([0.25, 0.5, 1.0], [0.25, 0.5, 1.0])
    assert whole["slope"] is not None
    cases = [
        ([("new", 1.0)], "new has no result at share=1", [0.25, 0.5]),
        ([("new", 1.0), ("old", 1.0)], "new has no result at share=1; old has no result at share=1", [0.25, 0.5]),
        ([("new", 0.5), ("new", 1.0), ("old", 0.25)], "new has no result at share=0.5, 1; old has no result at "
         "share=0.25", []),
    ]  # fmt: skip
    for left_out, said, points in cases:
        found = findings(without(results, *left_out), question(), grid=grid)
        (line,) = found["trends"]
        assert (line["slope"], line["p_holm"], line["method"]) == (None, None, f"none: {said}")
        assert (line["points"], line["planned"]) == (points, [0.25, 0.5, 1.0])
    (none,) = trends([], question(), grid)
    assert (none["points"], none["slope"]) == ([], None)
    (one,) = trends(without(results, *((arm, x) for arm in ("new", "old") for x in (0.5, 1.0))), question())
    assert one["method"] == "none: share has one point", "of a study whose plan is not known"


def test_combinations_without_any_result_are_told() -> None:
    results = [one._replace(values={"answers": 2, **one.values}) for one in simulated(np.random.default_rng(6), 0.05)]
    lines = trends(results, question(), {"answers": [4, 2], "share": list(SHARES)})
    assert [(line["point"], len(line["points"])) for line in lines] == [("answers=4", 0), ("answers=2", 3)]
