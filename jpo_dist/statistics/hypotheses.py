"""Tests: is there a difference, is there none worth speaking of, and what is left of several after looking at all."""

from collections.abc import Sequence
from typing import Literal

from jpo_dist.statistics.crossed import Estimate
from jpo_dist.statistics.distributions import fair_coin, t_tail

Reading = Literal["higher", "lower", "equivalent", "undecided"]


def mcnemar(better: int, worse: int) -> float:
    """Two-sided p-value of the exact test of McNemar (1947): `better` and `worse` are the discordant pairs, which the
    hypothesis splits evenly. 1 without any. Raises ValueError when scipy is missing."""
    return fair_coin(better, worse) if better + worse else 1.0


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


def equivalence(difference: Estimate, margin: float) -> float:
    """p-value of the hypothesis that the true difference is `margin` or more, either way (two one-sided tests,
    Schuirmann 1987). Below .05 the 90 % interval lies within the margin. Raises ValueError when scipy is missing.
    """
    if not margin > 0:
        raise ValueError(f"margin ({margin}) must be above 0: it is the largest difference that would not matter")
    return max(
        t_tail((margin - difference.value) / difference.error, difference.degrees),
        t_tail((margin + difference.value) / difference.error, difference.degrees),
    )


def reading(p_value: float, difference: float, p_equivalent: float | None, alpha: float = 0.05) -> Reading:
    """What may be said of a difference. One that is both different and within the margin is still a difference."""
    if p_value < alpha:
        return "higher" if difference > 0 else "lower"
    return "equivalent" if p_equivalent is not None and p_equivalent < alpha else "undecided"
