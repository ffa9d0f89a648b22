"""What is said of a file whose columns are not those that it should have."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from jpo_dist.data.layouts.detect import LAYOUTS, PLAIN

ROWS_TO_DETECT = 1000
"""The layout of a table is that of most of its first rows."""


def keys_of(rows: Iterable[dict[str, Any]]) -> set[str]:
    """All names that rows have."""
    return {name for row in rows for name in row}


def refuse_absent(place: str, key: str, name: str, there: set[str]) -> None:
    """Raises ValueError for a name that no row has.

    A slip in a name must not make every row of the file bad, or leave it to the columns that layouts know.
    """
    if name not in there:
        near = get_close_matches(name, sorted(there), n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"{place}: {key} ({name}) is in none of its rows (the first {ROWS_TO_DETECT} were looked at); "
            f"{meant}there are: {', '.join(sorted(there))}"
        )


def lacking(columns: set[str]) -> str:
    """The layout that these columns would be of but for one, as words in brackets; nothing where there is none."""
    near = [one for one in LAYOUTS if len(one.columns) > 2 and len(set(one.columns) - columns) == 1]
    if not near:
        return ""
    first = max(near, key=lambda one: len(one.columns))
    return f" ({first.name} needs {min(set(first.columns) - columns)} too)"


def nearest(columns: set[str], name: str | None) -> str:
    """Column names of the three layouts that have most of these columns, and, of equal ones, the usual ones first."""
    usual = ("paper", "explicit", "rating")
    # Rows of `answers` are written by jpo generate: nobody renames columns to them.
    known = [layout for layout in PLAIN if name == layout.name or (name is None and layout.name != "answers")]
    known.sort(key=lambda layout: (-len(columns & set(layout.columns)), layout.name not in usual))
    return "; ".join(" ".join(layout.columns) for layout in known[:3])
