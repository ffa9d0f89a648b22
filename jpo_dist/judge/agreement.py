"""How far annotators agree: raw agreement, Cohen's kappa of two of them, Fleiss' kappa of all.

Kappa = (observed - expected) / (1 - expected), where "expected" is the agreement of annotators who answer at random
with their own (Cohen 1960) or the common (Fleiss 1971) shares of each answer: 1 is full agreement, 0 is chance.
The kappas are scikit-learn's and statsmodels'; both come with the extra `data`.
"""

import warnings
from collections import defaultdict
from collections.abc import Hashable, Iterable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

ONE_ANSWER = "every answer is the same, so agreement by chance is certain too and kappa is 0/0"


class Judgment(NamedTuple):
    """What one annotator said about one unit. An annotator has at most one answer to a unit."""

    annotator: str
    unit: Hashable
    answer: str


def agreement(answers: Iterable[Judgment]) -> dict[str, Any]:
    """One JSON-able object about all units with two answers or more.

    - `units`, `shared`: units with an answer, and those with several; `annotators`: how many people answered.
    - `raw`: the share of all pairs of answers to one unit that are equal; None without such a pair.
    - `cohen`: for each two annotators with shared units `annotators`, `units`, `raw`, `kappa`.
    - `fleiss`: for each number of answers a unit has, `answers`, `units`, `kappa`; the formula needs that number equal.

    A kappa that does not exist is None, with the reason as `why`. Raises ValueError when an annotator answers one unit
    twice, or when scikit-learn or statsmodels is missing.
    """
    by_unit = _by_unit(answers)
    shared = [said for said in by_unit.values() if len(said) > 1]
    pairs = [(a, b) for said in shared for a, b in combinations(said.values(), 2)]
    categories = sorted({answer for said in by_unit.values() for answer in said.values()})
    return {
        "annotators": len({annotator for said in by_unit.values() for annotator in said}),
        "units": len(by_unit),
        "shared": len(shared),
        "raw": sum(a == b for a, b in pairs) / len(pairs) if pairs else None,
        "cohen": _cohen(shared),
        "fleiss": _fleiss(shared, categories),
    }


def _by_unit(answers: Iterable[Judgment]) -> dict[Hashable, dict[str, str]]:
    by_unit: dict[Hashable, dict[str, str]] = defaultdict(dict)
    for annotator, unit, answer in answers:
        if annotator in by_unit[unit]:
            raise ValueError(f"annotator {annotator!r} answers {unit!r} twice; keep the newest answer")
        by_unit[unit][annotator] = answer
    return by_unit


def _cohen(shared: list[dict[str, str]]) -> list[dict[str, Any]]:
    both: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for said in shared:
        for one, other in combinations(sorted(said), 2):
            both[one, other].append((said[one], said[other]))
    return [
        {
            "annotators": list(who),
            "units": len(said),
            "raw": sum(a == b for a, b in said) / len(said),
            **cohen_kappa([a for a, _ in said], [b for _, b in said]),
        }
        for who, said in sorted(both.items())
    ]


def cohen_kappa(first: list[str], second: list[str]) -> dict[str, Any]:
    """Cohen's kappa of two annotators over the units that both answered, in the same order."""
    if len({*first, *second}) == 1:
        return {"kappa": None, "why": ONE_ANSWER}
    try:
        from sklearn.metrics import cohen_kappa_score  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError("agreement needs scikit-learn; pip install 'jpo-dist[data]'") from error
    return {"kappa": float(cohen_kappa_score(first, second))}


def _fleiss(shared: list[dict[str, str]], categories: list[str]) -> list[dict[str, Any]]:
    by_count: dict[int, list[list[int]]] = defaultdict(list)
    for said in shared:
        by_count[len(said)].append([list(said.values()).count(category) for category in categories])
    return [
        {"answers": count, "units": len(rows), **fleiss_kappa(np.array(rows))}
        for count, rows in sorted(by_count.items())
    ]


def fleiss_kappa(counts_UK: np.ndarray) -> dict[str, Any]:
    """Fleiss' kappa. `counts_UK[u, k]`: how many annotators gave unit u the answer k; every row has the same sum."""
    if np.count_nonzero(counts_UK.sum(axis=0)) == 1:
        return {"kappa": None, "why": ONE_ANSWER}
    try:
        with warnings.catch_warnings():  # some of its other modules warn about pandas when imported
            warnings.simplefilter("ignore")
            from statsmodels.stats import inter_rater  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError("agreement needs statsmodels; pip install 'jpo-dist[data]'") from error
    return {"kappa": float(inter_rater.fleiss_kappa(counts_UK, method="fleiss"))}
