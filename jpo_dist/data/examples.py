"""From files of any layout to single items to learn from: demonstrations for SFT, labelled items for KTO.

Everything that data name is accounted for: named == examples + repeats + left out.
"""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from jpo_dist.config.sections import DataConfig
from jpo_dist.config.sft import SftDataConfig
from jpo_dist.data.collected import Preferences, Said, merged
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.layouts import THUMBS, Turns
from jpo_dist.data.locate import open_place
from jpo_dist.data.read import collect, listed
from jpo_dist.data.read_report import BadRow, TableColumns, Tally, column_lines, skipped_lines
from jpo_dist.records.columns.common import Common
from jpo_dist.records.columns.item_rows import ItemRows
from jpo_dist.records.columns.lists import rating_table
from jpo_dist.records.columns.pages import chunks
from jpo_dist.records.examples import Examples

Says = Literal["wins", "loses", "ties", "liked", "ranked", "rated", "unrated"]


class Named(NamedTuple):
    """An item as data name it once, and what they say of it there."""

    item: int
    """Its row among the items."""
    says: Says
    source: str
    weight: float = 1.0
    score: float = math.nan
    """A rating; for `liked` 1 or 0; for `ranked` 0 for the best and less for the others."""
    scale: str = ""


class NamedList:
    """Items as data name them, in columns: an object for each would take most of the memory of a million."""

    def __init__(self) -> None:
        self.items, self.weights, self.scores = array("q"), array("d"), array("d")
        self._says, self._scales, self.sources = list[Says](), list[str](), list[str]()

    def extend(self, more: Iterable[Named]) -> None:
        for one in more:
            self.items.append(one.item)
            self.weights.append(one.weight)
            self.scores.append(one.score)
            self._says.append(one.says)
            self._scales.append(one.scale)
            self.sources.append(one.source)

    def __iter__(self) -> Iterator[Named]:
        return map(Named, self.items, self._says, self.sources, self.weights, self.scores, self._scales)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class ExampleReport:
    """What became of everything that was read, in numbers that add up: named == examples + repeats + left_out."""

    rows: int
    named: int
    """Items that the good rows name: two in a pair, one for each response."""
    examples: int
    undesirable: int
    """How many of the examples are to be avoided."""
    items: int
    repeats: int
    """Named again, with the same label."""
    left_out: dict[str, int]
    """By reason."""
    skipped: dict[str, int]
    """Bad rows and responses, and answers that do not end, by reason."""
    bad_rows: tuple[BadRow, ...]
    ignored: tuple[str, ...]
    tables: tuple[TableColumns, ...] = ()
    """What became of the columns of each file."""

    def lines(self) -> list[str]:
        """The report as lines for people."""
        skipped = f", {sum(self.skipped.values())} rows or responses skipped" if self.skipped else ""
        labels = f" ({self.examples - self.undesirable} desirable, {self.undesirable} undesirable)"
        lines = [
            f"{self.rows} rows name {self.named} items: {self.examples} examples"
            f"{labels if self.undesirable else ''}, {self.repeats} repeats, {sum(self.left_out.values())} left out"
            f"{skipped}"
        ]
        lines += [f"  left out: {count} x {reason}" for reason, count in sorted(self.left_out.items())]
        lines += skipped_lines(self.skipped, self.bad_rows)
        both = self.examples - self.items
        lines += [f"  {both} items are both desirable and undesirable, and learned from as both"] if both else []
        lines += [f"  not read: {name}" for name in self.ignored]
        return lines + column_lines(self.tables)


Verdict = bool | str
"""Whether an item is desirable, or why it is left out."""


def read_demonstrations(where: str | list[str], data: SftDataConfig) -> tuple[Examples, ExampleReport]:
    """What SFT imitates of `where` (as read.read has it): responses, the best of rankings, winners of comparisons.

    Raises BadRowError, FileNotFoundError, and ValueError for files without a known layout or where nothing is left.
    """
    named, items, tally = _named(where, data, data.turns)
    return _examples(where, named, items, _imitated(named, items, data), tally)


def read_labelled(where: str | list[str], data: DataConfig) -> tuple[Examples, ExampleReport]:
    """Items of `where` with a label: thumbs, ratings by data.desirable_from, the two sides of comparisons, the first
    and the last of rankings.

    Raises what `read_demonstrations` raises, and ValueError for ratings without data.desirable_from.
    """
    named, items, tally = _named(where, data, "last")
    scores = [one.score for one in named if one.says == "rated"]
    if scores and data.desirable_from is None:
        raise ValueError(
            f"objective.loss (kto) needs data.desirable_from (now None) for the {len(scores)} rated responses of "
            f"{where}, whose scores go from {min(scores):g} to {max(scores):g}: responses of that score or a higher "
            "one are desirable, others undesirable; set it"
        )
    label = partial(_label, threshold=data.desirable_from, last=_last_places(named))
    return _examples(where, named, items, label, tally)


def _named(where: str | list[str], data: DataConfig | SftDataConfig, turns: Turns) -> tuple[NamedList, ItemRows, Tally]:
    """Every item that the data name, in order; responses of one item on one scale are one, with their mean score."""
    tally, found, common = Tally(), NamedList(), Common()
    for text in listed(where):
        for place in open_place(text, tally.ignored):
            part = Preferences(common)
            source = SourceConfig(path=text, max_row_mib=data.max_row_mib)
            layout = collect(place, source, data.on_bad_row, part, turns=turns)
            tally.add(part.tally)
            found.extend(named_in(part.said(), layout, source.scale))
    return found, common.items, tally


