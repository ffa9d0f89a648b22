"""A share of which nothing, or everything, was seen is no certainty."""

import numpy as np
import pytest

from jpo_dist.statistics.crossed import AllAlike, crossed, crossed_contrast, crossed_difference, crossed_rate, variances
from jpo_dist.statistics.intervals import bootstrap_interval, bootstrap_mean, bootstrap_rate, share_interval

Z2 = 1.959963984540054**2


@pytest.mark.parametrize("trials", [1, 7, 50])
def test_none_and_all_have_wilsons_width(trials: int) -> None:
    """By hand: for n of n Wilson's lower end is n / (n + z^2), for 0 of n the upper one is z^2 / (n + z^2)."""
    z2 = 1.959963984540054**2
    assert share_interval(np.ones(trials)) == pytest.approx((trials / (trials + z2), 1.0))
    assert share_interval(np.zeros(trials)) == pytest.approx((0.0, z2 / (trials + z2)))


def test_some_have_the_interval_that_they_had() -> None:
    mixed = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    assert share_interval(mixed) == bootstrap_interval(mixed)
    assert np.isnan(share_interval(np.zeros(0))).all()


def test_a_win_rate_of_one_is_no_certainty_and_its_mirror_is_alike() -> None:
    counts = np.array([2, 1, 2, 1, 2, 1, 2])
    won, lost = bootstrap_rate(2 * counts, counts), bootstrap_rate(0 * counts, counts)
    assert won.low is not None
    assert lost.high is not None
    assert (won.low, won.high) == pytest.approx((7 / (7 + 1.959963984540054**2), 1.0))
    assert (lost.low, lost.high) == pytest.approx((0.0, 1 - won.low))
    assert won.method.startswith("Wilson")


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_a_rate_that_is_the_same_everywhere_has_wilsons_interval_over_instructions(rate: float) -> None:
    """Of one run and of several, also where each answer is a tie. The ends solve (p - rate)^2 = z^2 p (1 - p) / n."""
    counts = np.array([[1, 3], [2, 1], [4, 4], [2, 2], [3, 1]])
    ends = sorted(np.roots([1 + Z2 / 5, -2 * rate - Z2 / 5, rate**2]).real)
    for found in (crossed_rate(2 * rate * counts, counts), bootstrap_rate(2 * rate * counts[:, 0], counts[:, 0])):
        assert (found.low, found.high) == pytest.approx(ends, abs=1e-12)
        assert found.method.startswith("Wilson")


@pytest.mark.parametrize("gap", [0.0, 1.0, 0.1 + 0.2, -1 / 3])
def test_what_is_all_alike_has_no_error(gap: float) -> None:
    """Also where numbers such as 0.1 + 0.2 leave a rounding of theirs in place of a spread of 0."""
    draw = np.random.default_rng(0)
    counts = draw.integers(2, 5, (20, 3))
    second = draw.random((20, 3)) * counts
    with pytest.raises(AllAlike, match=r"all differences are alike \(zero variance\)") as caught:
        crossed_difference((gap * counts, counts), (0.0 * counts, counts))
    assert caught.value.value == pytest.approx(gap)
    with pytest.raises(AllAlike):
        crossed_difference((second, counts), (second, counts))
    with pytest.raises(AllAlike):
        crossed_contrast([(gap * counts, counts)] * 4, np.array([-0.5, 0.5, 0.5, -0.5]))
    with pytest.raises(AllAlike, match="all answers"):
        crossed(gap * counts, counts)
    with pytest.raises(AllAlike):
        variances(gap * counts, gap**2 * counts, counts)
    found = bootstrap_mean(np.array([gap, gap + 0.1]) - np.array([0.0, 0.1]))
    assert (found.low, found.high) == (None, None)
    assert "alike" in found.method


def test_one_answer_that_differs_is_a_spread() -> None:
    counts = np.ones((1000, 5))
    values = counts.copy()
    values[7, 2] = 0.0
    assert crossed_difference((values, counts), (counts, counts)).error > 0
    assert crossed(values, counts).error > 0
    assert variances(2 * values, 2 * values, 2 * counts).interaction > 0
    assert bootstrap_mean(values[:, 2]).low is not None
