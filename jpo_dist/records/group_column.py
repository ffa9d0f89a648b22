"""How a table of comparisons holds what is known of who judged. What can be done with it: jpo_dist.records.groups."""

from collections.abc import Sequence

import pyarrow as pa

Groups = tuple[tuple[str, str], ...]
"""Pairs of name and value, such as ("country", "DE"), each name once."""
GROUPS = pa.field("groups", pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())])))
"""No Arrow map: `datasets` cannot read one."""


def with_groups(table: pa.Table, groups_C: Sequence[Groups]) -> pa.Table:
    """The table with a column GROUPS; as it is where no comparison has groups, so that such sets keep their
    fingerprints and their files."""
    if not any(groups_C):
        return table
    rows = [[{"name": name, "value": value} for name, value in groups] for groups in groups_C]
    return table.append_column(GROUPS, pa.array(rows, GROUPS.type))


def schema_of(file: pa.Schema, least: pa.Schema) -> pa.Schema:
    """`least`, and GROUPS where the schema of a file has it."""
    return least.append(GROUPS) if GROUPS.name in file.names else least
