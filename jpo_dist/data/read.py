"""Reading preferences: from files, folders, globs and hub data sets to one ComparisonSet and a report that adds up.

A bad row never ends the reading of a file and is never dropped in silence: it stops the run with its file, line, field
and reason, or it is counted and named in the report.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, Literal

from jpo_dist.data.checker import check
from jpo_dist.data.collected import Preferences, compile_set, grouped, report_of
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.file_formats import Columns
from jpo_dist.data.layouts import (
    COLUMNS,
    CONVERSATIONS,
    LAYOUTS,
    RATING_COLUMNS,
    Layout,
    Names,
    Reading,
    Turns,
    layout_of,
    mean_score,
    read_row,
)
from jpo_dist.data.locate import Table, open_place
from jpo_dist.data.read_report import BAD_ROWS_TO_KEEP, BadRow, BadRowError, ReadReport
from jpo_dist.data.row_values import NUMBERS, BadField
from jpo_dist.records.columns.item_rows import ItemRows
from jpo_dist.records.comparisons import ComparisonSet, Item
from jpo_dist.records.groups import require
from jpo_dist.records.unbuilt import unbuild

OnBadRow = Literal["error", "skip"]
WithReport = tuple[ComparisonSet, ReadReport]

_ROWS_TO_DETECT = 1000


def read(where: str | list[str], *, on_bad_row: OnBadRow, groups: Sequence[str] = ()) -> WithReport:
    """All comparisons of `where`, in order, each with the `source` FILE:LINE; scores give comparisons within an
    instruction, after those that are stated.

    `where`: JSONL, JSON, CSV, Parquet or Arrow files, folders of them, globs, ComparisonSet folders (FOLDER or
    FOLDER:SPLIT), hub data sets (OWNER/NAME or OWNER/NAME:SPLIT, else the split `train`), `package:MODULE/FILE`; or a
    list of such. `groups`: columns that say who judged, kept in the comparisons. Raises BadRowError (with
    on_bad_row="error"), FileNotFoundError, and ValueError for files without a known layout or one of `groups`, or when
    there is no comparison at all.
    """
    built, report = scan(where, on_bad_row=on_bad_row, groups=groups)
    if not len(built):
        raise ValueError("\n".join([f"{where}: no comparisons; {_advice(built)}", *report.lines()]))
    return built, report


def _advice(built: ComparisonSet) -> str:
    if not built.num_items:
        return "name data that has some"
    if built.items["score"].null_count == built.num_items:
        return "no response has a score; a checker (jpo data build) or a judge (jpo judge) may compare them"
    return "ratings of different instructions compare only with a pairing policy: jpo data build"


def scan(where: str | list[str], *, on_bad_row: OnBadRow, groups: Sequence[str] = ()) -> WithReport:
    """The same as `read`, but a set without comparisons is no error: it may hold items for pairing or a judge.

    Raises BadRowError, FileNotFoundError, and ValueError for files without a known layout.
    """
    preferences = Preferences()
    places = [(place, text) for text in listed(where) for place in open_place(text, preferences.tally.ignored)]
    if len(places) == 1 and isinstance(places[0][0], ComparisonSet):  # keeps its memory map
        built = places[0][0]
        require(built, groups, places[0][1])
        preferences.tally.rows = len(built)
    else:
        for place, text in places:
            collect(place, SourceConfig(path=text, groups=list(groups)), on_bad_row, preferences)
        built = compile_set(preferences.said())
    return built, report_of(built, preferences.said())


def read_candidates(where: str | list[str], *, on_bad_row: OnBadRow) -> tuple[list[tuple[Item, Item, str]], ReadReport]:
    """Pairs for a judge, (first, second, source), in order: rows without a verdict, and comparisons without theirs.

    Raises what `read` raises.
    """
    preferences = Preferences()
    for text in listed(where):
        for place in open_place(text, preferences.tally.ignored):
            collect(place, SourceConfig(path=text), on_bad_row, preferences, candidates=True)
    if not preferences.comparisons:
        raise ValueError(f"{where}: no pairs to judge; name pairs, or make some with jpo data build (candidates:)")
    found = [(c.winner, c.loser, c.source) for c in preferences.comparisons]
    return found, report_of(ComparisonSet.build(preferences.comparisons), preferences.said())


def read_source(source: SourceConfig, on_bad_row: OnBadRow, items: ItemRows | None = None) -> Preferences:
    """One source of a build, read with its own layout, columns and score; raises what `read` raises, and JudgeError.

    `items`: those of other sources that this one will be joined with.
    """
    preferences = Preferences(items)
    for text in listed(source.path):
        for place in open_place(text, preferences.tally.ignored):
            collect(place, source, on_bad_row, preferences)
    if source.checker is not None:
        check(preferences, source.checker, source.name or str(source.path))
    return preferences


def listed(where: str | list[str]) -> list[str]:
    """The names in `where`, one by one. Raises ValueError for an empty one."""
    refuse_empty(where)
    return [where] if isinstance(where, str) else where


def refuse_empty(where: str | list[str]) -> None:
    """Raises ValueError for an empty name, which to the system is the folder that the command runs in."""
    if not where or (isinstance(where, list) and "" in where):
        raise ValueError(f"{where!r}: nothing is named; name a file, folder, glob or hub id ('.' is this folder)")


def collect(
    place: Table | ComparisonSet,
    source: SourceConfig,
    on_bad_row: OnBadRow,
    into: Preferences,
    candidates: bool = False,
    turns: Turns = "last",
) -> str | None:
    """Everything of one place, added to `into`; returns the name of its layout, None for a set or no rows at all."""
    if isinstance(place, ComparisonSet):
        require(place, source.groups, str(source.path))
        into.tally.rows += len(place)
        unbuild(place, into.comparisons, into.pair_scores)
        return None
    layout = _detect(place, source, candidates)
    bad_here: list[BadRow] = []
    scale = source.name or str(source.path)
    for line, row in place.rows(_columns(source, layout)):
        into.tally.rows += 1
        names = Names(f"{source.name or place.label}:{line}", scale, source.scores, turns)
        try:
            reading = _read(layout, row, source, names)
        except BadField as bad:
            reading = Reading(bad=(bad,))
        _add(reading, layout, into)
        bad_here.extend(BadRow(place.name, line, bad.field, bad.reason) for bad in reading.bad)
    into.tally.skipped.update(bad.reason for bad in bad_here)
    if bad_here and on_bad_row == "error":  # only now: people want to mend a file once
        raise BadRowError(*bad_here[0], others=len(bad_here) - 1)
    into.tally.bad_rows.extend(bad_here[: BAD_ROWS_TO_KEEP - len(into.tally.bad_rows)])
    return layout.name if layout else None


def _add(reading: Reading, layout: Layout | None, into: Preferences) -> None:
    into.tally.skipped.update(left.reason for left in reading.left_out)
    if reading.comparison:
        into.comparisons.append(reading.comparison)
    if layout and layout.kind == "responses":
        into.tally.responses += len(reading.ratings) + len(reading.bad) + len(reading.left_out)
        into.ratings.extend(reading.ratings)
    else:
        into.pair_scores.extend(reading.ratings)


def _read(layout: Layout | None, row: dict[str, Any] | BadField, source: SourceConfig, names: Names) -> Reading:
    if isinstance(row, BadField):
        raise row
    if layout is None:
        raise BadField("", "unknown layout")
    reading = read_row(layout, _renamed(row, layout, source), names, named=source.layout != "auto")
    return grouped(reading, row, source.groups)


def _renamed(row: dict[str, Any], layout: Layout, source: SourceConfig) -> dict[str, Any]:
    """The row under the names that layouts know, its score under `score`. Raises BadField for a row without a column
    that the source names: what the row has under the layout's own name is something else."""
    if not source.columns and not source.scores:
        return row
    for their in source.columns.values():
        if their not in row:
            raise BadField(their, "missing field")
    hidden = _hidden(source)
    renamed = {name: value for name, value in row.items() if name not in hidden}
    renamed |= {ours: row[their] for ours, their in source.columns.items()}
    if source.scores and "score" in layout.columns:  # in other layouts it is a key of each completion
        renamed["score"] = mean_score(row, source.scores)
    return renamed


