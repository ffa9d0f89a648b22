"""The report on a set of verdicts: counts, position bias, decisiveness by similarity, interplay, transitivity.

Its numbers are a function of the verdicts alone. Counts of outcomes are over all candidates, so that they add up;
everything else is over different comparisons, so that a repeated candidate is not counted as evidence twice.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from jpo_dist.pairing.embedding import word_cosines
from jpo_dist.records.comparisons import CONDITIONAL, JOINT, Item
from jpo_dist.records.groups import MOST_VALUES
from jpo_dist.records.split import counts_of
from jpo_dist.records.text import as_text
from jpo_dist.statistics.intervals import wilson

if TYPE_CHECKING:
    from jpo_dist.judge.verdict import Judged

NO_VERDICT = ("unparsable", "failed", "not asked")
OUTCOMES = ("decided", "tie", *NO_VERDICT)
SIMILARITY_EDGES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Edges of the bins of joint comparisons; the last bin includes 1. Conditional ones have a row of their own, at 1."""
_ROWS_AT_A_TIME = 2048


def report(judged: "Sequence[Judged]", annotator: str) -> dict[str, Any]:
    """All that the functions below tell of these verdicts, JSON-able. Rates are None where their denominator is 0."""
    different = _different(judged)
    decided = [one.comparison for one in different if one.comparison is not None and not one.comparison.tie]
    return {
        "annotator": annotator,
        "candidates": len(judged),
        "repeated_candidates": len(judged) - len(different),
        **({"splits": splits} if (splits := by_split(judged)) else {}),
        "outcomes": _outcomes(judged),
        "by_protocol": {
            name: _outcomes([one for one in judged if one.protocol == name]) for name in (CONDITIONAL, JOINT)
        },
        "position": position(one.letters for one in different),
        "similarity": by_similarity(different),
        "interplay": interplay(different),
        "transitivity": transitivity([(made.winner, made.loser) for made in decided]),
        "reasons": dict(sorted(Counter(one.reason.split(":")[0] for one in judged if one.reason).items())),
        **({"groups": groups} if (groups := by_group(judged)) else {}),
    }


def _different(judged: "Sequence[Judged]") -> "list[Judged]":
    return list({frozenset((one.candidate.first, one.candidate.second)): one for one in judged}.values())


def by_split(judged: "Sequence[Judged]") -> dict[str, int]:
    """Verdicts of each split, which are what the set has of it; {} where the candidates have none."""
    return counts_of([one.candidate.split for one in judged if one.comparison is not None])


def by_group(judged: "Sequence[Judged]") -> dict[str, dict[str, Any]]:
    """For each group that the candidates have, such as the country: `values`, a row for each of the most frequent ones
    with its outcomes, its `tie_share` as [share, low, high] of verdicts (Wilson, 95 %) and its `position`;
    `more_values`, how many others there are; `no_value`, candidates without one.
    """
    names = dict.fromkeys(name for one in judged for name, _ in one.candidate.groups)
    return {name: _of_group(judged, name) for name in names}


def _of_group(judged: "Sequence[Judged]", name: str) -> dict[str, Any]:
    members: defaultdict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        value = dict(one.candidate.groups).get(name)
        if value is not None:
            members[value].append(one)
    order = sorted(members, key=lambda value: (-len(members[value]), value))
    return {
        "values": [_group_row(value, members[value]) for value in order[:MOST_VALUES]],
        "more_values": max(0, len(order) - MOST_VALUES),
        "no_value": len(judged) - sum(map(len, members.values())),
    }


def _group_row(value: str, members: "Sequence[Judged]") -> dict[str, Any]:
    different = _different(members)
    counts = Counter(one.outcome for one in different)
    return {
        "value": value,
        "candidates": len(members),
        **_outcomes(members),
        "tie_share": wilson(counts["tie"], counts["decided"] + counts["tie"]),
        "position": position(one.letters for one in different),
    }


def _outcomes(judged: "Sequence[Judged]") -> dict[str, Any]:
    """Counts, and rates of the first three among the candidates that were asked to the end."""
    counts = Counter(str(one.outcome) for one in judged)
    asked = sum(counts[name] for name in OUTCOMES[:3])
    rates = {f"{name}_rate": rate(counts[name], asked) for name in OUTCOMES[:3]}
    return {**{name: counts[name] for name in OUTCOMES}, **rates}


