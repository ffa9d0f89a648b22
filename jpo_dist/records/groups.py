"""What is known of who judged a comparison: its groups, choosing comparisons by them, and whom each agrees with.

Legend: C comparisons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.comparisons import Comparison, ComparisonSet
from jpo_dist.records.group_column import GROUPS, Groups
from jpo_dist.statistics.intervals import wilson

ANNOTATOR = "annotator"
"""The column of this name is a group too, and is kept nowhere else."""
_VALUES_SHOWN = 12


class Grouping(NamedTuple):
    """The comparisons of a set by one group, such as the country."""

    name: str
    values: list[str]
    """The most frequent first."""
    codes_C: np.ndarray
    """Which of `values` a comparison has; -1: none."""

    @property
    def num_without(self) -> int:
        """Comparisons without a value."""
        return int((self.codes_C < 0).sum())

    def counts(self) -> list[int]:
        """Comparisons of each value."""
        return np.bincount(self.codes_C[self.codes_C >= 0], minlength=len(self.values)).tolist()

    def told(self) -> str:
        """Its values and their comparisons for people: `country: DE 3,000, FR 2,000, no value 12`."""
        pairs = list(zip(self.values, self.counts(), strict=True))
        parts = [f"{value} {count:,}" for value, count in pairs[:_VALUES_SHOWN]]
        rest = pairs[_VALUES_SHOWN:]
        parts += [f"{len(rest)} more values {sum(count for _, count in rest):,}"] if rest else []
        parts += [f"no value {self.num_without:,}"] if self.num_without else []
        return f"{self.name}: {', '.join(parts)}"


def labelled(comparison: Comparison, groups: Groups) -> Comparison:
    """The comparison with these groups; an annotator goes into the field of its own."""
    if not groups:
        return comparison
    who = dict(groups).get(ANNOTATOR, comparison.annotator)
    return replace(comparison, annotator=who, groups=tuple(pair for pair in groups if pair[0] != ANNOTATOR))


def groups_of(comparison: Comparison) -> Groups:
    """The groups of a comparison, its annotator among them."""
    who = comparison.annotator
    return comparison.groups if who is None else (*comparison.groups, (ANNOTATOR, who))


def shared(first: Groups, second: Groups) -> Groups:
    """What two scores have in common: all that is known of who made a comparison of them."""
    return first if first == second else tuple(pair for pair in first if pair in second)


def names_of(built: ComparisonSet) -> list[str]:
    """The groups that some comparison of a set has a value of, the annotator last."""
    table = built.comparisons
    found: list[str] = []
    if GROUPS.name in table.column_names:
        chunks = [chunk.flatten().field("name") for chunk in table[GROUPS.name].chunks]
        found = pc.unique(pa.chunked_array(chunks, pa.string())).to_pylist()
    return found + ([ANNOTATOR] if table[ANNOTATOR].null_count < len(table) else [])


def grouping(built: ComparisonSet, name: str) -> Grouping:
    """The comparisons of a set by the group `name`; no values where it has no such group."""
    column = built.comparisons[ANNOTATOR] if name == ANNOTATOR else _column(built, name)
    whole = column.combine_chunks().dictionary_encode()
    found, codes_C = whole.dictionary.to_pylist(), pc.fill_null(whole.indices, -1).to_numpy()
    counts = np.bincount(codes_C[codes_C >= 0], minlength=len(found))
    order = sorted(range(len(found)), key=lambda code: (-counts[code], found[code]))
    rank = np.full(len(found) + 1, -1, dtype=np.int64)  # the last one is where -1 points to
    rank[order] = np.arange(len(found))
    return Grouping(name, [found[code] for code in order], rank[codes_C])


def _column(built: ComparisonSet, name: str) -> pa.ChunkedArray:
    """The value of each comparison, null where it has none."""
    table = built.comparisons
    if GROUPS.name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    return pa.chunked_array([_values(chunk, name) for chunk in table[GROUPS.name].chunks], pa.string())


def _values(chunk: pa.ListArray, name: str) -> pa.Array:
    pairs, rows = chunk.flatten(), pc.list_parent_indices(chunk)
    mine = pc.equal(pairs.field("name"), name)
    values = np.full(len(chunk), None, dtype=object)
    values[rows.filter(mine).to_numpy()] = pairs.field("value").filter(mine).to_numpy(zero_copy_only=False)
    return pa.array(values, pa.string())


def require(built: ComparisonSet, names: Sequence[str], where: str) -> None:
    """Raise ValueError where no comparison of a set has one of these groups."""
    there = names_of(built)
    for name in names:
        if name not in there:
            has = f"there are: {', '.join(there)}" if there else "this set has none; name them where it is built"
            raise ValueError(f"{where}: groups ({name}): no comparison has a value of it; {has}")


def having(built: ComparisonSet, name: str, values: Sequence[str], key: str) -> np.ndarray:
    """Which comparisons have one of these values, (C,). Raises ValueError, that names the setting `key`, for a name or
    a value that no comparison has."""
    found = grouping(built, name)
    if not found.values:
        others = [grouping(built, other).told() for other in names_of(built)]
        there = f"there are {'; '.join(others)}" if others else "none has groups"
        raise ValueError(
            f"{key}.{name}: no comparison has a value of {name}; {there}. A column of a file counts where data.groups "
            "names it"
        )
    for value in values:
        if value not in found.values:
            bare = ". Unquoted, YAML takes NO for false: write 'NO'" if value in ("true", "false") else ""
            raise ValueError(f"{key}.{name} ({value}): no comparison has it; there are {found.told()}{bare}")
    return np.isin(found.codes_C, [found.values.index(value) for value in values])


def choose(
    built: ComparisonSet, only: Mapping[str, Sequence[str]], without: Mapping[str, Sequence[str]], section: str
) -> np.ndarray:
    """Which comparisons are kept, (C,): those that have one of the values of every name in `only`, and of no name in
    `without`. One without a value of the name is left out by `only` and kept by `without`.

    `section` is where the two settings are, for errors. Raises what `having` raises.
    """
    keep_C = np.ones(len(built), dtype=bool)
    for name, values in only.items():
        keep_C &= having(built, name, values, f"{section}.only")
    for name, values in without.items():
        keep_C &= ~having(built, name, values, f"{section}.without")
    return keep_C


# ---- whom a group agrees with
#
# Two judgments are two comparisons of the same two items. They agree when they name the same winner, or are ties both.
# Judgments of one annotator are not compared with each other; where the annotator is not known, each is another's.

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
