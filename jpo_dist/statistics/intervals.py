"""95 % intervals where one thing is drawn at random: comparisons, instructions, answers."""

import math
from typing import Any, NamedTuple

import numpy as np

Z95 = 1.959963984540054
"""95 % of a normal distribution lie within so many standard deviations."""
BOOTSTRAP = "bootstrap over instructions"
DRAWS = 2000
ALIKE = "which says nothing of other instructions"
"""Behind what is all alike: resampled, or with the variance that was seen, it would be certainty."""
_CELLS_AT_A_TIME = 4_000_000
_ROUNDING = 1e-12


class Interval(NamedTuple):
    """A 95 % interval. `low` and `high` are None where there is too little to say, and `method` says why."""

    low: float | None
    high: float | None
    method: str

    def as_dict(self) -> dict[str, Any]:
        ends = None if self.low is None or self.high is None else [rounded(self.low), rounded(self.high)]
        return {"interval": ends, "interval_method": self.method}


def rounded(value: float) -> float:
    """A rate to ten decimals: r and 1 - r then add up to 1, so that the mirrored report has mirrored digits."""
    return round(float(value), 10) + 0.0


def bootstrap_interval(values: np.ndarray, seed: int = 0, draws: int = DRAWS) -> tuple[float, float]:
    """95 % percentile interval of the mean, resampling comparisons (Efron, 1979). (nan, nan) for no values."""
    if not len(values):
        return float("nan"), float("nan")
    rng = np.random.Generator(np.random.PCG64(seed))
    sampled = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    low, high = np.percentile(sampled, [2.5, 97.5])
    return float(low), float(high)


def share_interval(passed_N: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of a share of zeros and ones: by bootstrap, but by Wilson where all are alike. Resampling these
    would give an interval without width: 7 of 7 would be certainty."""
    if len(passed_N) and (np.all(passed_N == 0) or np.all(passed_N == 1)):
        found = wilson(float(passed_N.sum()), len(passed_N))
        assert found is not None
        return found[1], found[2]
    return bootstrap_interval(passed_N, seed)


def wilson(successes: float, trials: int) -> list[float] | None:
    """[share, low, high] with Wilson's 95 % interval (Wilson, 1927); None without trials. Halves count too."""
    if not trials:
        return None
    share, z2 = successes / trials, Z95**2 / trials
    center, half = (share + z2 / 2) / (1 + z2), math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    low = 0.0 if not successes else center - half
    high = 1.0 if successes == trials else center + half
    return [share, low, high]


def resampled(num: int, draws: int = DRAWS, seed: int = 0) -> list[np.ndarray]:
    """How often each of `num` instructions is drawn: integer arrays of (some draws, num), `draws` rows in all.

    The same numbers for the same `num`, so that a difference of two models is resampled in pairs.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    each = np.full(num, 1 / num)
    at_a_time = max(1, _CELLS_AT_A_TIME // num)
    return [rng.multinomial(num, each, size=min(at_a_time, draws - at)) for at in range(0, draws, at_a_time)]


def bootstrap_rate(points_Q: np.ndarray, counts_Q: np.ndarray) -> Interval:
    """95 % percentile interval of sum(points) / (2 sum(counts)), resampling whole instructions (Efron, 1979).

    Q different instructions; `points_Q` are half points (loss 0, tie 1, win 2), `counts_Q` numbers of verdicts. All
    answers to an instruction are drawn together: they are one piece of evidence on how hard it is.
    """
    has = counts_Q > 0
    if has.sum() < 2:
        return Interval(None, None, f"none: {int(has.sum())} instructions with a verdict")
    points_Q, counts_Q = points_Q[has], counts_Q[has]
    if is_rounding(np.ptp(points_Q / counts_Q), 1.0):
        return alike_rate(points_Q.sum() / (2 * counts_Q.sum()), len(points_Q))
    drawn = resampled(len(points_Q))
    rates = np.concatenate([(times @ points_Q) / (2 * (times @ counts_Q)) for times in drawn])
    low, high = np.percentile(rates, [2.5, 97.5])
    return Interval(float(low), float(high), BOOTSTRAP)


def alike_rate(rate: float, instructions: int) -> Interval:
    """Wilson's 95 % interval of a rate that is the same on every instruction: each is one piece of evidence."""
    found = wilson(rate * instructions, instructions)
    assert found is not None
    return Interval(found[1], found[2], "Wilson, over instructions that are all alike")


def is_rounding(spread: float, size: float) -> bool:
    """Whether numbers of this `size` differ by no more than their rounding."""
    return bool(spread <= _ROUNDING * size)


def bootstrap_ratio(
    values_Q: np.ndarray,
    counts_Q: np.ndarray,
    other_Q: np.ndarray | None = None,
    others_Q: np.ndarray | None = None,
) -> Interval:
    """95 % percentile interval of sum(values) / sum(counts), resampling whole instructions, each with a count; none
    where all are alike. With `other_Q` and their counts `others_Q`: of this ratio minus theirs, drawn together."""
    gaps_Q = values_Q / counts_Q - (0.0 if other_Q is None or others_Q is None else other_Q / others_Q)
    if len(gaps_Q) < 2 or is_rounding(np.ptp(gaps_Q), np.abs(gaps_Q).max()):
        return bootstrap_mean(gaps_Q)
    drawn = resampled(len(gaps_Q))
    rates = np.concatenate([(times @ values_Q) / (times @ counts_Q) for times in drawn])
    if other_Q is not None and others_Q is not None:
        rates -= np.concatenate([(times @ other_Q) / (times @ others_Q) for times in drawn])
    low, high = np.percentile(rates, [2.5, 97.5])
    return Interval(float(low), float(high), BOOTSTRAP)


def bootstrap_mean(values_Q: np.ndarray) -> Interval:
    """95 % percentile interval of the mean of one number an instruction; none where all are alike."""
    if len(values_Q) < 2:
        return Interval(None, None, f"none: {len(values_Q)} instructions with both verdicts")
    if is_rounding(np.ptp(values_Q), np.abs(values_Q).max()):
        return Interval(None, None, f"none: all {len(values_Q)} instructions are alike (zero variance), {ALIKE}")
    means = np.concatenate([(times @ values_Q) / len(values_Q) for times in resampled(len(values_Q))])
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(low), float(high), BOOTSTRAP)
