"""The distributions that intervals and tests need, from scipy: the one place that imports it for them."""

_NEEDS_SCIPY = "intervals over training runs and p-values need scipy; pip install 'jpo-dist[data]'"


def t_quantile(probability: float, degrees: float) -> float:
    """The value below which Student's t stays with this probability. Raises ValueError when scipy is missing."""
    return float(_stats().t.ppf(probability, degrees))


def t_tail(value: float, degrees: float, shift: float = 0.0) -> float:
    """P(T > value) of Student's t, noncentral with `shift` where that is not 0. Raises ValueError as above."""
    return float(_stats().nct.sf(value, degrees, shift) if shift else _stats().t.sf(value, degrees))


def fair_coin(heads: int, tails: int) -> float:
    """Two-sided p-value of so many heads and tails of a fair coin. Raises ValueError when scipy is missing."""
    return float(_stats().binomtest(heads, heads + tails, 0.5).pvalue)


def _stats():  # type: ignore[no-untyped-def]
    try:
        from scipy import stats  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError(_NEEDS_SCIPY) from error
    return stats
