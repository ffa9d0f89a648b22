"""Reading preferences: from files, folders, globs and hub data sets to one ComparisonSet and a report that adds up.

A bad row never ends the reading of a file and is never dropped in silence: it stops the run with its file, line, field
and reason, or it is counted and named in the report.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jpo_dist.fields import NUMBERS, BadField
from jpo_dist.formats import LINE_FORMATS, Columns
from jpo_dist.layouts import COLUMNS, LAYOUTS, Layout, Names, Reading, layout_of, mean_score, read_row
from jpo_dist.places import Table, open_place
from jpo_dist.records import Comparison, ComparisonSet, Item, Rating
from jpo_dist.scored import from_scores
from jpo_dist.source_config import SourceConfig

OnBadRow = Literal["error", "skip"]

_ROWS_TO_DETECT = 1000
_BAD_ROWS_TO_KEEP = 20


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
    """What became of everything that was read.

    Rows of pairs: rows == comparisons + ties + skipped. Responses (ratings, thumbs, rankings): responses == items +
    duplicates + skipped, and the comparisons and ties are those that their scores make.
    """

    rows: int
    comparisons: int
    """Decided ones."""
    ties: int
    responses: int
    duplicates: int
    """Responses of an item that had been read before; its score is their mean."""
    skipped: dict[str, int]
    """Bad rows, and bad responses, by reason."""
    bad_rows: tuple[BadRow, ...]
    """The first 20 of them."""
    items: int
    joint: int
    """Of the decided comparisons."""
    repeated: int
    """Comparisons of the same winner and loser as an earlier one; they are kept and count again."""
    contradictions: int
    """Comparisons that another one states the other way round; they are kept too."""
    ignored: tuple[str, ...]
    """Files in folders and globs that are not data files."""

    def lines(self) -> list[str]:
        """For people."""
        rows = f"{self.rows} rows" + (f" with {self.responses} responses" if self.responses else "")
        bad = "bad responses or rows" if self.responses else "bad rows"
        ties = f"{self.ties} ties, " if self.ties else ""
        lines = [
            f"{rows}: {self.comparisons} comparisons ({self.comparisons - self.joint} conditional, "
            f"{self.joint} joint) of {self.items} items, {ties}{sum(self.skipped.values())} {bad} skipped"
        ]
        lines += [f"  {count} x {reason}" for reason, count in sorted(self.skipped.items(), key=lambda kv: -kv[1])]
        lines += [f"    {bad_row}" for bad_row in self.bad_rows]
        unnamed = sum(self.skipped.values()) - len(self.bad_rows)
        lines += [f"    and {unnamed} more"] if unnamed else []
        lines += [f"  {self.duplicates} responses repeat an item"] if self.duplicates else []
        lines += [f"  {self.repeated} comparisons repeat an earlier one"] if self.repeated else []
        lines += [f"  {self.contradictions} comparisons are stated both ways"] if self.contradictions else []
        lines += [f"  not read: {name}" for name in self.ignored]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For report.json."""
        return {**asdict(self), "bad_rows": [bad._asdict() for bad in self.bad_rows]}


@dataclass
class Tally:
    """Counts that grow while reading."""

    rows: int = 0
    responses: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    bad_rows: list[BadRow] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.rows, self.responses = self.rows + other.rows, self.responses + other.responses
        self.skipped += other.skipped
        self.bad_rows = [*self.bad_rows, *other.bad_rows][:_BAD_ROWS_TO_KEEP]
        self.ignored += other.ignored


@dataclass
class Preferences:
    """All that sources say, before scores become comparisons."""

    comparisons: list[Comparison] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)
    """Of rows of responses: nobody has compared these items yet."""
    pair_scores: list[Rating] = field(default_factory=list)
    """Scores that came with a comparison of the same items."""
    tally: Tally = field(default_factory=Tally)

    def scores(self) -> list[Rating]:
        """Everything known of single items."""
        return merged([*self.ratings, *self.pair_scores])


def merged(ratings: list[Rating]) -> list[Rating]:
    """One for each item and scale: the mean, at the place of the first."""
    found: dict[tuple[Item, str], list[Rating]] = {}
    for rating in ratings:
        found.setdefault((rating.item, rating.scale), []).append(rating)
    return [same[0]._replace(score=sum(r.score for r in same) / len(same)) for same in found.values()]


