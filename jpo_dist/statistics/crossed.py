"""Rates of models that were trained several times, and differences of two: instructions and runs are both chance.

Resampling instructions alone takes the runs that happened for all there could be: its "95 %" cover 61 to 96 %. Here
both are random effects that cross, as in the two-way analysis of variance.

Legend: Q different instructions, S training runs (seeds). `values_QS[q, s]` is the sum of a value over the answers of
run s to instruction q, `counts_QS[q, s]` how many answers it is the sum of. A rate is sum(values) / sum(counts): each
answer counts the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jpo_dist.statistics.distributions import t_quantile, t_tail
from jpo_dist.statistics.intervals import ALIKE, Interval, alike_rate, is_rounding

CROSSED = "crossed: instructions and runs"


class Estimate(NamedTuple):
    """A rate or a difference with its standard error, and the degrees of freedom of the t distribution behind it."""

    value: float
    error: float
    """Above 0."""
    degrees: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The two-sided confidence interval. Raises ValueError when scipy is missing."""
        half = t_quantile((1 + level) / 2, self.degrees) * self.error
        return self.value - half, self.value + half

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided, of the hypothesis that the true value is `null`. Raises ValueError when scipy is missing."""
        return 2 * t_tail(abs(self.value - null) / self.error, self.degrees)


class TooLittle(ValueError):
    """There are too few instructions or runs for an interval."""


class AllAlike(TooLittle):
    """Every instruction and run has the same value: its variance was seen as 0, which is no reason to call it 0."""

    def __init__(self, what: str, value: float) -> None:
        super().__init__(f"none: {what} are alike (zero variance), {ALIKE}")
        self.value = value
        """The rate, or the difference."""


class Variances(NamedTuple):
    """Where the differences between answers come from, as variances of one answer's value."""

    between_instructions: float
    between_runs: float
    """tau squared: how much the rate of one training run differs from another's."""
    interaction: float
    """How much a run is better at some instructions than at others, beside the sampling of answers."""
    within: float
    """Between answers of one run to one instruction."""


def crossed(values_QS: np.ndarray, counts_QS: np.ndarray) -> Estimate:
    """The rate for other instructions and other training runs, both drawn at random.

    With every cell filled alike this is the two-way analysis of variance without replication of cell means y_qs:
    Var(mean) = (MS_Q + MS_S - MS_residual) / (Q S), and t with Satterthwaite's degrees of freedom
    (Satterthwaite 1946; Searle, Casella, McCulloch, Variance Components, 1992, ch. 4). Cells with fewer answers weigh
    less: the sums of squares are those of the linearised ratio. Never less than MS_residual / (Q S), where the estimate
    of a variance is negative. Raises TooLittle, and AllAlike, which is one.
    """
    some = counts_QS.sum(axis=1) > 0
    rate, off_QS, rest_QS = _linearised(values_QS[some], counts_QS[some])
    return _estimate(rate, off_QS, rest_QS, "all answers", _size(values_QS))


