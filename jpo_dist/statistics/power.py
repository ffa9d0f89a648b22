"""How many instructions and training runs it takes to see a difference between two methods.

Legend: Q instructions, S training runs a method, K answers an instruction and run. The difference of two methods on
the same instructions has the variance

    [w2 + 2 interaction / S + 2 within / (S K)] / Q + 2 tau2 / S

where w2 is the variance between instructions of the true difference and tau2 that between runs of one method. More
instructions shrink the first part only: what runs differ by is left, and takes runs.
"""

from typing import NamedTuple

from jpo_dist.statistics.crossed import Variances
from jpo_dist.statistics.distributions import t_quantile, t_tail
from jpo_dist.statistics.intervals import ALIKE


class Power(NamedTuple):
    """What a design can show."""

    error: float
    """Standard error of the difference."""
    half_width: float
    """Half the 95 % interval that is to be expected."""
    power: float
    """The chance that a true difference of the size asked for is found different from 0, two-sided at 5 %."""


def power(
    of: Variances, instructions: int, runs: int, answers: int, difference: float, w2: float | None = None
) -> Power:
    """Power of the crossed test (crossed_difference) of a true `difference`; rates are between 0 and 1.

    `w2` is the variance between instructions of the true difference; None takes the one between instructions of a
    single method, which is more than most differences have. Raises ValueError for fewer than two runs, and for
    variances that are all 0.
    """
    if runs < 2 or instructions < 2:
        raise ValueError(f"{instructions} instructions and {runs} runs give no interval; take two of each at least")
    between = of.between_instructions if w2 is None else w2
    cell = 2 * of.interaction + 2 * of.within / answers
    of_runs = 2 * of.between_runs
    num = instructions * runs
    squares = (
        (runs * between + cell, instructions - 1),
        (instructions * of_runs + cell, runs - 1),
        (cell, (instructions - 1) * (runs - 1)),
    )
    variance = (squares[0][0] + squares[1][0] - squares[2][0]) / num
    if variance == 0:
        raise ValueError(f"all variances are 0: all answers of the pilot were alike, {ALIKE}; measure on more")
    degrees = max(1.0, variance**2 / sum((mean / num) ** 2 / free for mean, free in squares))
    error = variance**0.5
    critical, shift = t_quantile(0.975, degrees), abs(difference) / error
    found = t_tail(critical, degrees, shift) + (1 - t_tail(-critical, degrees, shift))
    return Power(error, critical * error, found)


def runs_needed(
    of: Variances, instructions: int, answers: int, difference: float, wanted: float = 0.8, most: int = 100
) -> int | None:
    """The fewest runs a method that find a true `difference` with the chance `wanted`; None: more than `most`."""
    found = (runs for runs in range(2, most + 1) if power(of, instructions, runs, answers, difference).power >= wanted)
    return next(found, None)
