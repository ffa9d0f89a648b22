"""All layouts, which of them a row is of, and what is said of a file whose columns are of none."""

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from jpo_dist.data import row_values
from jpo_dist.data.layouts import own
from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.public import (
    argilla,
    judged_pairs,
    judges,
    named_pairs,
    other_forms,
    rated,
    trees,
    turn_by_turn,
)
from jpo_dist.data.row_values import BadField, Row

LAYOUTS: tuple[Layout, ...] = (
    *own.OF_PAIRS,
    other_forms.LISTS,
    own.EXPLICIT,
    judged_pairs.ORCA,
    *named_pairs.ALPACA_AND_SHAREGPT,
    own.IMPLICIT,
    *own.RESPONSES,
    *judged_pairs.OF_PAIRS,
    *judges.OF_PAIRS,
    *named_pairs.OF_PAIRS,
    *named_pairs.SWIFT,
    *named_pairs.BESIDE,
    *other_forms.OF_MESSAGES,
    *rated.OF_RESPONSES,
    *argilla.ARGILLA,
    *turn_by_turn.OF_RESPONSES,
    *trees.TREES,
    *own.LABELED,
    *own.UNSCORED,
    *own.CANDIDATES,
    *rated.OF_CONVERSATIONS,
    *own.ALONE,
    *rated.DEMONSTRATIONS,
)
"""In this order: where two fit a row, the one with more columns comes first, so that none is overlooked."""
PLAIN: tuple[Layout, ...] = (*own.OF_PAIRS, own.EXPLICIT, own.IMPLICIT, *own.RESPONSES, *own.UNSCORED, *own.CANDIDATES)
"""Those whose columns people give to data of their own."""
COLUMNS = row_values.NUMBERS.union(*(layout.reads for layout in LAYOUTS if layout not in argilla.ARGILLA))
"""Names that a source may say its own columns under."""
_BY_NAMES = frozenset(frozenset(layout.columns) for layout in LAYOUTS if layout.fits is None)
ROWS_TO_DETECT = 1000
"""The layout of a table is that of most of its first rows."""
NAMES = tuple(dict.fromkeys(layout.name for layout in LAYOUTS))


def layout_of(row: Mapping[str, Any] | Collection[str], name: str | None = None) -> Layout | None:
    """The first layout (of that name) whose columns are all there. Column names alone fit a layout that looks at values
    too, unless one that does not has the same columns."""
    there = set(row)
    values: Row = row if isinstance(row, Mapping) and name is None else {}
    for layout in LAYOUTS:
        fits = layout.fits if values else None
        if not values and layout.fits and name is None and frozenset(layout.columns) in _BY_NAMES:
            continue
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


# ---- files of no layout


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


def refuse_by_column(place: str, rows: list[dict[str, Any]]) -> None:
    """Raises ValueError for a file that is one object, as pandas writes a table where nobody says how."""
    row = rows[0] if len(rows) == 1 else {}
    first = next(iter(row.values()), None)
    numbers = first.keys() if isinstance(first, dict) and all(map(str.isdecimal, first)) else None
    if numbers and all(isinstance(value, dict) and value.keys() == numbers for value in row.values()):
        how = "column by column"
    elif row.keys() == {"columns", "index", "data"}:
        how = "the names of its columns apart"
    else:
        return
    raise ValueError(
        f"{place}: is one object with a whole table in it, {how}, as pandas writes it: write a row a line, "
        'to_json(…, orient="records", lines=True)'
    )


_WRAPPED = frozenset(
    {"data", "rows", "train", "test", "validation", "valid", "dev", "examples", "records", "samples", "items",
     "entries", "dataset", "instances", "results"}
)  # fmt: skip
"""Names of a list of rows in the one object that a file is."""


def refuse_rows_inside(place: str, rows: list[dict[str, Any]]) -> None:
    """Raises ValueError for a file of no layout that is one object with a list of objects in it."""
    for name, value in rows[0].items() if len(rows) == 1 else ():
        if name in _WRAPPED and isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            inside = ".row" if all(isinstance(one.get("row"), dict) for one in value) else ""
            raise ValueError(
                f"{place}: is one object, and its {name} may be the rows ({len(value)}): write a row a line, such as "
                f"by jq -c '.{name}[]{inside}' FILE > rows.jsonl"
            )


OPPOSED = (
    ("chosen", "rejected"), ("chosen", "reject"), ("good", "bad"), ("best", "worst"), ("better", "worse"),
    ("win", "lose"), ("winner", "loser"), ("positive", "negative"), ("preferred", "dispreferred"),
    ("accepted", "rejected"), ("correct", "incorrect"), ("right", "wrong"), ("y_w", "y_l"), ("pos", "neg"),
)  # fmt: skip
"""Names that people give to the two responses of a comparison, the winner's first."""
NUMBERED = (("1", "2"), ("0", "1"), ("a", "b"))
_NO_RESPONSE = re.compile(
    r"(?!response|answer|output|completion)(.*[_-])?(models?|system|system_prompt|scores?|ratings?|ranks?|ids?|lengths?|tokens|categor.*|annotators?|feedback)[_-]?\w"
)
"""Columns that come in pairs too, and say something about the responses or the row."""


def two_responses(columns: Collection[str]) -> tuple[str, str] | None:
    """The two of these columns that are the responses of a comparison by their names, as in `answer_1` and `answer_2`
    or in `good` and `bad`; None where no two are."""
    by_lower = {name.lower(): name for name in sorted(columns)}
    for first, second in OPPOSED:
        for name in by_lower:
            other = name.replace(first, second)
            if other != name and other in by_lower:
                return by_lower[name], by_lower[other]
    for first, second in NUMBERED:
        for name in by_lower:
            other = name[: -len(first)] + second
            if name.endswith(first) and len(name) > 1 and other in by_lower and not _NO_RESPONSE.fullmatch(name):
                return by_lower[name], by_lower[other]
    return None


def in_own_words(columns: Collection[str]) -> str:
    """How a source of `jpo data build` says what these columns mean, where two of them are the responses of a
    comparison; nothing else."""
    found = two_responses(columns)
    if found is None:
        return ""
    first, second = found
    if any(first.lower().replace(one, other) == second.lower() for one, other in OPPOSED):
        return (
            "; or leave them, and say in a source of jpo data build which they are: columns: "
            f"{{prompt: …, chosen: {first}, rejected: {second}}}"
        )
    return (
        "; or leave them, and say what they mean in a source of jpo data build: layout: "
        f"{{instruction: …, a: {first}, b: {second}, prefer: {{column: …, a: […], b: […]}}}}"
    )


def nearest(columns: set[str], name: str | None) -> str:
    """Column names of the three layouts that have most of these columns, and, of equal ones, the usual ones first."""
    usual = ("paper", "explicit", "rating")
    # Rows of `answers` are written by jpo generate: nobody renames columns to them.
    known = [layout for layout in PLAIN if name == layout.name or (name is None and layout.name != "answers")]
    if name is None and two_responses(columns):  # then a row is a comparison, whatever else its columns remind of
        known = [layout for layout in known if layout.kind == "pairs"]
    known.sort(key=lambda layout: (-len(columns & set(layout.columns)), layout.name not in usual))
    return "; ".join(" ".join(layout.columns) for layout in known[:3])
