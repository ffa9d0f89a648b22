"""Reading preferences: from files, folders, globs and hub data sets to one ComparisonSet and a report that adds up.

A bad row never ends the reading of a file and is never dropped in silence: it stops the run with its file, line, field
and reason, or it is counted and named in the report.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import pyarrow.compute as pc

from jpo_dist.config.base import ROW_MIB
from jpo_dist.data.accounting import Account
from jpo_dist.data.checker import check
from jpo_dist.data.collected import Preferences, Said, compile_set, grouped, report_of
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.layouts import RATING_COLUMNS, Layout, Names, Reading, Turns, pair_splits, read_row
from jpo_dist.data.layouts.config import LayoutConfig
from jpo_dist.data.locate import Table, open_place
from jpo_dist.data.read_report import BAD_ROWS_TO_KEEP, BadRow, BadRowError, ReadReport
from jpo_dist.data.row_values import BadField
from jpo_dist.data.table_layout import columns_of, detect, renamed
from jpo_dist.distributed.waiting import working
from jpo_dist.records.columns.common import Common
from jpo_dist.records.comparisons import ComparisonSet, Item
from jpo_dist.records.group_column import Groups, named
from jpo_dist.records.groups import require
from jpo_dist.records.split import whole_splits

OnBadRow = Literal["error", "skip"]
WithReport = tuple[ComparisonSet, ReadReport]

_RATING = RATING_COLUMNS | {"scores", "score_chosen", "score_rejected"}
_OWN = {"score", "scores", "liked", "better"}
"""What a layout of a user's own says of scores."""


def read(
    where: str | list[str], *, on_bad_row: OnBadRow, groups: Sequence[str] = (), max_row_mib: int = ROW_MIB
) -> WithReport:
    """All comparisons of `where`, in order, each with the `source` FILE:LINE; scores give comparisons within an
    instruction, after those that are stated.

    `where`: JSONL, JSON, CSV, Parquet or Arrow files, folders of them, globs, ComparisonSet folders (FOLDER or
    FOLDER:SPLIT), hub data sets (OWNER/NAME or OWNER/NAME:SPLIT, else the split `train`), `package:MODULE/FILE`; or a
    list of such. `groups`: columns that say who judged, kept in the comparisons.
    `max_row_mib`: a row with more MiB is bad. Raises BadRowError (with
    on_bad_row="error"), FileNotFoundError, and ValueError for files without a known layout or one of `groups`, or when
    there is no comparison at all.
    """
    built, report = scan(where, on_bad_row=on_bad_row, groups=groups, max_row_mib=max_row_mib)
    if not len(built):
        raise ValueError("\n".join([f"{where}: no comparisons; {advice(built)}", *report.lines()]))
    return built, report


def advice(built: ComparisonSet) -> str:
    """What may make comparisons of data that have none, in a few words."""
    if not built.num_items:
        return "name data that has some"
    if built.items["score"].null_count == built.num_items:
        return "no response has a score; a checker (jpo data build) or a judge (jpo judge) may compare them"
    return "ratings of different instructions compare only with a pairing policy: jpo data build"


def scan(
    where: str | list[str], *, on_bad_row: OnBadRow, groups: Sequence[str] = (), max_row_mib: int = ROW_MIB
) -> WithReport:
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
            source = SourceConfig(path=text, groups=list(groups), max_row_mib=max_row_mib)
            collect(place, source, on_bad_row, preferences)
        built = compile_set(preferences.said())
    return built, report_of(built, preferences.said())


def read_candidates(
    where: str | list[str], *, on_bad_row: OnBadRow, groups: Sequence[str] = (), max_row_mib: int = ROW_MIB
) -> tuple[list[tuple[Item, Item, str, Groups, str | None]], ReadReport]:
    """Pairs for a judge, (first, second, source, groups, split), in order: rows without a verdict, and comparisons
    without theirs.

    `groups`: columns that are kept, and groups of sets; what else a set knows of who judged went with the verdict. The
    split is that of a set, or what the column `split` says; either all pairs have one or none has.
    Raises what `read` raises, and what `whole_splits` raises.
    """
    preferences = Preferences()
    for text in listed(where):
        for place in open_place(text, preferences.tally.ignored):
            source = SourceConfig(path=text, groups=list(groups), max_row_mib=max_row_mib)
            collect(place, source, on_bad_row, preferences, candidates=True)
    if not preferences.comparisons:
        raise ValueError(f"{where}: no pairs to judge; name pairs, or make some with jpo data build (candidates:)")
    stated = list(preferences.comparisons)
    splits = whole_splits([c.split for c in stated], [c.source for c in stated], where)
    found = [
        (c.winner, c.loser, c.source, named(c.groups, groups), split) for c, split in zip(stated, splits, strict=True)
    ]
    return found, report_of(ComparisonSet.build(preferences.comparisons), preferences.said())


def read_sources(sources: Sequence[SourceConfig], on_bad_row: OnBadRow) -> list[Said]:
    """What each source of a build says; they share their items. Raises what `read_source` raises, and ValueError for
    two that give one scale two meanings."""
    common = Common()
    parts = [read_source(source, on_bad_row, common).said() for source in sources]
    require_one_meaning(sources, parts)
    return parts


