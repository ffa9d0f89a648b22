"""Confidence intervals of a mean and of a share."""

import math

import numpy as np

Z95 = 1.959963984540054
"""95 % of a normal distribution lie within so many standard deviations."""


def bootstrap_interval(values: np.ndarray, seed: int = 0, draws: int = 2000) -> tuple[float, float]:
    """95 % percentile interval of the mean, resampling comparisons (Efron, 1979). (nan, nan) for no values."""
    if not len(values):
        return float("nan"), float("nan")
    rng = np.random.Generator(np.random.PCG64(seed))
    sampled = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    low, high = np.percentile(sampled, [2.5, 97.5])
    return float(low), float(high)


def wilson(successes: float, trials: int) -> list[float] | None:
    """[share, low, high] with Wilson's 95 % interval (Wilson, 1927); None without trials. Halves count too."""
    if not trials:
        return None
    share, z2 = successes / trials, Z95**2 / trials
    center, half = (share + z2 / 2) / (1 + z2), math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    low = 0.0 if not successes else center - half
    high = 1.0 if successes == trials else center + half
    return [share, low, high]