def read(where: str | list[str], *, on_bad_row: OnBadRow) -> tuple[ComparisonSet, ReadReport]:
    """All comparisons of `where`, in order, each with the `source` FILE:LINE; scores give comparisons within an
    instruction, after those that are stated.

    `where`: JSONL, JSON, CSV, Parquet or Arrow files, folders of them, globs, ComparisonSet folders (FOLDER or
    FOLDER:SPLIT), hub data sets (OWNER/NAME or OWNER/NAME:SPLIT, else the split `train`), `package:MODULE/FILE`; or a
    list of such. Raises BadRowError (with on_bad_row="error"), FileNotFoundError, and ValueError for files without a
    known layout or when there is no comparison at all.
    """
    built, report = scan(where, on_bad_row=on_bad_row)
    if not len(built):
        advice = "; ratings of different instructions compare only with a pairing policy: jpo data build"
        head = f"{where}: no comparisons{advice if report.items else '; name data that has some'}"
        raise ValueError("\n".join([head, *report.lines()]))
    return built, report


def scan(where: str | list[str], *, on_bad_row: OnBadRow) -> tuple[ComparisonSet, ReadReport]:
    """As `read`, and content with items that nobody has compared."""
    preferences = Preferences()
    places = [(place, text) for text in _listed(where) for place in open_place(text, preferences.tally.ignored)]
    if len(places) == 1 and isinstance(places[0][0], ComparisonSet):  # keeps its memory map
        built = places[0][0]
        preferences.tally.rows = len(built)
    else:
        for place, text in places:
            collect(place, SourceConfig(path=text), on_bad_row, preferences)
        built = compile_set(preferences)
    return built, report_of(built, preferences)


def read_candidates(where: str | list[str], *, on_bad_row: OnBadRow) -> tuple[list[tuple[Item, Item, str]], ReadReport]:
    """Pairs for a judge: (first, second, source). Rows without a verdict, or comparisons with theirs put aside."""
    preferences = Preferences()
    for text in _listed(where):
        for place in open_place(text, preferences.tally.ignored):
            collect(place, SourceConfig(path=text), on_bad_row, preferences, candidates=True)
    if not preferences.comparisons:
        raise ValueError(f"{where}: no pairs to judge; name pairs, or make some with jpo data build (candidates:)")
    found = [(c.winner, c.loser, c.source) for c in preferences.comparisons]
    return found, report_of(ComparisonSet.build(preferences.comparisons), preferences)


def read_source(source: SourceConfig, on_bad_row: OnBadRow) -> Preferences:
    """One source of a build, read with its own layout, columns and score."""
    preferences = Preferences()
    for text in _listed(source.path):
        for place in open_place(text, preferences.tally.ignored):
            collect(place, source, on_bad_row, preferences)
    return preferences


def _listed(where: str | list[str]) -> list[str]:
    return [where] if isinstance(where, str) else where


def collect(
    place: Table | ComparisonSet,
    source: SourceConfig,
    on_bad_row: OnBadRow,
    into: Preferences,
    candidates: bool = False,
) -> None:
    """Everything of one place, added to `into`."""
    if isinstance(place, ComparisonSet):
        into.tally.rows += len(place)
        into.comparisons.extend(comparisons_of(place))
        into.pair_scores.extend(_ratings_of(place))
        return
    layout = _detect(place, source, candidates)
    bad_here: list[BadRow] = []
    scale = source.name or str(source.path)
    for line, row in place.rows(_columns(source)):
        into.tally.rows += 1
        names = Names(f"{source.name or place.label}:{line}", scale, source.scores)
        try:
            reading = _read(layout, row, source, names)
        except BadField as bad:
            reading = Reading(bad=(bad,))
        _add(reading, layout, into)
        bad_here.extend(BadRow(place.name, line, bad.field, bad.reason) for bad in reading.bad)
    into.tally.skipped.update(bad.reason for bad in bad_here)
    if bad_here and on_bad_row == "error":  # only now: people want to mend a file once
        raise BadRowError(*bad_here[0], others=len(bad_here) - 1)
    into.tally.bad_rows.extend(bad_here[: _BAD_ROWS_TO_KEEP - len(into.tally.bad_rows)])


def _add(reading: Reading, layout: Layout | None, into: Preferences) -> None:
    if reading.comparison:
        into.comparisons.append(reading.comparison)
    if layout and layout.kind == "responses":
        into.tally.responses += len(reading.ratings) + len(reading.bad)
        into.ratings.extend(reading.ratings)
    else:
        into.pair_scores.extend(reading.ratings)


def _read(layout: Layout | None, row: dict[str, Any] | BadField, source: SourceConfig, names: Names) -> Reading:
    if isinstance(row, BadField):
        raise row
    if layout is None:
        raise BadField("", "unknown layout")
    return read_row(layout, _renamed(row, source), names, named=source.layout != "auto")


