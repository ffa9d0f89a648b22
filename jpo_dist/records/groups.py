"""What is known of who judged a comparison: its groups, and choosing comparisons by them.

Legend: C comparisons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.comparisons import Comparison, ComparisonSet
from jpo_dist.records.group_column import GROUPS, Groups

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
        there = f"there are {'; '.join(others)}" if others else "none has groups: name columns in data.groups"
        raise ValueError(f"{key}.{name}: no comparison has a value of {name}; {there}")
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