def named_in(said: Said, layout: str | None, scale_of_scores: str) -> Iterable[Named]:
    """What one place names. `scale_of_scores`: that of its source; places of a ranking are on another."""
    scored = [row for row in _rows(_without_groups(said.pair_scores)) if not math.isnan(row[1])]
    known = {item: score for item, score, *_ in reversed(scored)}
    compared: set[int] = set()
    for winner, loser, tie, source, weight in _rows(
        said.comparisons.select(["winner", "loser", "tie", "source", "weight"])
    ):
        for item, says in ((winner, "ties" if tie else "wins"), (loser, "ties" if tie else "loses")):
            yield Named(item, says, source, weight, known.get(item, math.nan))  # type: ignore[arg-type]
        compared.update((winner, loser))
    first = {row[0]: row for row in reversed(scored)} if layout is None else {}
    for item, score, scale, source in chain(
        _rows(_without_groups(said.ratings)), (first[n] for n in first if n not in compared)
    ):
        if math.isnan(score) and item in compared:  # the best of several, or one of the others
            continue
        yield Named(item, _said(score, scale == scale_of_scores, layout), source, 1.0, score, scale)


def _without_groups(ratings: pa.Table) -> pa.Table:
    return ratings.drop_columns(["groups"])


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    for batch in chunks(table):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _said(score: float, is_score: bool, layout: str | None) -> Says:
    if math.isnan(score):
        return "unrated"
    if layout in THUMBS:
        return "liked"
    return "rated" if is_score or layout is None else "ranked"


def mean_scores(named: Iterable[Named], says: Sequence[Says] = ("rated",)) -> dict[tuple[int, str], float]:
    """The score of each item on each scale, of those of which this is said: its mean where it has several."""
    found = [(one.item, one.score, one.scale, "") for one in named if one.says in says]
    columns = zip(*found, strict=True) if found else [[], [], [], []]
    means = merged(rating_table(*columns))
    return {(item, scale): score for item, score, scale, *_ in _rows(means)}


def worse(one: Named) -> str | None:
    """Why an item is none to imitate or to be measured by, as it is named here; None where it may be."""
    return {
        "loses": "loser of a comparison",
        "ties": "tie",
        "liked": None if one.score else "thumbs down",
        "ranked": "not the first of its ranking" if one.score else None,
    }.get(one.says)


def _last_places(named: Iterable[Named]) -> dict[str, float]:
    """The worst place of each ranking."""
    last = dict[str, float]()
    for one in named:
        if one.says == "ranked":
            last[one.scale] = min(one.score, last.get(one.scale, one.score))
    return last


def _imitated(named: NamedList, items: ItemRows, data: SftDataConfig) -> Callable[[Named], Verdict]:
    """True for what SFT imitates, else why not."""
    means, instruction_N = mean_scores(named), items.instruction_N.tolist()
    best: dict[tuple[int, str], int] = {}
    for (item, scale), score in means.items():
        at = (instruction_N[item], scale)
        if at not in best or score > means[best[at], scale]:
            best[at] = item
    rated = {instruction for instruction, _ in best}

    def verdict(one: Named) -> Verdict:
        if never := worse(one):
            return never
        score = means.get((one.item, one.scale), one.score) if one.says == "rated" else one.score
        if data.min_score is not None and (math.isnan(score) or one.says in ("liked", "ranked")):
            return "no score, and data.min_score is set"
        if data.min_score is not None and score < data.min_score:
            return "score below data.min_score"
        if data.responses == "best" and one.says == "rated" and best[instruction_N[one.item], one.scale] != one.item:
            return "not the best of its instruction"
        if data.responses == "best" and one.says == "unrated" and instruction_N[one.item] in rated:
            return "no score beside rated ones, of which the best is taken"
        return True

    return verdict


def _label(one: Named, threshold: float | None, last: dict[str, float]) -> Verdict:
    """Whether an item is desirable, or why nobody knows."""
    if one.says == "ties":
        return "tie"
    if one.says == "unrated":
        return "no label"
    if one.says == "ranked" and last[one.scale] < one.score < 0:
        return "neither first nor last of its ranking"
    if one.says == "rated":
        return one.score >= (threshold or 0.0)
    return one.says == "wins" or (one.says == "liked" and one.score == 1) or (one.says == "ranked" and one.score == 0)


def _examples(
    where: str | list[str],
    named: NamedList,
    items: ItemRows,
    verdict: Callable[[Named], Verdict],
    tally: Tally,
) -> tuple[Examples, ExampleReport]:
    """One example for each item and label, where it is named first; raises ValueError where there is none."""
    seen = bytearray(2 * len(items))
    places, labels = array("q"), list[bool]()
    left_out, repeats = Counter[str](), 0
    for place, one in enumerate(named):
        said = verdict(one)
        if isinstance(said, str):
            left_out[said] += 1
        elif seen[2 * one.item + said]:
            repeats += 1
        else:
            seen[2 * one.item + said] = True
            places.append(place)
            labels.append(said)
    rows_C = np.array(named.items, dtype=np.int64)[np.array(places, dtype=np.int64)]
    weights, sources = [named.weights[place] for place in places], [named.sources[place] for place in places]
    examples = Examples.of_columns(items, rows_C, weights, labels, sources)
    report = ExampleReport(
        rows=tally.rows,
        named=len(named),
        examples=len(examples),
        undesirable=int((~examples.desirable_C).sum()) if len(examples) else 0,
        items=examples.num_items,
        repeats=repeats,
        left_out=dict(left_out),
        skipped=dict(tally.skipped),
        bad_rows=tuple(tally.bad_rows),
        ignored=tuple(tally.ignored),
        tables=tuple(tally.tables),
    )
    if not len(examples):
        raise ValueError("\n".join([f"{where}: nothing there to learn from", *report.lines()]))
    return examples, report