def _hidden(source: SourceConfig) -> set[str]:
    """Columns that are not what their name says: others are read in their place, or they have another name. Where the
    source says what rates a response, none of the columns that usually do."""
    named = {*source.columns, *(["score"] if source.scores else [])}
    return named | set(source.columns.values()) | (RATING_COLUMNS if named & RATING_COLUMNS else set())


def _columns(source: SourceConfig, layout: Layout | None = None) -> Columns:
    """What is read of a table, once its layout is known without the copies of it that conversations are."""
    copies = set() if layout is None else set(CONVERSATIONS) - set(layout.columns)
    scores = set(source.scores) | {their for ours, their in source.columns.items() if ours in NUMBERS}
    return Columns((COLUMNS - copies) | {name for _, name in source.named} | scores, NUMBERS | scores)


def _detect(table: Table, source: SourceConfig, candidates: bool) -> Layout | None:
    """The layout that most of the first rows have; None when no row can be read. Raises ValueError for unknown columns.

    One layout for a table: row by row, a row that lost its `prompt` would pass for one with an implicit prompt.
    """
    everything = _columns(source)._replace(wanted=None)
    rows = [row for _, row in islice(table.rows(everything), _ROWS_TO_DETECT) if not isinstance(row, BadField)]
    there = _keys(rows)
    if rows:
        for key, column in source.named:
            _refuse_absent(table.name, key, column, there)
    name = None if source.layout == "auto" else source.layout
    columns = [_column_names(row, source, there) for row in rows]
    votes = Counter(layout for names in columns if (layout := layout_of(names, name)))
    if columns and not votes:
        raise ValueError(
            f"{table.name}: its columns ({', '.join(sorted(there)) or 'none'}) are of no known layout; rename them to "
            f"one of: {_nearest(set().union(*columns), name)} (all layouts: docs/data.md)"
        )
    layout = votes.most_common(1)[0][0] if votes else None
    if layout and layout.kind == "candidates" and not candidates:
        raise ValueError(f"{table.name}: pairs without a verdict (no column feedback); label them first: jpo judge")
    if layout and source.scores:
        _check_score(table.name, layout, source, rows)
    return layout


