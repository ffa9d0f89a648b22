"""What sources have in common that are joined later: the rows of their items, and scales that no two rankings share.

A ranking compares within its row alone, so its scale is TABLE:LINE. Files of different folders have the same name, and
a set has brought its scales from the files that it was built from: TABLE is the name the first time, then NAME#2, …
"""

import re
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.columns.item_rows import ItemRows
from jpo_dist.records.item import ITEM_SCHEMA

_OF_A_ROW = re.compile(r"(?P<table>.+?)(?P<row>:\d+(#.*)?)", re.DOTALL)
"""The scale of a ranking: of a whole row, or of a part of it (trees)."""


class Common:
    """Items, and the names that tables have already."""

    def __init__(self) -> None:
        self.items = ItemRows()
        self._tables, self._times = set[str](), dict[str, int]()

    def table(self, name: str) -> str:
        """A name for a table of that name, which no other table has."""
        for times in count(self._times.get(name, 0) + 1):
            found = name if times == 1 else f"{name}#{times}"
            if found not in self._tables:
                break
        self._times[name] = times
        self._tables.add(found)
        return found

    def apart(self, items: pa.Table) -> pa.Table:
        """The items of a set (ITEM_SCHEMA) with rankings that share no scale with those of other tables; scores keep
        theirs."""
        scales = items["scale"].combine_chunks().dictionary_encode()
        names = scales.dictionary.to_pylist()
        scored = items["scale"].filter(pc.greater(items["score"], 0))  # the first of a ranking has 0
        of_scores = set(pc.unique(scored).to_pylist())
        rows = [None if name in of_scores else _OF_A_ROW.fullmatch(name) for name in names]
        tables = {table: self.table(table) for table in dict.fromkeys(row["table"] for row in rows if row)}
        if all(old == new for old, new in tables.items()):
            return items
        renamed = [tables[row["table"]] + row["row"] if row else name for name, row in zip(names, rows, strict=True)]
        column = pa.array(renamed, pa.string()).take(scales.indices)
        at = ITEM_SCHEMA.get_field_index("scale")
        return items.set_column(at, ITEM_SCHEMA.field("scale"), column)
