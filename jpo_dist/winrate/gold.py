"""Gold responses in files of any layout: of each instruction the best response that the files call good.

A column `gold_response` is gold whatever stands beside it. Otherwise the layout says what is good: the winner of a
pair, the first of a ranking, what is liked, the best of rated ones, or a response that nobody has rated. What lost, is
not liked, or has the lower one of two scores is never gold, also where its instruction has no other response.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.data.collected import Preferences
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.examples import Named, NamedList, mean_scores, named_in, worse
from jpo_dist.data.file_formats import Columns, Rows
from jpo_dist.data.layouts import COLUMNS, LAYOUTS, THUMBS
from jpo_dist.data.locate import Table, open_place
from jpo_dist.data.messages.instruction import ADDED, NAMES, QUESTIONS
from jpo_dist.data.read import OnBadRow, collect, listed
from jpo_dist.data.read_report import TableColumns, Tally
from jpo_dist.data.row_values import BadField
from jpo_dist.records.columns.common import Common
from jpo_dist.records.columns.item_rows import ItemRows
from jpo_dist.records.columns.pages import ROWS_AT_ONCE
from jpo_dist.records.comparisons import ComparisonSet, Item
from jpo_dist.records.group_column import Groups
from jpo_dist.records.groups import groups_of

GOLD_COLUMN = "gold_response"
"""The gold response wherever it is there."""
SINGLE = ("response", "completion", "output", "answer")
"""Columns that hold the one response of a row, in layouts of such rows."""
_OF_ONE = THUMBS | {"rating", "unscored"}
"""Names of the layouts that read one of these."""
_TWO_SCORES = ({0.0, 1.0}, {-1.0, 1.0})
"""Scores of a scale that says good or bad, and nothing between."""
_ROWS_TO_LOOK_AT = 100


class Gold(NamedTuple):
    """What was read, in numbers that add up: named items = texts + more + no_gold."""

    texts: dict[str, Item]
    """The gold response of each instruction, by its id."""
    groups: dict[str, Groups]
    """Of the instructions, by id; empty without columns of groups."""
    more: int
    """Good responses that are not the first or the best of their instruction."""
    no_gold: dict[str, int]
    """Responses that are none, by reason."""
    lowest: int
    """Gold responses with the lowest score of their scale: the best of their instruction, and perhaps not good."""
    origin: tuple[str, ...]
    """For people: the files with their layout and the columns that were read, and files that were not."""
    skipped: dict[str, int]
    """Rows that cannot be read, by reason."""
    files: tuple[Path, ...]
    """Those that are on this machine."""


class _Read(NamedTuple):
    named: NamedList
    items: ItemRows
    groups: dict[int, Groups]
    """Of items by their rows: of the first winner or rating that has some."""
    tally: Tally
    files: list[Path]


def read_gold(where: str | list[str], on_bad_row: OnBadRow, groups: Sequence[str], max_row_mib: int) -> Gold:
    """The gold responses of `where`; `groups` names columns, which are the groups of the instruction.

    Raises ValueError for files without a gold response and for two columns that may be it, and what
    `jpo_dist.data.read` raises.
    """
    read = _read(where, on_bad_row, groups, max_row_mib)
    good, no_gold = _judged(read.named)
    if not good:
        why = ", ".join(f"{count} x {reason}" for reason, count in no_gold.items())
        raise ValueError(
            f"against ({where}): no gold response in it{f' ({why})' if why else ''}; name instructions with good "
            "responses, or an answers folder"
        )
    texts: dict[str, Item] = {}
    of_instruction: dict[str, Groups] = {}
    rows = list(dict.fromkeys(one.item for one in good))
    used = set[int]()
    for row, item in zip(rows, _items(read.items, rows), strict=True):
        if texts.setdefault(item.instruction_id, item) is item:
            used.add(row)
        if known := read.groups.get(row):
            of_instruction.setdefault(item.instruction_id, known)
    return Gold(
        texts,
        of_instruction,
        more=len(rows) - len(texts),
        no_gold=no_gold,
        lowest=_with_the_lowest_score(good, used, read.named),
        origin=(*_told(read.tally.tables), *(f"not read: {name}" for name in read.tally.ignored)),
        skipped=dict(read.tally.skipped),
        files=tuple(read.files),
    )


def _read(where: str | list[str], on_bad_row: OnBadRow, groups: Sequence[str], max_row_mib: int) -> _Read:
    common = Common()
    found = _Read(NamedList(), common.items, {}, Tally(), [])
    for text in listed(where):
        for place in open_place(text, found.tally.ignored):
            part = Preferences(common)
            source = SourceConfig(path=text, groups=list(groups), max_row_mib=max_row_mib)
            layout = _collected(place, source, on_bad_row, part)
            said = part.said()
            found.tally.add(said.tally)
            found.named.extend(named_in(said, layout, source.scale))
            for row, known in _groups_in(part) if groups else ():
                found.groups.setdefault(row, known)
            if isinstance(place, Table) and Path(place.name).is_file():
                found.files.append(Path(place.name))
    return found


def _collected(
    place: Table | ComparisonSet, source: SourceConfig, on_bad_row: OnBadRow, into: Preferences
) -> str | None:
    """What `collect` does, GOLD_COLUMN before all else; raises ValueError where two columns may be the gold one."""
    if not isinstance(place, Table):
        return collect(place, source, on_bad_row, into)
    first = _first_rows(place, source.max_row_mib)
    if any(GOLD_COLUMN in row for row in first):
        named = source.model_copy(update={"columns": {SINGLE[0]: GOLD_COLUMN}})
        return collect(_alone(place, first, source.groups), named, on_bad_row, into)
    layout = collect(place, source, on_bad_row, into)
    if layout in _OF_ONE:
        _refuse_two(place, first)
    return layout


# ---- which column


def _first_rows(table: Table, row_mib: int) -> list[dict[str, Any]]:
    rows = islice(table.rows(Columns(None, frozenset(), row_mib)), _ROWS_TO_LOOK_AT)
    return [row for _, row in rows if not isinstance(row, BadField)]


def _alone(table: Table, first: list[dict[str, Any]], groups: Sequence[str]) -> Table:
    """The table without other responses and what is said of them: with its instructions, GOLD_COLUMN and `groups`."""
    asks = {column for layout in LAYOUTS for column in layout.asks}
    hidden = COLUMNS - NAMES - asks
    if not any(name in row for row in first for name in (*QUESTIONS, *ADDED)):
        hidden |= {column for layout in LAYOUTS for column in layout.wholes}
    hidden -= {GOLD_COLUMN, *groups}

    def rows(columns: Columns) -> Rows:
        for line, row in table.rows(columns):
            yield line, row if isinstance(row, BadField) else {n: row[n] for n in row if n not in hidden}

    return table._replace(rows=rows)


def _refuse_two(place: Table, first: list[dict[str, Any]]) -> None:
    """Raises ValueError for a table in which two columns have a response, and not the same one."""
    there = [name for name in SINGLE if any(row.get(name) for row in first)]
    for row in first:
        if len({repr(row[name]) for name in there if row.get(name)}) > 1:
            raise ValueError(
                f"{place.name}: each of its columns {' and '.join(there)} may be the gold response; call the gold one "
                f"{GOLD_COLUMN}, or take the others out of the file"
            )


def _told(tables: Iterable[TableColumns]) -> Iterator[str]:
    """Files with their layout and the columns that were read; those that are alike once."""
    alike = defaultdict[str, list[str]](list)
    for table in tables:
        alike[f"layout {table.layout}; read: {', '.join(table.read)}"].append(Path(table.file).name)
    for how, names in alike.items():
        yield f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {how}"


# ---- which response


def _judged(named: NamedList) -> tuple[list[Named], dict[str, int]]:
    """Items that may be gold, the best first, each with its mean score; and how many others there are, by reason."""
    means, low = mean_scores(named, ("rated", "liked")), _lower_ones(named)
    places = {scale: n for n, scale in enumerate(dict.fromkeys(one.scale for one in named))}
    why: dict[int, str] = {}
    good: list[Named] = []
    for one in named:
        if reason := worse(one) or low.get((one.scale, one.score) if one.says == "rated" else ("", math.nan)):
            why.setdefault(one.item, reason)
        else:
            good.append(one._replace(score=means.get((one.item, one.scale), one.score)))
    good.sort(key=lambda one: (one.says != "wins", one.says == "unrated", *_rank(one, places)))
    is_good = {one.item for one in good}
    return good, dict(Counter(reason for item, reason in why.items() if item not in is_good))


def _rank(one: Named, places: dict[str, int]) -> tuple[int, float]:
    """Where it stands among its like: scores of one scale compare, others come in the order of their files."""
    return (places[one.scale], -one.score) if one.says in ("rated", "liked", "ranked") else (0, 0.0)


def _lower_ones(named: Iterable[Named]) -> dict[tuple[str, float], str]:
    """The lower score of each scale that has two and says good or bad by them, with what to say of it."""
    scores = defaultdict[str, set[float]](set)
    for one in named:
        if one.says == "rated":
            scores[one.scale].add(one.score)
    two = {scale: (min(found), max(found)) for scale, found in scores.items() if found in _TWO_SCORES}
    return {(scale, low): f"score {low:g}, where all have {low:g} or {high:g}" for scale, (low, high) in two.items()}


def _with_the_lowest_score(good: Iterable[Named], used: set[int], named: NamedList) -> int:
    """How many of the items `used` are rated, and no item on their scale lower."""
    scores = defaultdict[str, set[float]](set)
    for (_, scale), score in mean_scores(named).items():
        scores[scale].add(score)
    lowest = {scale: min(found) for scale, found in scores.items() if len(found) > 1}
    first: dict[int, Named] = {}
    for one in good:
        first.setdefault(one.item, one)
    return sum(one.says == "rated" and one.score == lowest.get(one.scale) for n, one in first.items() if n in used)


def _items(items: ItemRows, rows: list[int]) -> Iterator[Item]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield from items.at(np.array(rows[start : start + ROWS_AT_ONCE]))


def _groups_in(part: Preferences) -> Iterator[tuple[int, Groups]]:
    """The groups of winners and of rated items, with their rows."""
    found = [(c.winner, groups_of(c)) for c in part.comparisons if not c.tie]
    found += [(rating.item, rating.groups) for rating in part.ratings]
    rows = part.items.rows_of([item for item, _ in found]).tolist()
    yield from ((row, known) for row, (_, known) in zip(rows, found, strict=True) if known)
