"""Reading comparisons: from files, folders, globs and hub data sets to one ComparisonSet and a report that adds up.

A bad row never ends the reading of a file and is never dropped in silence: it stops the run with its file, line, field
and reason, or it is counted and named in the report.
"""

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jpo_dist.formats import FORMATS, LINE_FORMATS, Rows, rows_of
from jpo_dist.layouts import LAYOUTS, BadField, Layout, comparison, layout_of
from jpo_dist.paths import resolve
from jpo_dist.records import Comparison, ComparisonSet

OnBadRow = Literal["error", "skip"]

_ROWS_TO_DETECT = 1000
_BAD_ROWS_TO_KEEP = 20
# What `datasets` writes beside its tables: JSON, but not rows.
_NOT_DATA = frozenset({"dataset_info.json", "state.json", "dataset_dict.json"})
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")


class BadRow(NamedTuple):
    """One row that could not be read. `line` counts from 1; in Parquet, Arrow and hub data it counts rows."""

    file: str
    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        unit = "line" if Path(self.file).suffix.lower() in LINE_FORMATS else "row"
        return f"{self.file}, {unit} {self.line}: {self.field + ': ' if self.field else ''}{self.reason}"


class BadRowError(ValueError):
    """The first bad row of a file, and how many others the same file has."""

    def __init__(self, file: str, line: int, field: str, reason: str, others: int) -> None:
        super().__init__(file, line, field, reason, others)  # all of them, so that it can be pickled
        self.file, self.line, self.field, self.reason, self.others = file, line, field, reason, others

    def __str__(self) -> str:
        return (
            f"{BadRow(self.file, self.line, self.field, self.reason)} ({self.others} more bad rows in this file). "
            "Correct the rows, or set data.on_bad_row=skip (now error) to count them and go on."
        )