def _column_names(row: dict[str, Any], source: SourceConfig, there: set[str]) -> set[str]:
    """The row's columns under the names that layouts know, with all that the source names: a row that lacks one is a
    bad row of its layout, not a good one of another. `there`: the columns of all rows."""
    is_column = source.layout == "rating" or bool(there & set(source.scores))
    named = {*source.columns, *(["score"] if source.scores and is_column else [])}
    return (set(row) - _hidden(source)) | named


def _check_score(place: str, layout: Layout, source: SourceConfig, rows: list[dict[str, Any]]) -> None:
    """Raises ValueError when the score that the source names is not there, or this layout would not look at it."""
    there: set[str] = set()
    if layout.name in ("rating", "unscored", "answers"):
        there = _keys(rows)
    elif layout.name == "responses" and "scores" not in layout.columns:
        responses = source.columns.get(layout.columns[1], layout.columns[1])
        lists = (row[responses] for row in rows if isinstance(row.get(responses), list))
        there = _keys(one for found in lists for one in found if isinstance(one, dict))
    if not there:
        raise ValueError(
            f"{place}: score ({', '.join(source.scores)}) names a column of rows with one response, or a key of "
            f"completions that are objects; this is {' '.join(layout.columns)}: leave score out"
        )
    for score in source.scores:
        _refuse_absent(place, "score", score, there)


def _keys(rows: Iterable[dict[str, Any]]) -> set[str]:
    return {name for row in rows for name in row}


def _refuse_absent(place: str, key: str, name: str, there: set[str]) -> None:
    """A slip in a name must not make every row of the file bad, or leave it to the columns that layouts know."""
    if name not in there:
        near = get_close_matches(name, sorted(there), n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"{place}: {key} ({name}) is in none of its rows (the first {_ROWS_TO_DETECT} were looked at); "
            f"{meant}there are: {', '.join(sorted(there))}"
        )


def _nearest(columns: set[str], name: str | None) -> str:
    """Column names of the three layouts that have most of these columns, and, of equal ones, the usual ones first."""
    usual = ("paper", "explicit", "rating")
    # Rows of `answers` are written by jpo generate: nobody renames columns to them.
    known = [layout for layout in LAYOUTS if name == layout.name or (name is None and layout.name != "answers")]
    known.sort(key=lambda layout: (-len(columns & set(layout.columns)), layout.name not in usual))
    return "; ".join(" ".join(layout.columns) for layout in known[:3])
