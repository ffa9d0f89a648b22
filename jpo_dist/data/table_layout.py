"""Which layout a table has, which of its columns are read, and its rows under the names that layouts know."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

from jpo_dist.data.accounting import Account, stand_in
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.file_formats import Columns
from jpo_dist.data.layouts import (
    COLUMNS,
    RATING_COLUMNS,
    ROWS_TO_DETECT,
    Layout,
    Names,
    in_own_words,
    keys_of,
    lacking,
    layout_of,
    mean_score,
    nearest,
    read_row,
    refuse_absent,
    refuse_by_column,
    refuse_rows_inside,
)
from jpo_dist.data.layouts.config import LayoutConfig, layout_from
from jpo_dist.data.layouts.values import column_of, is_none
from jpo_dist.data.locate import Table
from jpo_dist.data.messages import context, instruction
from jpo_dist.data.messages.beside import is_verdict
from jpo_dist.data.row_values import NUMBERS, BadField


def renamed(row: dict[str, Any], layout: Layout, source: SourceConfig) -> dict[str, Any]:
    """The row under the names that layouts know, its score under `score`. Raises BadField for a row without a column
    that the source names: what the row has under the layout's own name is something else."""
    if not source.columns and not source.scores:
        return row
    for their in source.columns.values():
        if their not in row:
            raise BadField(their, "missing field")
    hidden = _hidden(source)
    named = {name: value for name, value in row.items() if name not in hidden}
    named |= {ours: row[their] for ours, their in source.columns.items()}
    if source.scores and "score" in layout.columns:  # in other layouts it is a key of each completion
        named["score"] = mean_score(row, source.scores)
    return named


def _hidden(source: SourceConfig) -> set[str]:
    """Columns that are not what their name says: others are read in their place, or they have another name. Where the
    source says what rates a response, none of the columns that usually do."""
    named = {*source.columns, *(["score"] if source.scores else [])}
    return named | set(source.columns.values()) | (RATING_COLUMNS if named & RATING_COLUMNS else set())


def columns_of(source: SourceConfig, layout: Layout | None = None, account: Account | None = None) -> Columns:
    """What is read of a table: once its layout is known, the columns of that and what else instructions are made of."""
    known, numbers = (COLUMNS, NUMBERS) if layout is None else (layout.reads, NUMBERS | layout.numbers)
    known |= account.instructs if account else instruction.NAMES
    known |= instruction.NAMES - {*instruction.TALKS}  # conversations are mostly copies
    scores = set(source.scores) | {their for ours, their in source.columns.items() if ours in numbers}
    known |= {name for names in account.opposed for name in names} if account else set()
    return Columns(known | {name for _, name in source.named} | scores, numbers | scores, source.max_row_mib)


def detect(table: Table, source: SourceConfig, candidates: bool) -> tuple[Layout | None, Account]:
    """The layout that most of the first rows have, None when no row can be read; and an account of their columns.
    Raises ValueError for unknown columns, and where an instruction would be lost.

    One layout for a table: row by row, a row that lost its `prompt` would pass for one with an implicit prompt.
    """
    rows = _first(table, columns_of(source))
    there = keys_of(rows)
    refuse_by_column(table.name, rows)
    if rows:
        for key, column in source.named:
            refuse_absent(table.name, key, column, there)
    layout: Layout | None
    if isinstance(source.layout, LayoutConfig):
        layout = _of_config(table.name, source.layout, there)
    else:
        layout = _voted(table.name, source, rows, there)
    if layout and layout.kind == "candidates" and not candidates:
        raise ValueError(f"{table.name}: pairs without a verdict (no column feedback); {_verdict(layout, rows)}")
    if layout and source.scores:
        _check_score(table.name, layout, source, rows)
    if layout and _are_text(rows, layout, source):
        rows = _first(table, columns_of(source, layout))
    empty = _empty(rows, layout, source) if layout else frozenset[str]()
    other = _without(table.name, rows, empty, source) if empty else None
    if other in (None, layout):
        empty = frozenset()
    else:
        layout, rows = other, [_present(row, empty) for row in rows]
    first = [] if layout is None else [row for row in (_tried(row, layout, source) for row in rows) if row]
    return layout, Account(table.name, layout, source, rows, first, empty)


def _first(table: Table, columns: Columns) -> list[dict[str, Any]]:
    """The first rows of a table that can be read, with all of their columns."""
    found = islice(table.rows(columns._replace(wanted=None)), ROWS_TO_DETECT)
    return [row for _, row in found if not isinstance(row, BadField)]


def _empty(rows: list[dict[str, Any]], layout: Layout, source: SourceConfig) -> frozenset[str]:
    """Columns with nothing in any of the first rows, as tables have them that were put together, where the layout reads
    none of these rows; else nothing."""
    if source.layout != "auto":
        return frozenset()
    named = {column for _, column in source.named}
    found = {name for name, value in rows[0].items() if name not in named and is_none(value)}
    found = {name for name in found if all(is_none(row.get(name)) for row in rows)}
    return frozenset(found if found and not any(_is_read(row, layout, source) for row in rows) else ())


