"""What was read, skipped and refused, in numbers that add up."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.data.file_formats import LINE_FORMATS, format_of
from jpo_dist.data.messages.beside import is_flag, is_high_worse

BAD_ROWS_TO_KEEP = 20


class BadRow(NamedTuple):
    """One row that could not be read. `line` counts from 1; in Parquet, Arrow and hub data it counts rows."""

    file: str
    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        unit = "line" if format_of(Path(self.file)) in LINE_FORMATS else "row"
        return f"{self.file}, {unit} {self.line}: {self.field + ': ' if self.field else ''}{self.reason}"


class BadRowError(ValueError):
    """The first bad row of a file, and how many others the same file has."""

    def __init__(self, file: str, line: int, field: str, reason: str, others: int) -> None:
        super().__init__(file, line, field, reason, others)  # all of them, so that it can be pickled
        self.file, self.line, self.field, self.reason, self.others = file, line, field, reason, others

    def __str__(self) -> str:
        rows = "row" if self.others == 1 else "rows"
        others = f" ({self.others} more bad {rows} in this file)" if self.others else ""
        return (
            f"{BadRow(self.file, self.line, self.field, self.reason)}{others}. "
            "Correct the rows, or count them and go on: on_bad_row=skip (of a run: data.on_bad_row=skip)."
        )


class TableColumns(NamedTuple):
    """What became of each column of a table, and of each key of its messages (`COLUMN[].KEY`)."""

    file: str
    layout: str
    read: dict[str, str]
    """What a column was taken for, "" where its name says it."""
    nothing: tuple[str, ...]
    """Without any text, or known to be about the row: ids, names of models, scores."""
    unread: dict[str, str]
    """With an example of its text."""
    note: str = ""
    against: dict[str, int] = {}  # noqa: RUF012 - never changed
    """Scores and places of `chosen` that are not read, and in how many rows `rejected` has the better one."""

    def lines(self, others: int) -> list[str]:
        """For people; `others`: how many other files have the same columns."""
        also = f" and {others} more" if others else ""
        read = ", ".join(f"{name} ({what})" if what else name for name, what in self.read.items())
        lines = [f"  {self.file}{also}: layout {self.layout}; read: {read}"]
        lines += [f"    {self.note}"] if self.note else []
        loser = "reject" if "reject" in self.read else "rejected"
        lines += [_against(name, name.replace("chosen", loser), count) for name, count in self.against.items()]
        lines += [f"    carries nothing: {', '.join(self.nothing)}"] if self.nothing else []
        unread = ", ".join(f"{name} ({example})" for name, example in self.unread.items())
        return lines + ([f"    not read: {unread}"] if unread else [])


def _against(name: str, other: str, count: int) -> str:
    said = f"{name} is {'above' if is_high_worse(name) else 'below'} {other}"
    if is_flag(name):
        said = f"{name} is {str(is_high_worse(name)).lower()} and {other} is not"
    return f"    {said} in {count} rows, and neither is read: chosen is taken for the better one"


def column_lines(tables: Sequence[TableColumns]) -> list[str]:
    """What became of the columns of each table, for people; files with the same ones are told of once."""
    alike: dict[Any, list[TableColumns]] = {}
    for one in tables:
        alike.setdefault((one.layout, *one.read.items(), *one.nothing, "", *one.unread), []).append(one)
    found = []
    for same in alike.values():
        against = sum((Counter(one.against) for one in same), Counter[str]())
        found += same[0]._replace(against=dict(against)).lines(len(same) - 1)
    return found


@dataclass(frozen=True)
class ReadReport:
    """What became of everything that was read.

    Rows of pairs: rows == comparisons + ties + skipped. Responses (ratings, thumbs, rankings): responses == items +
    duplicates + skipped, and the comparisons and ties are those that their scores make.
    """

    rows: int
    comparisons: int
    """Decided comparisons."""
    ties: int
    responses: int
    duplicates: int
    """Responses of an item that had been read before; its score is their mean."""
    skipped: dict[str, int]
    """Bad rows and bad responses, and answers that were cut off or are empty, by reason."""
    bad_rows: tuple[BadRow, ...]
    """The first 20 of them."""
    items: int
    joint: int
    """How many of the decided comparisons are joint."""
    repeated: int
    """Comparisons of the same winner and loser as an earlier one; they are kept and count again."""
    contradictions: int
    """Comparisons that another one states the other way round; they are kept too."""
    ignored: tuple[str, ...]
    """Files in folders and globs that are not data files."""
    tables: tuple[TableColumns, ...] = ()
    """What became of the columns of each file, in order."""
    layouts: dict[str, int] = field(default_factory=dict)
    """The layouts that were taken, and for how many files."""

    def lines(self) -> list[str]:
        """The report as lines for people."""
        rows = f"{self.rows} rows" + (f" with {self.responses} responses" if self.responses else "")
        bad = "bad responses or rows" if self.responses else "bad rows"
        ties = f"{self.ties} ties, " if self.ties else ""
        lines = [
            f"{rows}: {self.comparisons} comparisons ({self.comparisons - self.joint} conditional, "
            f"{self.joint} joint) of {self.items} items, {ties}{sum(self.skipped.values())} {bad} skipped"
        ]
        lines += skipped_lines(self.skipped, self.bad_rows)
        lines += [f"  {self.duplicates} responses repeat an item"] if self.duplicates else []
        lines += [f"  {self.repeated} comparisons repeat an earlier one"] if self.repeated else []
        lines += [f"  {self.contradictions} comparisons are stated both ways"] if self.contradictions else []
        lines += [f"  not read: {name}" for name in self.ignored]
        return lines + column_lines(self.tables)

    def as_dict(self) -> dict[str, Any]:
        """The report as report.json holds it."""
        rows, tables = ([one._asdict() for one in found] for found in (self.bad_rows, self.tables))
        return {**asdict(self), "bad_rows": rows, "tables": tables}


def skipped_lines(skipped: dict[str, int], bad_rows: Sequence[BadRow]) -> list[str]:
    """What was skipped, by reason, and the first rows of it, for people."""
    lines = [f"  {count} x {reason}" for reason, count in sorted(skipped.items(), key=lambda kv: -kv[1])]
    lines += [f"    {bad_row}" for bad_row in bad_rows]
    unnamed = sum(skipped.values()) - len(bad_rows)
    return lines + ([f"    and {unnamed} more"] if unnamed and bad_rows else [])


@dataclass
class Tally:
    """Counts that grow while reading."""

    rows: int = 0
    responses: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    bad_rows: list[BadRow] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    tables: list[TableColumns] = field(default_factory=list)
    layouts: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Count what another source counted, too; only the first bad rows are kept."""
        self.rows, self.responses = self.rows + other.rows, self.responses + other.responses
        self.skipped += other.skipped
        self.bad_rows = [*self.bad_rows, *other.bad_rows][:BAD_ROWS_TO_KEEP]
        self.ignored += other.ignored
        self.tables += other.tables
        self.layouts += other.layouts
