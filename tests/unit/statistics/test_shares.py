"""A share of which nothing, or everything, was seen is no certainty."""

import numpy as np
import pytest

from jpo_dist.statistics.intervals import bootstrap_interval, bootstrap_rate, share_interval


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