def read_source(source: SourceConfig, on_bad_row: OnBadRow, common: Common | None = None) -> Preferences:
    """One source of a build, read with its own layout, columns and score; raises what `read` raises, and JudgeError.

    `common`: that of other sources that this one will be joined with.
    """
    preferences = Preferences(common)
    for text in listed(source.path):
        for place in open_place(text, preferences.tally.ignored):
            collect(place, source, on_bad_row, preferences)
    if source.checker is not None:
        check(preferences, source.checker, source.scale)
    return preferences


def require_one_meaning(sources: Sequence[SourceConfig], parts: Sequence[Said]) -> None:
    """Raises ValueError where two sources without a name read scores of another kind from one path, which would be one
    scale: the mean of an item's helpfulness and its verbosity is neither. `parts`: what each source says."""
    first: dict[str, int] = {}
    for number, (source, part) in enumerate(zip(sources, parts, strict=True)):
        if source.name is not None or not _rates(source, part):
            continue
        other = first.setdefault(source.scale, number)
        one, two = _meaning(sources[other], parts[other]), _meaning(source, part)
        if one != two:
            raise ValueError(
                f"sources.{other} ({_told(one, two)}) and sources.{number} ({_told(two, one)}) are both {source.path} "
                "and have no name, so that their scores would be on one scale; give each a name of its own (scores of "
                "different names never compare), or both the same name (they do), or make them one source, whose score "
                "[A, B] is the mean"
            )


def _rates(source: SourceConfig, part: Said) -> bool:
    """Whether there is a score on the scale of the source: verdicts and rankings are on none."""
    for table in (part.ratings, part.pair_scores):
        if pc.any(pc.and_(pc.is_finite(table["score"]), pc.equal(table["scale"], source.scale))).as_py():
            return True
    return False


def _meaning(source: SourceConfig, part: Said) -> dict[str, Any]:
    """What gives the scores of a source, by key."""
    if source.checker is not None:
        return {"checker": source.checker}
    columns = {ours: their for ours, their in source.columns.items() if ours in _RATING}
    found: dict[str, Any] = {"score": ", ".join(source.scores) or columns.pop("score", "that of its layout")}
    found |= {f"columns.{ours}": their for ours, their in columns.items()}
    if isinstance(source.layout, LayoutConfig):
        return found | {f"layout.{key}": value for key, value in source.layout.model_dump(include=_OWN).items()}
    return found | {"layout": " and ".join(sorted(part.tally.layouts))}


def _told(meaning: dict[str, Any], other: dict[str, Any]) -> str:
    """Those of its settings that the other one does not have."""
    return ", ".join(f"{key}: {value}" for key, value in meaning.items() if key not in other or other[key] != value)


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
        into.add_set(place, with_splits=candidates)
        return None
    layout, account = detect(place, source, candidates)
    into.tally.layouts.update([layout.name] if layout else [])
    bad_here: list[BadRow] = []
    name, scale = source.name or place.label, source.scale
    table = into.common.table(name)
    columns = columns_of(source, layout, account)
    rows_of = partial(place.rows, pair_splits.asked_for(columns) if candidates else columns)
    with working(f"reading {place.label}", unit="rows") as work:
        for line, row in work.each(layout.unroll(rows_of) if layout and layout.unroll else rows_of()):
            into.tally.rows += 1
            names = Names(f"{name}:{line}", scale, f"{table}:{line}", source.scores, turns)
            try:
                reading = _read(layout, row, source, names, account)
                reading = pair_splits.noted(reading, row) if candidates else reading
            except BadField as bad:
                reading = Reading(bad=(bad,))
            _add(reading, layout, into)
            bad_here.extend(BadRow(place.name, line, bad.field, bad.reason) for bad in reading.bad)
    into.tally.tables.extend(pair_splits.told(account.done()) if candidates else account.done())
    into.tally.skipped.update(bad.reason for bad in bad_here)
    if bad_here and on_bad_row == "error":  # only now: people want to mend a file once
        raise BadRowError(*bad_here[0], others=len(bad_here) - 1)
    into.tally.bad_rows.extend(bad_here[: BAD_ROWS_TO_KEEP - len(into.tally.bad_rows)])
    return layout.name if layout else None


def _add(reading: Reading, layout: Layout | None, into: Preferences) -> None:
    if reading.left_out:
        into.tally.skipped.update(left.reason for left in reading.left_out)
    if reading.comparison:
        into.comparisons.append(reading.comparison)
    into.comparisons.extend(reading.comparisons)
    if layout and layout.kind == "responses":
        into.tally.responses += len(reading.ratings) + len(reading.bad) + len(reading.left_out)
        into.ratings.extend(reading.ratings)
    else:
        into.pair_scores.extend(reading.ratings)


def _read(
    layout: Layout | None, row: dict[str, Any] | BadField, source: SourceConfig, names: Names, account: Account
) -> Reading:
    if isinstance(row, BadField):
        raise row
    if layout is None:
        raise BadField("", "unknown layout")
    account.see(row)
    whole = account.filled(renamed(account.present(row) if account.empty else row, layout, source))
    reading = read_row(layout, whole, names, named=source.layout != "auto")
    return grouped(reading, row, source.groups)
