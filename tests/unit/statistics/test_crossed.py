"""Intervals against known truths and other libraries, p-values against numbers done by hand."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as referee_mcnemar
from statsmodels.stats.multitest import multipletests

from jpo_dist.statistics.crossed import crossed_rate
from jpo_dist.statistics.hypotheses import holm, mcnemar
from jpo_dist.statistics.intervals import bootstrap_mean, bootstrap_rate, resampled

pytestmark = pytest.mark.slow


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def test_the_crossed_interval_is_the_two_way_analysis_of_variance_by_hand() -> None:
    """Cells of one answer; the mean squares from their textbook definitions, in loops."""
    points = rng(0).integers(0, 3, (7, 3))
    y = points / 2
    grand, rows, columns = y.mean(), y.mean(axis=1), y.mean(axis=0)
    ms_q = 3 * sum((r - grand) ** 2 for r in rows) / 6
    ms_s = 7 * sum((c - grand) ** 2 for c in columns) / 2
    ms_e = sum((y[q, s] - rows[q] - columns[s] + grand) ** 2 for q in range(7) for s in range(3)) / 12
    variance = (ms_q + ms_s - ms_e) / 21
    assert variance > ms_e / 21
    degrees = variance**2 / sum((ms / 21) ** 2 / df for ms, df in ((ms_q, 6), (ms_s, 2), (ms_e, 12)))
    found = crossed_rate(points, np.ones((7, 3), int))
    assert found.low is not None
    assert found.high is not None
    from scipy.stats import t

    half = t.ppf(0.975, degrees) * variance**0.5
    assert (found.low, found.high) == pytest.approx((max(0, grand - half), min(1, grand + half)), abs=1e-12)


def test_samples_of_a_cell_count_as_their_mean() -> None:
    """K answers a cell: the same interval as that of the cells' means."""
    verdicts = rng(1).integers(0, 3, (40, 3, 4))
    many = crossed_rate(verdicts.sum(axis=2), np.full((40, 3), 4))
    means = crossed_rate(verdicts.sum(axis=2) * 0.25, np.ones((40, 3)))
    assert (many.low, many.high) == pytest.approx((means.low, means.high))


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_the_crossed_interval_holds_the_truth_in_95_of_100(missing: float) -> None:
    """500 instructions, 5 runs, 4 samples: random effects of both around a known mean, verdicts drawn from them; also
    where a tenth of the verdicts is missing."""
    draw, truth, hits, repeats = rng(2), 0.45, 0, 1500
    for _ in range(repeats):
        chance = np.clip(truth + draw.uniform(-0.3, 0.3, (500, 1)) + draw.normal(0, 0.035, (1, 5)), 0, 1)
        counts = draw.binomial(4, 1 - missing, (500, 5))
        found = crossed_rate(2 * draw.binomial(counts, chance), counts)
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / repeats <= 0.97  # the standard error of the share is 0.006


def test_ignoring_the_runs_would_miss_it() -> None:
    """The same data taken as if runs were no source of error: far too short. So the test above can fail."""
    draw, hits = rng(3), 0
    for _ in range(200):
        chance = np.clip(0.45 + draw.uniform(-0.3, 0.3, (500, 1)) + draw.normal(0, 0.035, (1, 5)), 0, 1)
        points = 2 * draw.binomial(4, chance)
        mean, half = points.mean() / 8, 1.96 * (points.mean(axis=1) / 8).std(ddof=1) / 500**0.5
        hits += abs(mean - 0.45) <= half
    assert hits / 200 < 0.85


def test_the_bootstrap_over_instructions_keeps_answers_of_one_instruction_together() -> None:
    """Four equal answers an instruction are one piece of evidence: the interval of one answer, not of four."""
    points = 2 * rng(4).integers(0, 2, 200)
    one, four = bootstrap_rate(points, np.ones(200, int)), bootstrap_rate(4 * points, np.full(200, 4))
    assert (one.low, one.high) == pytest.approx((four.low, four.high), abs=1e-12)
    share = points.mean() / 2
    half = 1.96 * (share * (1 - share) / 200) ** 0.5
    assert (one.low, one.high) == pytest.approx((share - half, share + half), abs=0.01)


def test_the_bootstrap_holds_the_truth_in_95_of_100() -> None:
    draw, hits, repeats = rng(5), 0, 120
    for _ in range(repeats):
        chance = 0.4 + draw.uniform(-0.3, 0.3, 100)
        counts = draw.integers(1, 4, 100)
        found = bootstrap_rate(2 * draw.binomial(counts, chance), counts)
        hits += found.low <= 0.4 <= found.high
    assert 0.89 <= hits / repeats <= 0.99


def test_too_little_to_say_is_said() -> None:
    assert bootstrap_rate(np.array([2]), np.array([1])).low is None
    assert "1 instructions" in bootstrap_rate(np.array([2, 0]), np.array([1, 0])).method
    assert bootstrap_mean(np.array([])).high is None
    assert "a run without a verdict" in crossed_rate(np.array([[2, 0], [0, 0]]), np.array([[1, 0], [1, 0]])).method


def test_resampling_draws_as_many_as_there_are_and_always_the_same() -> None:
    times = np.concatenate(resampled(2500, 2000))
    assert times.shape == (2000, 2500)
    assert (times.sum(axis=1) == 2500).all()
    assert (times == np.concatenate(resampled(2500, 2000))).all()


def test_mcnemar_by_hand_and_by_statsmodels() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 2**5)
    assert mcnemar(1, 3) == pytest.approx(2 * (1 + 4) / 2**4)
    for better, worse in ((9, 2), (30, 55), (7, 7)):
        referee = referee_mcnemar([[3, better], [worse, 4]], exact=True).pvalue
        assert mcnemar(better, worse) == pytest.approx(min(1, referee))


def test_holm_by_statsmodels() -> None:
    p_values = [0.04, 0.001, 0.3, 0.0399, 0.9]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())
    assert holm([]) == []