def rate(part: float, whole: float) -> float | None:
    """part / whole; None where whole is 0."""
    return part / whole if whole else None


def position(letters: Iterable[str]) -> dict[str, Any]:
    """How often the first of the two shown wins, over comparisons with a label in both orders.

    Without a bias it is one half whatever the items are, since each is shown first once. All of the bias is in the
    ties: `aa` first both times, `bb` second both times. `interval`: 95 %, from the normal approximation over
    comparisons, which have 2, 1 or 0 first places each.
    """
    counts = Counter(letters)
    first, split, second = counts["aa"], counts["ab"] + counts["ba"], counts["bb"]
    total = first + split + second
    if not total:
        return {"comparisons": 0, "always_first": 0, "always_second": 0, "first_rate": None, "interval": None}
    mean = (first + split / 2) / total
    variance = (first * (1 - mean) ** 2 + split * (0.5 - mean) ** 2 + second * mean**2) / total
    half = 1.96 * (variance / total) ** 0.5
    return {
        "comparisons": total,
        "always_first": first,
        "always_second": second,
        "first_rate": mean,
        "interval": [max(0.0, mean - half), min(1.0, mean + half)],
    }


def by_similarity(judged: "Sequence[Judged]") -> list[dict[str, Any]]:
    """Decisiveness, decided / (decided + tie), by the TF-IDF cosine of the two instructions."""
    joint = [one for one in judged if one.protocol == JOINT]
    cosines = similarities([(one.candidate.first, one.candidate.second) for one in joint])
    bins = np.clip(np.searchsorted(SIMILARITY_EDGES, cosines, side="right") - 1, 0, len(SIMILARITY_EDGES) - 2)
    rows: list[tuple[str, float, float, list[Judged]]] = [
        (JOINT, low, high, [one for one, at in zip(joint, bins, strict=True) if at == number])
        for number, (low, high) in enumerate(pairwise(SIMILARITY_EDGES))
    ]
    rows.append((CONDITIONAL, 1.0, 1.0, [one for one in judged if one.protocol == CONDITIONAL]))
    found = []
    for protocol, low, high, members in rows:
        counts = Counter(one.outcome for one in members)
        decided, ties = counts["decided"], counts["tie"]
        decisiveness = rate(decided, decided + ties)
        found.append(
            {
                "protocol": protocol,
                "from": low,
                "to": high,
                "candidates": len(members),
                "decided": decided,
                "tie": ties,
                "decisiveness": decisiveness,
            }
        )
    return found


def similarities(pairs: Sequence[tuple[Item, Item]]) -> np.ndarray:
    """(C,) TF-IDF cosine of the instructions of each pair; 0 for an instruction without a word in it.

    The weights are those of all instructions in the pairs. Raises ModuleNotFoundError without scikit-learn.
    """
    rows: dict[str, int] = {}
    first_C, second_C = (
        np.array([rows.setdefault(as_text(pair[side].instruction), len(rows)) for pair in pairs], dtype=np.int64)
        for side in (0, 1)
    )
    return word_cosines(list(rows), first_C, second_C)


ROLES = ("chosen vs chosen", "rejected vs rejected", "chosen vs rejected", "unknown")


def interplay(judged: "Sequence[Judged]") -> dict[str, dict[str, Any]]:
    """Joint verdicts by what each item was in its own conditional comparisons: always chosen, always rejected, or
    unknown (in none that was decided, or once so and once otherwise).

    `chosen_wins` is of decided joint comparisons of a chosen and a rejected item.
    """
    won, lost = set(), set()
    for one in judged:
        if one.protocol == CONDITIONAL and one.outcome == "decided" and one.comparison is not None:
            won.add(one.comparison.winner)
            lost.add(one.comparison.loser)
    chosen, rejected = won - lost, lost - won
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in judged:
        if one.protocol == JOINT:
            pair = one.candidate[:2]
            kind = _roles([item in chosen for item in pair], [item in rejected for item in pair])
            counts[kind][one.outcome] += 1
            is_mixed = kind == "chosen vs rejected" and one.outcome == "decided" and one.comparison is not None
            counts[kind]["chosen_wins"] += is_mixed and one.comparison.winner in chosen  # type: ignore[union-attr]
    return {kind: _interplay_row(kind, counts[kind]) for kind in ROLES}