@dataclass(frozen=True)
class ReadReport:
    """What became of every row: rows == comparisons + sum(skipped.values())."""

    rows: int
    comparisons: int
    skipped: dict[str, int]
    """Bad rows by reason."""
    bad_rows: tuple[BadRow, ...]
    """The first 20 of them."""
    items: int
    joint: int
    duplicates: int
    """Comparisons of the same winner and loser as an earlier one; they are kept and count again."""
    contradictions: int
    """Comparisons that another one states the other way round; they are kept too."""
    ignored: tuple[str, ...]
    """Files in folders and globs that are not data files."""

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            f"{self.rows} rows: {self.comparisons} comparisons ({self.comparisons - self.joint} conditional, "
            f"{self.joint} joint) of {self.items} items, {self.rows - self.comparisons} bad rows skipped"
        ]
        lines += [f"  {count} x {reason}" for reason, count in sorted(self.skipped.items(), key=lambda kv: -kv[1])]
        lines += [f"    {bad}" for bad in self.bad_rows]
        unnamed = sum(self.skipped.values()) - len(self.bad_rows)
        lines += [f"    and {unnamed} more"] if unnamed else []
        lines += [f"  {self.duplicates} comparisons repeat an earlier one"] if self.duplicates else []
        lines += [f"  {self.contradictions} comparisons are stated both ways"] if self.contradictions else []
        lines += [f"  not read: {name}" for name in self.ignored]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For report.json."""
        return {**asdict(self), "bad_rows": [bad._asdict() for bad in self.bad_rows]}


class Table(NamedTuple):
    """Something with rows: `name` for errors, `label` for the `source` of a comparison (no folder: runs move)."""

    name: str
    label: str
    rows: Callable[[], Rows]


@dataclass
class _Tally:
    rows: int = 0
    comparisons: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    bad_rows: list[BadRow] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def read(where: str | list[str], *, on_bad_row: OnBadRow) -> tuple[ComparisonSet, ReadReport]:
    """All comparisons of `where`, in order, each with the `source` FILE:LINE.

    `where`: JSONL, JSON, CSV, Parquet or Arrow files, folders of them, globs, ComparisonSet folders, hub data sets
    (OWNER/NAME or OWNER/NAME:SPLIT, else the split `train`), `package:MODULE/FILE`; or a list of such.
    Raises BadRowError (with on_bad_row="error"), FileNotFoundError, and ValueError for files without a known layout or
    when there is no comparison at all.
    """
    tally = _Tally()
    found = [part for text in ([where] if isinstance(where, str) else where) for part in _open(text, tally.ignored)]

    def all_comparisons() -> Iterator[Comparison]:
        for part in found:
            if isinstance(part, ComparisonSet):
                tally.rows, tally.comparisons = tally.rows + len(part), tally.comparisons + len(part)
                yield from _comparisons_of(part)
            else:
                yield from _comparisons_in(part, on_bad_row, tally)

    if len(found) == 1 and isinstance(found[0], ComparisonSet):  # keeps its memory map
        built = found[0]
        tally.rows = tally.comparisons = len(built)
    else:
        built = ComparisonSet.build(all_comparisons())
    report = _report(built, tally)
    if not len(built):
        raise ValueError("\n".join([f"{where}: no comparisons; name data that has some", *report.lines()]))
    return built, report


def _comparisons_in(table: Table, on_bad_row: OnBadRow, tally: _Tally) -> Iterator[Comparison]:
    """The good rows. Bad ones are counted to the end even when they are errors: people want to mend a file once."""
    layout = _detect(table)
    bad_here: list[BadRow] = []
    for line, row in table.rows():
        tally.rows += 1
        try:
            found = _compile(layout, row, f"{table.label}:{line}")
        except BadField as bad:
            bad_here.append(BadRow(table.name, line, bad.field, bad.reason))
            tally.skipped[bad.reason] += 1
        else:
            tally.comparisons += 1
            yield found
    if bad_here and on_bad_row == "error":
        raise BadRowError(*bad_here[0], others=len(bad_here) - 1)
    tally.bad_rows.extend(bad_here[: _BAD_ROWS_TO_KEEP - len(tally.bad_rows)])


def _compile(layout: Layout | None, row: dict[str, Any] | BadField, source: str) -> Comparison:
    if isinstance(row, BadField):
        raise row
    if layout is None:
        raise BadField("", "unknown layout")
    return comparison(layout, row, source)


def _detect(table: Table) -> Layout | None:
    """The layout that most of the first rows have; None when no row can be read. Raises ValueError for unknown columns.

    One layout for a table: row by row, a row that lost its `prompt` would pass for one with an implicit prompt.
    """
    columns = [list(row) for _, row in islice(table.rows(), _ROWS_TO_DETECT) if not isinstance(row, BadField)]
    votes = Counter(layout for names in columns if (layout := layout_of(names)))
    if columns and not votes:
        found = ", ".join(sorted({name for names in columns for name in names})) or "none"
        known = "; ".join(" ".join(layout.columns) for layout in LAYOUTS)
        raise ValueError(f"{table.name}: its columns ({found}) are of no known layout; rename them to one of: {known}")
    return votes.most_common(1)[0][0] if votes else None


def _comparisons_of(comparisons: ComparisonSet) -> Iterator[Comparison]:
    items = comparisons.all_items()
    for edge in comparisons.comparisons.to_pylist():
        yield Comparison(items[edge["winner"]], items[edge["loser"]], edge["weight"], edge["source"])


def _report(built: ComparisonSet, tally: _Tally) -> ReadReport:
    forward = built.winners_C * built.num_items + built.losers_C
    backward = built.losers_C * built.num_items + built.winners_C
    return ReadReport(
        rows=tally.rows,
        comparisons=tally.comparisons,
        skipped=dict(tally.skipped),
        bad_rows=tuple(tally.bad_rows),
        items=built.num_items,
        joint=int(built.is_joint_C.sum()),
        duplicates=len(forward) - len(np.unique(forward)),
        contradictions=int(np.isin(forward, backward).sum()),
        ignored=tuple(tally.ignored),
    )


def _open(where: str, ignored: list[str]) -> list[Table | ComparisonSet]:
    path = Path(resolve(where))
    if path.is_dir():
        return _open_folder(path, ignored)
    if path.is_file():
        return [_open_file(path)]
    if re.search(r"[*?\[]", where):
        return _open_glob(str(path), ignored)
    if _HUB_ID.fullmatch(where) and path.suffix.lower() not in FORMATS:
        return [Table(where, where, lambda: _hub_rows(where))]
    raise FileNotFoundError(f"{where}: no such file or folder, seen from {Path.cwd()}; correct the path")


def _open_file(path: Path) -> Table:
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"{path}: extension {path.suffix!r} is none of {' '.join(FORMATS)}; convert or rename the file"
        )
    return Table(str(path), path.name, lambda: rows_of(path))


def _open_folder(folder: Path, ignored: list[str]) -> list[Table | ComparisonSet]:
    if all((folder / name).is_file() for name in ("items.parquet", "comparisons.parquet")):
        return [ComparisonSet.read(folder)]
    data = _data_files([path for path in sorted(folder.iterdir()) if not path.name.startswith(".")], ignored)
    if not data:
        raise FileNotFoundError(f"{folder}: no {' '.join(FORMATS)} files in this folder; name the folder they are in")
    return [_open_file(path) for path in data]


def _open_glob(pattern: str, ignored: list[str]) -> list[Table | ComparisonSet]:
    matches = sorted(Path(match) for match in glob.glob(pattern, recursive=True))
    folders = [path for path in matches if (path / "items.parquet").is_file()]
    data = _data_files([path for path in matches if path not in folders], ignored)
    if not data and not folders:
        raise FileNotFoundError(f"{pattern}: no data file matches, seen from {Path.cwd()}; correct the pattern")
    return [part for folder in folders for part in _open_folder(folder, ignored)] + [_open_file(p) for p in data]


def _data_files(paths: list[Path], ignored: list[str]) -> list[Path]:
    data = [p for p in paths if p.is_file() and p.suffix.lower() in FORMATS and p.name not in _NOT_DATA]
    ignored.extend(str(path) for path in paths if path not in data)
    return data


def _hub_rows(where: str) -> Rows:
    import datasets  # seconds to import, and only hub ids need it

    name, _, split = where.partition(":")
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{where}: neither here (seen from {Path.cwd()}) nor readable on the hub: {error}; "
            "correct the name, or download the files and name them"
        ) from error
    yield from enumerate(rows, 1)