def _is_read(row: dict[str, Any], layout: Layout, source: SourceConfig) -> bool:
    """Whether a row says something in this layout."""
    places = context.Places(layout.columns, layout.reads, layout.asks, layout.wholes)
    try:
        found = read_row(layout, context.filled(renamed(row, layout, source), places).row, Names("", "", ""))
    except BadField:
        return False
    return bool(found.comparison or found.comparisons or found.ratings)


def _without(place: str, rows: list[dict[str, Any]], empty: frozenset[str], source: SourceConfig) -> Layout | None:
    """The layout that rows have without these columns, where they have one."""
    try:
        return _voted(place, source, [_present(row, empty) for row in rows], keys_of(rows) - empty)
    except ValueError:
        return None


def _present(row: dict[str, Any], empty: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in empty}


def _are_text(rows: list[dict[str, Any]], layout: Layout, source: SourceConfig) -> bool:
    """Whether rows have text where the layout has numbers: in a CSV file it is text until the layout is known."""
    more = [source.columns.get(name, name) for name in layout.numbers - NUMBERS]
    return bool(more) and any(isinstance(row.get(name), str) for row in rows for name in more)


def _verdict(layout: Layout, rows: list[dict[str, Any]]) -> str:
    """What to do about pairs without a verdict: their own may stand under a name that no layout knows."""
    a, b = [name for name in layout.columns if name.startswith("response")] or ("", "")
    for row in rows if a and b else ():
        for name, value in row.items():
            if name not in layout.reads and is_verdict(name) and isinstance(value, str | bool | int | float):
                return (
                    f"its column {name} ({value}) may be one: say what it means in a source of jpo data build, such "
                    f"as layout: {{instruction: …, a: {a}, b: {b}, prefer: {{column: {name}, a: […], b: […], "
                    "tie: […]}}; else label them first: jpo judge"
                )
    return "label them first: jpo judge"


def _tried(row: dict[str, Any], layout: Layout, source: SourceConfig) -> dict[str, Any] | None:
    try:
        return renamed(row, layout, source)
    except BadField:
        return None


def _voted(place: str, source: SourceConfig, rows: list[dict[str, Any]], there: set[str]) -> Layout | None:
    """The layout that most of these rows have, by their columns."""
    name = None if source.layout == "auto" else str(source.layout)
    columns = [_column_names(row, source, there) for row in rows]
    votes = Counter(layout for row in _named(rows, columns, source) if (layout := layout_of(row, name)))
    if columns and not votes:
        refuse_rows_inside(place, rows)
        names, every = ", ".join(sorted(there)) or "none", set().union(*columns)
        raise ValueError(
            f"{place}: its columns ({names}) are of no known layout{lacking(every)}; rename them to one of: "
            f"{nearest(every, name)} (all layouts: docs/data.md){in_own_words(there) if name is None else ''}"
        )
    return votes.most_common(1)[0][0] if votes else None


def _of_config(place: str, config: LayoutConfig, there: set[str]) -> Layout:
    """The layout that the source describes. Raises ValueError where a row has none of its columns."""
    for key, path in config.paths.items() if there else ():
        if path not in there:
            refuse_absent(place, f"layout.{key}", column_of(path), there)
    return layout_from(config)


def _column_names(row: dict[str, Any], source: SourceConfig, there: set[str]) -> set[str]:
    """The row's columns under the names that layouts know, with all that the source names: a row that lacks one is a
    bad row of its layout, not a good one of another. `there`: the columns of all rows."""
    is_column = source.layout == "rating" or bool(there & set(source.scores))
    named = {*source.columns, *(["score"] if source.scores and is_column else [])}
    hidden = _hidden(source)
    known = {name: value for name, value in row.items() if name not in hidden}
    known |= {ours: row.get(their) for ours, their in source.columns.items()}
    return set(known) | named | stand_in(known)


def _named(rows: list[dict[str, Any]], columns: list[set[str]], source: SourceConfig) -> Iterable[dict[str, Any]]:
    """The rows under the names that layouts know, for those that look at values too."""
    for row, names in zip(rows, columns, strict=True):
        yield {name: row.get(source.columns.get(name, name)) for name in names}


def _check_score(place: str, layout: Layout, source: SourceConfig, rows: list[dict[str, Any]]) -> None:
    """Raises ValueError when the score that the source names is not there, or this layout would not look at it."""
    there: set[str] = set()
    if layout.name in ("rating", "unscored", "answers"):
        there = keys_of(rows)
    elif layout.name == "responses" and "scores" not in layout.columns:
        responses = source.columns.get(layout.columns[1], layout.columns[1])
        lists = (row[responses] for row in rows if isinstance(row.get(responses), list))
        there = keys_of(one for found in lists for one in found if isinstance(one, dict))
    if not there:
        raise ValueError(
            f"{place}: score ({', '.join(source.scores)}) names a column of rows with one response, or a key of "
            f"completions that are objects; this is {' '.join(layout.columns)}: leave score out"
        )
    for score in source.scores:
        refuse_absent(place, "score", score, there)
