"""Items that are learned from one by one: each is a comparison of the item with itself, a loop in the graph.

So reading, splitting, planning and scoring treat them as they treat comparisons. Legend: C examples.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from jpo_dist.records.columns.item_rows import ItemRows
from jpo_dist.records.columns.lists import RATING_SCHEMA, ComparisonList
from jpo_dist.records.columns.pages import ROWS_AT_ONCE
from jpo_dist.records.comparisons import ComparisonSet, Item


class Example(NamedTuple):
    """An item to learn from."""

    item: Item
    weight: float = 1.0
    desirable: bool = True
    """False: the policy shall avoid the response. Only losses that ask for a label look at it."""
    source: str = ""


class Examples(ComparisonSet):
    """Items and the examples that they are, with a column `desirable` beside those of comparisons."""

    COUNTED: ClassVar[str] = "examples"

    @classmethod
    def of(cls, examples: Iterable[Example]) -> "Examples":
        """Collapse equal items to one row, in order of first appearance; keep every example, in order."""
        items, examples = ItemRows(), list(examples)
        rows_C = items.rows_of([example.item for example in examples])
        weights, labels, sources = ([getattr(e, name) for e in examples] for name in ("weight", "desirable", "source"))
        return cls.of_columns(items, rows_C, weights, labels, sources)

    @classmethod
    def of_columns(
        cls, items: ItemRows, rows_C: np.ndarray, weights: list[float], labels: list[bool], sources: list[str]
    ) -> "Examples":
        """The same of columns, which name rows of `items`."""
        found = ComparisonList(items=items)
        for start in range(0, len(rows_C), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            loops = rows_C[part]
            columns = {"weight": weights[part], "source": sources[part]}
            columns |= {"tie": [False] * len(loops), "origin": ["stated"] * len(loops)}
            found.add_batch(found.batch(loops, loops, columns))
        whole, _ = ComparisonSet.of_rows(items, found.table(), RATING_SCHEMA.empty_table())
        return cls(whole.items, whole.comparisons.append_column("desirable", pa.array(labels, pa.bool_())))

    @cached_property
    def desirable_C(self) -> np.ndarray:
        return self.comparisons["desirable"].to_numpy()