def crossed_difference(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> Estimate:
    """The rate of `first` minus that of `second`, each (values_QS, counts_QS) over the same instructions and runs.

    Paired: what makes an instruction hard for both cancels, and so does what two runs of one number share. Only
    instructions that both have answers to count. Raises TooLittle, AllAlike, which is one, and ValueError for tables of
    different shapes.
    """
    return crossed_contrast([first, second], np.array([1.0, -1.0]))


def crossed_contrast(tables: Sequence[tuple[np.ndarray, np.ndarray]], weights_K: np.ndarray) -> Estimate:
    """The sum of weight times rate over K tables, paired as in crossed_difference: a slope, or a difference of
    differences. Raises what crossed_difference raises."""
    for values_QS, _ in tables[1:]:
        if values_QS.shape != tables[0][0].shape:
            raise ValueError(
                f"tables of {tables[0][0].shape} and {values_QS.shape} cannot be paired; take the same runs of both"
            )
    every = np.all([counts_QS.sum(axis=1) > 0 for _, counts_QS in tables], axis=0)
    parts = [_linearised(values_QS[every], counts_QS[every]) for values_QS, counts_QS in tables]
    rate, off_QS, rest_QS = (
        sum(weight * part[n] for weight, part in zip(weights_K, parts, strict=True)) for n in range(3)
    )
    size = sum(abs(weight) * _size(values_QS) for weight, (values_QS, _) in zip(weights_K, tables, strict=True))
    return _estimate(float(rate), np.asarray(off_QS), np.asarray(rest_QS), "all differences", float(size))


def _size(values_QS: np.ndarray) -> float:
    return float(np.abs(values_QS).max())


def _linearised(values_QS: np.ndarray, counts_QS: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """(rate, what each cell adds to it, what of this neither its instruction nor its run explains)."""
    num_q, num_s = counts_QS.shape
    if num_q < 2 or num_s < 2 or (counts_QS.sum(axis=0) == 0).any():
        raise TooLittle(f"none: {num_q} instructions, {num_s} runs, or a run without a verdict")
    total = counts_QS.sum()
    rate = values_QS.sum() / total
    off_QS = values_QS - rate * counts_QS
    mean_q, mean_s = (off_QS.sum(axis=axis) / counts_QS.sum(axis=axis) for axis in (1, 0))
    rest_QS = off_QS - counts_QS * (mean_q[:, None] + mean_s[None, :])
    return float(rate), off_QS / total, rest_QS / total


def _estimate(value: float, off_QS: np.ndarray, rest_QS: np.ndarray, what: str, size: float) -> Estimate:
    """`what` the cells are, and the `size` of the numbers behind them, by which their rounding is known."""
    num_q, num_s = off_QS.shape
    free = num_q - 1, num_s - 1, (num_q - 1) * (num_s - 1)
    parts = (
        float((off_QS.sum(axis=1) ** 2).sum()) * num_q / free[0],
        float((off_QS.sum(axis=0) ** 2).sum()) * num_s / free[1],
        float((rest_QS**2).sum()) * num_q * num_s / free[2],
    )
    variance = max(parts[0] + parts[1] - parts[2], parts[2])
    if is_rounding(variance**0.5, size):
        raise AllAlike(what, value)
    degrees = max(1.0, variance**2 / sum(part**2 / df for part, df in zip(parts, free, strict=True)))
    return Estimate(value, variance**0.5, degrees)


def crossed_rate(points_QS: np.ndarray, counts_QS: np.ndarray) -> Interval:
    """95 % interval of a win rate within 0 and 1; `points_QS` are half points, so that sums are exact (win 2, tie 1).
    Where all verdicts are alike it is Wilson's over instructions.

    Raises ValueError when scipy is missing.
    """
    try:
        low, high = crossed(points_QS / 2, counts_QS).interval()
    except AllAlike as reason:
        return alike_rate(reason.value, int((counts_QS.sum(axis=1) > 0).sum()))
    except TooLittle as reason:
        return Interval(None, None, str(reason))
    return Interval(max(0.0, low), min(1.0, high), CROSSED)


def variances(values_QS: np.ndarray, squares_QS: np.ndarray, counts_QS: np.ndarray) -> Variances:
    """The variances behind the answers of one method: what a pilot tells about how many runs a study needs.

    `squares_QS` are the sums of the squared values. The estimates of the analysis of variance (Searle, Casella,
    McCulloch 1992, ch. 4), each at least 0; cells of unequal size count with their harmonic mean. Raises TooLittle for
    fewer than two instructions, two runs, or two answers in a cell, and AllAlike.
    """
    num_q, num_s = counts_QS.shape
    if num_q < 2 or num_s < 2 or counts_QS.min() < 2:
        few = int(counts_QS.min()) if counts_QS.size else 0
        raise TooLittle(f"{num_q} instructions, {num_s} runs, {few} answers; variances take two of each")
    within = float((squares_QS - values_QS**2 / counts_QS).sum() / (counts_QS - 1).sum())
    y_QS = values_QS / counts_QS
    mean_q, mean_s = y_QS.mean(axis=1), y_QS.mean(axis=0)
    rest_QS = y_QS - mean_q[:, None] - mean_s[None, :] + y_QS.mean()
    if is_rounding(np.ptp(y_QS), _size(y_QS)) and is_rounding(within, _size(y_QS) ** 2):
        raise AllAlike("all answers", float(y_QS.mean()))
    residual = float((rest_QS**2).sum()) / ((num_q - 1) * (num_s - 1))
    return Variances(
        between_instructions=max(0.0, float(mean_q.var(ddof=1)) - residual / num_s),
        between_runs=max(0.0, float(mean_s.var(ddof=1)) - residual / num_q),
        interaction=max(0.0, residual - within * float((1 / counts_QS).mean())),
        within=within,
    )