def _renamed(row: dict[str, Any], source: SourceConfig) -> dict[str, Any]:
    """The row under the names that layouts know, its score under `score`."""
    if not source.columns and not source.scores:
        return row
    theirs = set(source.columns.values())
    renamed = {name: value for name, value in row.items() if name not in theirs}
    renamed |= {ours: row[their] for ours, their in source.columns.items() if their in row}
    if source.scores and all(column in row for column in source.scores):
        renamed["score"] = mean_score(row, source.scores)
    return renamed


def _columns(source: SourceConfig) -> Columns:
    scores = set(source.scores) | {their for ours, their in source.columns.items() if ours in NUMBERS}
    return Columns(COLUMNS | set(source.columns.values()) | scores, NUMBERS | scores)


def _detect(table: Table, source: SourceConfig, candidates: bool) -> Layout | None:
    """The layout that most of the first rows have; None when no row can be read. Raises ValueError for unknown columns.

    One layout for a table: row by row, a row that lost its `prompt` would pass for one with an implicit prompt.
    """
    everything = _columns(source)._replace(wanted=None)
    rows = [row for _, row in islice(table.rows(everything), _ROWS_TO_DETECT) if not isinstance(row, BadField)]
    name = None if source.layout == "auto" else source.layout
    columns = [_column_names(row, source) for row in rows]
    votes = Counter(layout for names in columns if (layout := layout_of(names, name)))
    if columns and not votes:
        found = ", ".join(sorted({name for names in columns for name in names})) or "none"
        raise ValueError(
            f"{table.name}: its columns ({found}) are of no known layout; rename them to one of: "
            f"{_nearest(set(found.split(', ')), name)} (all layouts: docs/data.md)"
        )
    layout = votes.most_common(1)[0][0] if votes else None
    if layout and layout.kind == "candidates" and not candidates:
        raise ValueError(f"{table.name}: pairs without a verdict (no column feedback); label them first: jpo judge")
    return layout


def _nearest(columns: set[str], name: str | None) -> str:
    """Column names of the three layouts that have most of these columns, and, of equal ones, the usual ones first."""
    usual = ("paper", "explicit", "rating")
    known = [layout for layout in LAYOUTS if name in (None, layout.name)]
    known.sort(key=lambda layout: (-len(columns & set(layout.columns)), layout.name not in usual))
    return "; ".join(" ".join(layout.columns) for layout in known[:3])


def _column_names(row: dict[str, Any], source: SourceConfig) -> list[str]:
    try:
        return list(_renamed(row, source))
    except BadField:
        return [*_renamed({**row, **dict.fromkeys(source.scores, 0.0)}, source)]


def comparisons_of(built: ComparisonSet) -> Iterator[Comparison]:
    """The comparisons as they were before they became tables."""
    items = built.all_items()
    for e in built.comparisons.to_pylist():
        winner, loser = items[e["winner"]], items[e["loser"]]
        how = {name: e[name] for name in ("weight", "source", "tie", "confidence", "origin", "pairing", "annotator")}
        yield Comparison(winner, loser, **how)


def _ratings_of(built: ComparisonSet) -> Iterator[Rating]:
    scored = built.items.select(["score", "scale"]).to_pylist()
    for item, row in zip(built.all_items(), scored, strict=True):
        if row["score"] is not None:
            yield Rating(item, row["score"], row["scale"])


def compile_set(preferences: Preferences) -> ComparisonSet:
    """One set: what is stated, then what scores say within one instruction, equal scores as ties."""
    scored = from_scores(merged(preferences.ratings))
    return ComparisonSet.build([*preferences.comparisons, *scored], preferences.scores())


def report_of(built: ComparisonSet, preferences: Preferences) -> ReadReport:
    tally, decided_C = preferences.tally, ~built.is_tie_C
    winners, losers = built.winners_C[decided_C], built.losers_C[decided_C]
    forward, backward = winners * built.num_items + losers, losers * built.num_items + winners
    return ReadReport(
        rows=tally.rows,
        comparisons=int(decided_C.sum()),
        ties=int(built.is_tie_C.sum()),
        responses=tally.responses,
        duplicates=len(preferences.ratings) - len({rating.item for rating in preferences.ratings}),
        skipped=dict(tally.skipped),
        bad_rows=tuple(tally.bad_rows),
        items=built.num_items,
        joint=int((built.is_joint_C & decided_C).sum()),
        repeated=len(forward) - len(np.unique(forward)),
        contradictions=int(np.isin(forward, backward).sum()),
        ignored=tuple(tally.ignored),
    )
