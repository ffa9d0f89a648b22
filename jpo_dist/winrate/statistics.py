"""Intervals and tests of win rates, where one instruction has several answers and one model several training runs.

Legend: Q different instructions, S training runs. A verdict is worth 0, 1 or 2 half points (loss, tie, win), so that
sums are exact. `points_QS[q, s]` are the half points of the answers of run s to instruction q, `counts_QS[q, s]` how
many of them have a verdict. Every rate is sum(points) / (2 sum(counts)): each answer with a verdict counts the same.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

BOOTSTRAP = "bootstrap over instructions"
CROSSED = "crossed: instructions and runs"
DRAWS = 2000
_CELLS_AT_A_TIME = 4_000_000
_NEEDS_SCIPY = "win rates need scipy; pip install 'jpo-dist[data]'"


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

    All answers to an instruction are drawn together: they are one piece of evidence on how hard it is.
    """
    has = counts_Q > 0
    if has.sum() < 2:
        return Interval(None, None, f"none: {int(has.sum())} instructions with a verdict")
    points_Q, counts_Q = points_Q[has], counts_Q[has]
    drawn = resampled(len(points_Q))
    rates = np.concatenate([(times @ points_Q) / (2 * (times @ counts_Q)) for times in drawn])
    low, high = np.percentile(rates, [2.5, 97.5])
    return Interval(float(low), float(high), BOOTSTRAP)


def bootstrap_mean(values_Q: np.ndarray) -> Interval:
    """95 % percentile interval of the mean of one number an instruction."""
    if len(values_Q) < 2:
        return Interval(None, None, f"none: {len(values_Q)} instructions with both verdicts")
    means = np.concatenate([(times @ values_Q) / len(values_Q) for times in resampled(len(values_Q))])
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(low), float(high), BOOTSTRAP)


def crossed_rate(points_QS: np.ndarray, counts_QS: np.ndarray) -> Interval:
    """95 % interval of the rate for other instructions and other training runs, both drawn at random.

    With every cell filled alike this is the two-way analysis of variance without replication of cell means y_qs:
    Var(mean) = (MS_Q + MS_S - MS_residual) / (Q S), and t with Satterthwaite's degrees of freedom
    (Satterthwaite 1946; Searle, Casella, McCulloch, Variance Components, 1992, ch. 4). Cells with fewer verdicts weigh
    less: the sums of squares are those of the linearised ratio. Never less than MS_residual / (Q S), where the estimate
    of a variance is negative. Raises ValueError when scipy is missing.
    """
    some = counts_QS.sum(axis=1) > 0
    points_QS, counts_QS = points_QS[some], counts_QS[some]
    num_q, num_s = counts_QS.shape
    if num_q < 2 or num_s < 2 or (counts_QS.sum(axis=0) == 0).any():
        return Interval(None, None, f"none: {num_q} instructions, {num_s} runs, or a run without a verdict")
    total = counts_QS.sum()
    rate = points_QS.sum() / (2 * total)
    off_QS = points_QS / 2 - rate * counts_QS  # sums of residuals: what each cell adds to the linearised ratio
    of_q, of_s = off_QS.sum(axis=1), off_QS.sum(axis=0)
    mean_q, mean_s = of_q / counts_QS.sum(axis=1), of_s / counts_QS.sum(axis=0)
    rest_QS = off_QS - counts_QS * (mean_q[:, None] + mean_s[None, :])
    free = num_q - 1, num_s - 1, (num_q - 1) * (num_s - 1)
    parts = (
        (of_q**2).sum() * num_q / free[0] / total**2,
        (of_s**2).sum() * num_s / free[1] / total**2,
        (rest_QS**2).sum() * num_q * num_s / free[2] / total**2,
    )
    variance = max(parts[0] + parts[1] - parts[2], parts[2])
    if variance == 0:
        return Interval(float(rate), float(rate), CROSSED)
    degrees = max(1.0, variance**2 / sum(part**2 / df for part, df in zip(parts, free, strict=True)))
    half = _t(0.975, degrees) * variance**0.5
    return Interval(max(0.0, float(rate - half)), min(1.0, float(rate + half)), CROSSED)


def _t(probability: float, degrees: float) -> float:
    try:
        from scipy.stats import t  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError(_NEEDS_SCIPY) from error
    return float(t.ppf(probability, degrees))


def mcnemar(better: int, worse: int) -> float:
    """Two-sided p-value of the exact test of McNemar (1947): `better` and `worse` are the discordant pairs, which the
    hypothesis splits evenly. 1 without any. Raises ValueError when scipy is missing."""
    if better + worse == 0:
        return 1.0
    try:
        from scipy.stats import binomtest
    except ImportError as error:
        raise ValueError(_NEEDS_SCIPY) from error
    return float(binomtest(better, better + worse, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for all of them together (Holm, 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted
