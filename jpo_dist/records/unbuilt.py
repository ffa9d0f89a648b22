"""A ComparisonSet back as the comparisons and ratings that it was built from, to build another one with more."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.columns.item_rows import ItemRows
from jpo_dist.records.columns.lists import LIST_SCHEMA, ComparisonList, RatingList, rating_table
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Rating, with_ends
from jpo_dist.records.group_column import all_groups


def comparisons_of(built: ComparisonSet) -> Iterator[Comparison]:
    """The comparisons as they were before they became tables."""
    found = ComparisonList()
    unbuild(built, found, RatingList(items=found.items))
    return iter(found)


def ratings_of(built: ComparisonSet) -> Iterator[Rating]:
    """The scores of its items."""
    found = ComparisonList()
    scores = RatingList(items=found.items)
    unbuild(built, found, scores)
    return iter(scores)


def unbuild(
    built: ComparisonSet, comparisons: ComparisonList, ratings: RatingList, with_splits: bool = False
) -> np.ndarray:
    """Add the comparisons and the scores of a set to lists that share their items. Their splits stay behind, since
    another set has its own, unless they are asked for.

    Returns the row that each item of the set has there, (N,): items without a comparison or score are there too.
    """
    rows_N = _rows(built, comparisons.items)
    edges = with_ends(all_groups(built.comparisons), rows_N[built.winners_C], rows_N[built.losers_C])
    if not with_splits:
        at = edges.schema.get_field_index("split")
        edges = edges.set_column(at, LIST_SCHEMA.field("split"), pa.nulls(len(edges), pa.string()))
    comparisons.add_columns(edges.select(LIST_SCHEMA.names).cast(LIST_SCHEMA))
    scored = pc.is_valid(built.items["score"])
    scores, scales = (built.items[name].filter(scored) for name in ("score", "scale"))
    ratings.add_columns(rating_table(rows_N[scored.to_numpy()], scores, scales, pa.repeat("", len(scores))))
    return rows_N


def _rows(built: ComparisonSet, items: ItemRows) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *(items.rows_of(part) for part in built.items_by_chunk())])
