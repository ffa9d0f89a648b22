"""All layouts, and which of them a row is of."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from jpo_dist.data import row_values
from jpo_dist.data.layouts import argilla, own, public_pairs, public_responses, trees
from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.row_values import BadField, Row

LAYOUTS: tuple[Layout, ...] = (
    *own.OF_PAIRS,
    own.EXPLICIT,
    *public_pairs.ALPACA_AND_SHAREGPT,
    own.IMPLICIT,
    *own.RESPONSES,
    *public_pairs.OF_PAIRS,
    *public_responses.OF_RESPONSES,
    *argilla.ARGILLA,
    *trees.TREES,
    *own.UNSCORED,
    *own.CANDIDATES,
    *public_responses.OF_CONVERSATIONS,
    *own.ALONE,
)
"""In this order: where two fit a row, the one with more columns comes first, so that none is overlooked."""
PLAIN: tuple[Layout, ...] = (*own.OF_PAIRS, own.EXPLICIT, own.IMPLICIT, *own.RESPONSES, *own.UNSCORED, *own.CANDIDATES)
"""Those whose columns people give to data of their own."""
COLUMNS = row_values.NUMBERS.union(*(layout.reads for layout in LAYOUTS if layout not in argilla.ARGILLA))
"""Names that a source may say its own columns under."""
NAMES = tuple(dict.fromkeys(layout.name for layout in LAYOUTS))


def layout_of(row: Mapping[str, Any] | Collection[str], name: str | None = None) -> Layout | None:
    """The first layout (of that name) whose columns are all there. Column names alone fit a layout that looks at values
    too."""
    there = set(row)
    values: Row = row if isinstance(row, Mapping) and name is None else {}
    for layout in LAYOUTS:
        fits = layout.fits if values else None
        if name in (None, layout.name) and there.issuperset(layout.columns) and (fits is None or fits(values)):
            return layout
    return None


def read_row(layout: Layout, row: Row, names: Names, named: bool = False) -> Reading:
    """Read one row. Columns that the layout does not know, `weight` and `confidence` aside, are ignored.

    Raises BadField. A row whose columns are of another layout is bad, unless the layout was `named`.
    """
    for column in layout.columns:
        if column not in row:
            raise BadField(column, "missing field")
    if not named and _first(frozenset(row), layout) is not layout:
        raise BadField("", "another layout")
    return layout.read(row, names)


@lru_cache(maxsize=1024)
def _first(columns: frozenset[str], chosen: Layout) -> Layout | None:
    """The first layout whose columns are all there. One that goes by values is passed over unless its table was taken
    for it: which of two a table is, is not asked again for each row."""
    known = (layout for layout in LAYOUTS if layout.fits is None or layout is chosen)
    return next((layout for layout in known if columns.issuperset(layout.columns)), None)
