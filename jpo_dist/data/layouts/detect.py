"""All layouts, and which of them a row is of."""

from collections.abc import Collection, Mapping
from typing import Any

from jpo_dist.data import row_values
from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.own import ALONE, CANDIDATES, EXPLICIT, IMPLICIT, OF_PAIRS, OF_RESPONSES
from jpo_dist.data.row_values import BadField, Row

PLAIN: tuple[Layout, ...] = (*OF_PAIRS, EXPLICIT, IMPLICIT, *OF_RESPONSES, *CANDIDATES, *ALONE)
"""Those whose columns people give to data of their own."""
LAYOUTS: tuple[Layout, ...] = PLAIN
"""In this order: where two fit a row, the one with more columns comes first, so that none is overlooked."""
COLUMNS = frozenset(column for layout in LAYOUTS for column in layout.reads) | row_values.NUMBERS
NAMES = tuple(dict.fromkeys(layout.name for layout in LAYOUTS))


def layout_of(row: Mapping[str, Any] | Collection[str], name: str | None = None) -> Layout | None:
    """The first layout (of that name) whose columns are all there. Column names alone fit a layout that looks at values
    too."""
    values: Row = row if isinstance(row, Mapping) and name is None else {}
    for layout in LAYOUTS:
        fits = layout.fits if values else None
        if name in (None, layout.name) and set(layout.columns) <= set(row) and (fits is None or fits(values)):
            return layout
    return None


def read_row(layout: Layout, row: Row, names: Names, named: bool = False) -> Reading:
    """Read one row. Columns that the layout does not know, `weight` and `confidence` aside, are ignored.

    Raises BadField. A row whose columns are of another layout is bad, unless the layout was `named`.
    """
    for column in layout.columns:
        if column not in row:
            raise BadField(column, "missing field")
    if not named and _first(row, layout) is not layout:
        raise BadField("", "another layout")
    return layout.read(row, names)


def _first(row: Row, chosen: Layout) -> Layout | None:
    """The first layout whose columns are all there. One that goes by values is passed over unless its table was taken
    for it: which of two a table is, is not asked again for each row."""
    known = (layout for layout in LAYOUTS if layout.fits is None or layout is chosen)
    return next((layout for layout in known if set(layout.columns) <= row.keys()), None)
