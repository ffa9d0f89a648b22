"""Differences of two methods on simulated data of known truth: what intervals hold, tests find and power says."""

import numpy as np
import pytest
from scipy.stats import t
from statsmodels.stats.weightstats import ttost_paired

from jpo_dist.statistics.crossed import Estimate, TooLittle, Variances, crossed, crossed_difference, variances
from jpo_dist.statistics.hypotheses import equivalence, reading
from jpo_dist.statistics.power import power, runs_needed

pytestmark = pytest.mark.slow

ANSWERS = 4
TAU = 0.02


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def two_methods(
    draw: np.random.Generator, gain: float, q: int = 300, s: int = 5
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Answers of two methods to the same instructions: hard and easy ones, good and bad runs, and chance."""
    hardness = draw.uniform(-0.25, 0.25, (q, 1))
    found = []
    for truth in (0.5 + gain, 0.5):
        chance = truth + hardness + draw.uniform(-0.05, 0.05, (q, 1)) + draw.normal(0, TAU, (1, s))
        found.append((draw.binomial(ANSWERS, np.clip(chance, 0, 1), (q, s)), np.full((q, s), ANSWERS)))
    return found


def test_a_difference_is_the_analysis_of_variance_of_the_paired_cells() -> None:
    """Cells of equal size: the estimate of the differences y1 - y2, from the textbook's mean squares, in loops."""
    first, second = two_methods(rng(0), 0.03, q=9, s=3)
    y = first[0] / ANSWERS - second[0] / ANSWERS
    grand, rows, columns = y.mean(), y.mean(axis=1), y.mean(axis=0)
    ms_q = 3 * sum((r - grand) ** 2 for r in rows) / 8
    ms_s = 9 * sum((c - grand) ** 2 for c in columns) / 2
    ms_e = sum((y[q, s] - rows[q] - columns[s] + grand) ** 2 for q in range(9) for s in range(3)) / 16
    variance = max(ms_q + ms_s - ms_e, ms_e) / 27
    found = crossed_difference(first, second)
    assert found.value == pytest.approx(grand, abs=1e-12)
    assert found.error == pytest.approx(variance**0.5, abs=1e-12)
    half = t.ppf(0.975, found.degrees) * found.error
    assert found.interval() == pytest.approx((grand - half, grand + half))


def test_swapping_the_two_mirrors_every_number() -> None:
    first, second = two_methods(rng(1), 0.05)
    one, other = crossed_difference(first, second), crossed_difference(second, first)
    assert (one.value, one.error, one.degrees) == (-other.value, other.error, other.degrees)
    assert one.p_value() == other.p_value()


@pytest.mark.parametrize("runs", [3, 5, 8])
def test_the_interval_of_a_difference_holds_the_truth_in_95_of_100(runs: int) -> None:
    draw, hits, repeats = rng(2), 0, 1000
    for _ in range(repeats):
        low, high = crossed_difference(*two_methods(draw, 0.03, s=runs)).interval()
        hits += low <= 0.03 <= high
    assert 0.93 <= hits / repeats <= 0.985  # three runs err to the safe side


def test_instructions_alone_would_miss_it() -> None:
    """The same data as if runs were no chance: so the test above can fail."""
    draw, hits = rng(3), 0
    for _ in range(300):
        first, second = two_methods(draw, 0.03)
        gaps = (first[0] - second[0]).mean(axis=1) / ANSWERS
        hits += abs(gaps.mean() - 0.03) <= 1.96 * gaps.std(ddof=1) / len(gaps) ** 0.5
    assert hits / 300 < 0.85


def test_power_is_how_often_a_simulated_difference_is_found() -> None:
    draw, found, repeats, gain = rng(4), 0, 600, 0.05
    for _ in range(repeats):
        found += crossed_difference(*two_methods(draw, gain)).p_value() < 0.05
    hard, own = 0.5**2 / 12, 0.1**2 / 12
    truth = Variances(hard + own, TAU**2, 0.0, 0.25 - hard - own)
    said = power(truth, 300, 5, ANSWERS, gain, w2=2 * own)
    assert said.power == pytest.approx(found / repeats, abs=0.06)


def test_the_level_is_kept_where_there_is_no_difference() -> None:
    draw, found, repeats = rng(5), 0, 1000
    for _ in range(repeats):
        found += crossed_difference(*two_methods(draw, 0.0)).p_value() < 0.05
    assert 0.02 <= found / repeats <= 0.07


def test_a_pilot_finds_the_variances_it_was_drawn_with() -> None:
    draw = rng(6)
    hardness, runs = draw.normal(0, 0.3, (400, 1, 1)), draw.normal(0, 0.1, (1, 40, 1))
    values = hardness + runs + draw.normal(0, 0.2, (400, 40, 1)) + draw.normal(0, 0.5, (400, 40, 4))
    found = variances(values.sum(axis=2), (values**2).sum(axis=2), np.full((400, 40), 4))
    assert found.within == pytest.approx(0.25, rel=0.03)
    assert found.interaction == pytest.approx(0.04, rel=0.1)
    assert found.between_instructions == pytest.approx(0.09, rel=0.2)
    assert found.between_runs == pytest.approx(0.01, rel=0.6)  # forty draws


def test_more_instructions_do_not_replace_runs() -> None:
    truth = Variances(0.015, 0.01**2, 0.0, 0.14)
    few, many = power(truth, 1000, 3, 4, 0.03), power(truth, 100_000, 3, 4, 0.03)
    assert many.power < power(truth, 1000, 8, 4, 0.03).power
    assert few.error > many.error > 0.01 * (2 / 3) ** 0.5
    assert runs_needed(truth, 1000, 4, 0.03) in (5, 6)  # a simulation of the same numbers found .79 with 5
    with pytest.raises(ValueError, match="all answers of the pilot were alike"):
        power(Variances(0.0, 0.0, 0.0, 0.0), 100, 3, 4, 0.03)
    assert runs_needed(Variances(0.015, 0.1**2, 0.0, 0.14), 1000, 4, 0.001) is None


def test_equivalence_is_the_two_one_sided_tests_of_another_library() -> None:
    draw = rng(7)
    gaps = draw.normal(0.004, 0.05, 60)
    estimate = Estimate(float(gaps.mean()), float(gaps.std(ddof=1)) / 60**0.5, 59)
    referee = ttost_paired(gaps, np.zeros(60), -0.02, 0.02)[0]
    assert equivalence(estimate, 0.02) == pytest.approx(referee, rel=1e-9)
    low, high = estimate.interval(0.90)
    assert (equivalence(estimate, 0.02) < 0.05) == (low > -0.02 and high < 0.02)


@pytest.mark.parametrize(
    ("p_value", "difference", "p_equivalent", "said"),
    [
        (0.01, 0.1, 0.9, "higher"), (0.01, -0.1, None, "lower"), (0.3, 0.001, 0.01, "equivalent"),
        (0.3, 0.001, None, "undecided"), (0.01, 0.001, 0.01, "higher"), (0.3, 0.05, 0.6, "undecided"),
    ],
)  # fmt: skip
def test_what_may_be_said(p_value: float, difference: float, p_equivalent: float | None, said: str) -> None:
    assert reading(p_value, difference, p_equivalent) == said


def test_too_little_is_said() -> None:
    one = np.ones((5, 1), int)
    with pytest.raises(TooLittle, match="5 instructions, 1 runs"):
        crossed(one, one)
    with pytest.raises(ValueError, match="cannot be paired"):
        crossed_difference((one, one), (np.ones((5, 2), int), np.ones((5, 2), int)))
    with pytest.raises(ValueError, match="margin"):
        equivalence(Estimate(0, 1, 3), 0)
    with pytest.raises(TooLittle, match="take two of each"):
        variances(one, one, one)


def test_a_run_that_lacks_instructions_weighs_less() -> None:
    """An instruction that one method never answered is left out of both: the rest is as without it."""
    first, second = two_methods(rng(8), 0.1, q=40)
    second[0][7], second[1][7] = 0, 0
    keep = np.arange(40) != 7
    cut = [tuple(part[keep] for part in side) for side in (first, second)]
    assert crossed_difference(first, second) == crossed_difference(*cut)  # type: ignore[arg-type]