def _roles(is_chosen: list[bool], is_rejected: list[bool]) -> str:
    if all(is_chosen):
        return ROLES[0]
    if all(is_rejected):
        return ROLES[1]
    return ROLES[2] if any(is_chosen) and any(is_rejected) else ROLES[3]


def _interplay_row(kind: str, counts: Counter[str]) -> dict[str, Any]:
    decided, ties = counts["decided"], counts["tie"]
    row: dict[str, Any] = {"decided": decided, "tie": ties, "decisiveness": rate(decided, decided + ties)}
    if kind == "chosen vs rejected":
        row |= {"chosen_wins": counts["chosen_wins"], "chosen_wins_rate": rate(counts["chosen_wins"], decided)}
    return row


def transitivity(edges: Sequence[tuple[Item, Item]]) -> dict[str, Any]:
    """How many triples of items with all three comparisons decided are cycles (a beats b beats c beats a).

    One edge (winner, loser) for each two items. Exact.
    """
    rows: dict[Item, int] = {}
    winners = np.array([rows.setdefault(winner, len(rows)) for winner, _ in edges], dtype=np.int64)
    losers = np.array([rows.setdefault(loser, len(rows)) for _, loser in edges], dtype=np.int64)
    cyclic, triads = count_triads(winners, losers, len(rows))
    return {"triads": triads, "cyclic": cyclic, "cyclic_rate": rate(cyclic, triads)}


def count_triads(winners_C: np.ndarray, losers_C: np.ndarray, num_items: int) -> tuple[int, int]:
    """(cyclic triads, all triads) of a graph with at most one edge between two items.

    Every edge is turned from its item of lower degree to that of higher degree: then no row has more than sqrt(2 C)
    entries, and an item that was compared with all others costs nothing. A plain product of the adjacency matrix with
    itself would square its degree. With rows u < v < w in that order and an edge marked P where the lower one wins and
    M where it loses, a triad is cyclic when its edges (uv, vw, uw) are PPM or MMP.
    """
    if len(winners_C) == 0:
        return 0, 0
    from scipy import sparse  # type: ignore[import-untyped]

    degree = np.bincount(np.concatenate([winners_C, losers_C]), minlength=num_items)
    rank = np.empty(num_items, dtype=np.int64)
    rank[np.argsort(degree, kind="stable")] = np.arange(num_items)
    low, high = np.minimum(rank[winners_C], rank[losers_C]), np.maximum(rank[winners_C], rank[losers_C])
    lower_wins = rank[winners_C] < rank[losers_C]

    def matrix(keep: np.ndarray) -> Any:
        ones = np.ones(int(keep.sum()), dtype=np.int64)
        return sparse.csr_matrix((ones, (low[keep], high[keep])), shape=(num_items, num_items))

    plus, minus = matrix(lower_wins), matrix(~lower_wins)
    both = plus + minus
    cyclic = _closed(plus, plus, minus) + _closed(minus, minus, plus)
    return cyclic, _closed(both, both, both)


def _closed(uv: Any, vw: Any, uw: Any) -> int:
    """Triples with the first edge in `uv`, the second in `vw` and the third in `uw`. In blocks: the product may have
    many more entries than its factors."""
    starts = range(0, uv.shape[0], _ROWS_AT_A_TIME)
    blocks = [slice(start, start + _ROWS_AT_A_TIME) for start in starts]
    return int(sum((uv[rows] @ vw).multiply(uw[rows]).sum() for rows in blocks))


def metrics(summary: dict[str, Any]) -> dict[str, float]:
    """The report's rates and counts as flat numbers, for tracking."""
    outcomes, place, cycles = summary["outcomes"], summary["position"], summary["transitivity"]
    flat = {f"judge/{name.replace(' ', '_')}": value for name, value in outcomes.items()}
    flat |= {"judge/candidates": summary["candidates"], "judge/first_rate": place["first_rate"]}
    flat |= {"judge/cyclic_rate": cycles["cyclic_rate"], "judge/triads": cycles["triads"]}
    flat |= {f"judge/{name}": value for name, value in summary.get("usage", {}).items()}
    for name, group in summary.get("groups", {}).items():
        for row in group["values"]:
            flat |= {f"judge/group/{name}/{row['value']}/{key}": row[key] for key in ("candidates", "tie_rate")}
    return {name: float(value) for name, value in flat.items() if value is not None}
