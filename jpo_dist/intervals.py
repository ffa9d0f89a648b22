"""Confidence intervals of a mean and of a share."""

import numpy as np


def bootstrap_interval(values: np.ndarray, seed: int = 0, draws: int = 2000) -> tuple[float, float]:
    """95 % percentile interval of the mean, resampling comparisons (Efron, 1979). (nan, nan) for no values."""
    if not len(values):
        return float("nan"), float("nan")
    rng = np.random.Generator(np.random.PCG64(seed))
    sampled = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    low, high = np.percentile(sampled, [2.5, 97.5])
    return float(low), float(high)


def wilson(successes: int, trials: int) -> list[float] | None:
    """[share, low, high] with Wilson's 95 % interval; None without trials. Raises ValueError when scipy is missing."""
    if not trials:
        return None
    try:
        from scipy.stats import binomtest  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError("intervals need scipy; pip install 'jpo-dist[data]'") from error
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return [successes / trials, float(interval.low), float(interval.high)]
