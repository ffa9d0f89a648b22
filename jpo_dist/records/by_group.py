"""Comparisons by who judged: how many each group made, how often it sees no difference, and whom it agrees with.

Two judgments are two comparisons of the same two items. They agree when they name the same winner, or are ties both.
Judgments of one annotator are not compared with each other; where the annotator is not known, each is another's.

Legend: C comparisons.
"""

from typing import Any

import numpy as np

from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.groups import ANNOTATOR, Grouping, grouping, names_of
from jpo_dist.statistics.intervals import wilson

MOST_VALUES = 100
"""Values of one group that a report has a row for: the most frequent ones."""


def by_group(built: ComparisonSet) -> dict[str, dict[str, Any]]:
    """For each group of a set: `values`, a row for each of the most frequent ones; `more_values`, how many others
    there are; `no_value`, comparisons without any; `agreement` among all that have a value.

    A row has `value`, `comparisons`, `conditional`, `joint` (both decided), `ties`, `tie_share` as [share, low, high],
    and `within` and `with_others`: how many pairs of judgments are of the same two items (`of`), both of this group or
    one of it and one of another value, and the share that agrees as [share, low, high] (`agree`; None without a pair).
    Intervals are Wilson's at 95 %, which take each pair of judgments for independent of the others.
    """
    return {name: _report(built, grouping(built, name)) for name in names_of(built)}


def _report(built: ComparisonSet, group: Grouping) -> dict[str, Any]:
    counts = group.counts()
    kinds_C = np.where(built.is_tie_C, 2, built.is_joint_C.astype(np.int64))
    has_C = group.codes_C >= 0
    table = np.bincount(group.codes_C[has_C] * 3 + kinds_C[has_C], minlength=3 * len(counts)).reshape(-1, 3).tolist()
    agreement = agreements(built, group.codes_C, len(counts))
    rows = [
        {
            "value": value, "comparisons": count, "conditional": conditional, "joint": joint, "ties": ties,
            "tie_share": wilson(ties, count), "within": agreement["within"][code],
            "with_others": agreement["with_others"][code],
        }
        for code, (value, count, (conditional, joint, ties)) in enumerate(zip(group.values, counts, table, strict=True))
        if code < MOST_VALUES
    ]  # fmt: skip
    return {
        "values": rows,
        "more_values": max(0, len(counts) - MOST_VALUES),
        "no_value": group.num_without,
        "agreement": agreement["all"],
    }


def agreements(built: ComparisonSet, codes_C: np.ndarray, num_values: int) -> dict[str, Any]:
    """Pairs of judgments and the share that agrees: `within` each value and `with_others`, a list by value, and `all`.

    With n(k) the number of a judgment's fellows that are alike in k (items u, value v, annotator a, answer d), the
    pairs within a value are the half of sum n(uv) - n(uva) over its judgments, those with others
    sum n(u) - n(uv) - n(ua) + n(uva), and those that agree the same with d added to each k.
    """
    has = codes_C >= 0
    low_C, high_C = np.minimum(built.winners_C, built.losers_C), np.maximum(built.winners_C, built.losers_C)
    u = _numbers(low_C[has] * built.num_items + high_C[has])
    v, a = codes_C[has], _annotators(built)[has]
    d = np.where(built.is_tie_C, 2, (built.winners_C == low_C).astype(np.int64))[has]
    sums: dict[str, list[np.ndarray]] = {"within": [], "with_others": []}
    for more in ((), (d,)):
        n_u, n_uv, n_ua, n_uva = (_alike(u, *keys, *more) for keys in ((), (v,), (a,), (v, a)))
        sums["within"].append(np.bincount(v, n_uv - n_uva, num_values) / 2)
        sums["with_others"].append(np.bincount(v, n_u - n_uv - n_ua + n_uva, num_values))
    found: dict[str, Any] = {
        name: [_share(pairs, agree) for pairs, agree in zip(*both, strict=True)] for name, both in sums.items()
    }
    within, across = ([float(part.sum()) for part in both] for both in sums.values())
    found["all"] = _share(*(one + other / 2 for one, other in zip(within, across, strict=True)))
    return found


def _share(pairs: float, agree: float) -> dict[str, Any]:
    return {"of": round(pairs), "agree": wilson(round(agree), round(pairs))}


def _annotators(built: ComparisonSet) -> np.ndarray:
    """A number for each annotator, and one of its own for each comparison whose annotator is not known, (C,)."""
    codes_C = grouping(built, ANNOTATOR).codes_C
    return np.where(codes_C >= 0, codes_C, len(codes_C) + np.arange(len(codes_C)))


def _alike(*keys: np.ndarray) -> np.ndarray:
    """For each place, at how many places all keys are what they are there."""
    codes = keys[0]
    for key in keys[1:]:
        codes = _numbers(codes * (int(key.max(initial=0)) + 1) + key)
    return np.bincount(codes)[codes]


def _numbers(values: np.ndarray) -> np.ndarray:
    """Equal values, equal numbers, from 0 without gaps."""
    return np.unique(values, return_inverse=True)[1].reshape(-1)
