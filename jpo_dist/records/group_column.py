"""How a table of comparisons holds what is known of who judged. What can be done with it: jpo_dist.records.groups."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Groups = tuple[tuple[str, str], ...]
"""Pairs of name and value, such as ("country", "DE"), each name once."""
GROUPS = pa.field("groups", pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())])))
"""No Arrow map: `datasets` cannot read one."""


def named(groups: Groups, names: Sequence[str]) -> Groups:
    """Those of the groups that have one of these names."""
    return tuple(pair for pair in groups if pair[0] in names)


def column_of(groups_C: Sequence[Groups]) -> pa.Array:
    """Groups as a column."""
    ends = np.cumsum([0, *map(len, groups_C)]) if any(groups_C) else np.zeros(len(groups_C) + 1, np.int64)
    pairs = [pair for groups in groups_C for pair in groups]
    sides = [pa.array([pair[n] for pair in pairs], pa.string()) for n in (0, 1)]
    structs = pa.StructArray.from_arrays(sides, fields=list(GROUPS.type.value_type))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs, type=GROUPS.type)


def groups_in(column: pa.Array) -> list[Groups]:
    """The groups of a column."""
    if not has_groups(column):
        return [()] * len(column)
    return [tuple((pair["name"], pair["value"]) for pair in pairs or ()) for pairs in column.to_pylist()]


def has_groups(column: pa.Array) -> bool:
    """Whether anything in a column has a group."""
    return bool(pc.any(pc.greater(pc.list_value_length(column), 0)).as_py())


def all_groups(table: pa.Table) -> pa.Table:
    """The table with a column GROUPS, which is empty where it had none."""
    if GROUPS.name not in table.column_names:
        return table.append_column(GROUPS, column_of([()] * len(table)))
    if not table[GROUPS.name].null_count:
        return table
    filled = [column_of(groups_in(chunk)) for chunk in table[GROUPS.name].chunks]
    return table.set_column(table.column_names.index(GROUPS.name), GROUPS, pa.chunked_array(filled, GROUPS.type))


def needed_groups(table: pa.Table) -> pa.Table:
    """The table without its column GROUPS where nothing in it has a group, so that such sets keep their fingerprints
    and their files."""
    return table if has_groups(table[GROUPS.name]) else table.drop_columns([GROUPS.name])


def schema_of(file: pa.Schema, least: pa.Schema) -> pa.Schema:
    """`least`, and GROUPS where the schema of a file has it."""
    return least.append(GROUPS) if GROUPS.name in file.names else least
