"""Preferences as a graph: items are its nodes, comparisons its edges.

Legend: N items, C comparisons, R ratings. `winners_C[c]` and `losers_C[c]` are row numbers into the items.
What an item and a comparison are: jpo_dist.records.item. How a set is kept in a folder: jpo_dist.records.folder.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.columns.fingerprint import fingerprint_of
from jpo_dist.records.columns.item_rows import ItemRows, items_in
from jpo_dist.records.columns.lists import ComparisonList, RatingList
from jpo_dist.records.columns.numbering import first_places
from jpo_dist.records.columns.pages import Picked, chunks, kept_rows
from jpo_dist.records.group_column import needed_groups
from jpo_dist.records.item import (
    COMPARISON_SCHEMA,
    CONDITIONAL,
    ITEM_SCHEMA,
    JOINT,
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    Comparison,
    Item,
    Message,
    Origin,
    Rating,
    digest,
)

__all__ = [
    "COMPARISON_SCHEMA", "CONDITIONAL", "INSTRUCTION", "ITEM_SCHEMA", "JOINT", "RESPONSE", "SPLITS", "TEST", "TRAIN",
    "VALIDATION", "Comparison", "ComparisonSet", "Item", "Message", "Origin", "Rating", "digest",
]  # fmt: skip

INSTRUCTION, RESPONSE = 0, 1


@dataclass(frozen=True)
class ComparisonSet:
    """Items and the comparisons among them, in Arrow tables (ITEM_SCHEMA; COMPARISON_SCHEMA, perhaps groups)."""

    COUNTED: ClassVar[str] = "comparisons"  # what people read that there are so many of

    items: pa.Table
    comparisons: pa.Table

    @classmethod
    def build(cls, comparisons: Iterable[Comparison], ratings: Iterable[Rating] = ()) -> "ComparisonSet":
        """Collapse equal items to one row, in order of first appearance; keep every comparison, in order.

        `ratings` gives items their score (the first one counts) and adds items that no comparison uses.
        """
        found = ComparisonList(comparisons)
        return ComparisonSet.of_rows(found.items, found.table(), RatingList(ratings, found.items).table())[0]

    @staticmethod
    def of_rows(
        items: ItemRows, comparisons: pa.Table, ratings: pa.Table, order: np.ndarray | None = None
    ) -> tuple["ComparisonSet", np.ndarray]:
        """What `build` makes, of columns that name rows of `items`; and which row each item of the set has there.

        `order` names all rows, those first that shall be first; None: comparisons do, then ratings.
        """
        ends_C2 = np.stack([comparisons["winner"].to_numpy(), comparisons["loser"].to_numpy()], axis=1)
        rated_R, scores_R = ratings["item"].to_numpy(), ratings["score"].to_numpy()
        rows_N, _ = first_places(np.concatenate([ends_C2.reshape(-1), rated_R]) if order is None else order)
        texts = items.table()
        if not np.array_equal(rows_N, np.arange(len(items))):
            texts = Picked(texts, rows_N).whole
            place = np.full(len(items), -1, dtype=np.int64)
            place[rows_N] = np.arange(len(rows_N))
            comparisons = with_ends(comparisons, *place[ends_C2].T)
            rated_R = place[rated_R]
        scored = np.flatnonzero(~np.isnan(scores_R))
        item_of, first = first_places(rated_R[scored])
        at_N = np.full(len(rows_N), -1, dtype=np.int64)
        at_N[item_of] = scored[first]
        at = pa.array(at_N, mask=at_N < 0)
        for name in ("score", "scale"):
            texts = texts.append_column(ITEM_SCHEMA.field(name), ratings[name].take(at))
        return ComparisonSet(texts, needed_groups(comparisons)), rows_N

    @property
    def num_items(self) -> int:
        return self.items.num_rows

    def __len__(self) -> int:
        return self.comparisons.num_rows

    @cached_property
    def winners_C(self) -> np.ndarray:
        return self.comparisons["winner"].to_numpy()

    @cached_property
    def losers_C(self) -> np.ndarray:
        return self.comparisons["loser"].to_numpy()

    @cached_property
    def weights_C(self) -> np.ndarray:
        return self.comparisons["weight"].to_numpy()

    @cached_property
    def is_joint_C(self) -> np.ndarray:
        return pc.equal(self.comparisons["protocol"], JOINT).to_numpy()

    @cached_property
    def is_tie_C(self) -> np.ndarray:
        return self.comparisons["tie"].to_numpy()

    def all_items(self) -> list[Item]:
        """In row order, all of them as objects: for sets that are small; others go by `items_by_chunk`."""
        return [item for part in self.items_by_chunk() for item in part]

    def items_by_chunk(self) -> Iterator[list[Item]]:
        """In row order, some thousand at a time."""
        for batch in chunks(self.items.select(["instruction", "response"])):
            yield items_in(batch)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when any item, comparison, weight or their order changes."""
        return fingerprint_of(self.items["id"], self.comparisons)

    def subset(self, keep_C: np.ndarray) -> Self:
        """The comparisons where `keep_C` is true, in order, with only the items they use, in order."""
        comparisons = kept_rows(self.comparisons, keep_C)
        winners, losers = comparisons["winner"].to_numpy(), comparisons["loser"].to_numpy()
        used = np.unique(np.concatenate([winners, losers]))
        comparisons = with_ends(comparisons, np.searchsorted(used, winners), np.searchsorted(used, losers))
        return type(self)(Picked(self.items, used), comparisons)


def with_ends(comparisons: pa.Table, winners_C: np.ndarray, losers_C: np.ndarray) -> pa.Table:
    """Comparisons of other rows."""
    for name, rows_C in (("winner", winners_C), ("loser", losers_C)):
        at = comparisons.schema.get_field_index(name)
        comparisons = comparisons.set_column(at, COMPARISON_SCHEMA.field(name), pa.array(rows_C, pa.int64()))
    return comparisons
