"""What `jpo score` scores: the items and comparisons of any place, items in the order in which they are read.

Legend: N items.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from jpo_dist.data.collected import Preferences, Said, compile_set, joined, report_of
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.locate import Table, open_place
from jpo_dist.data.read import OnBadRow, collect, refuse_empty
from jpo_dist.data.read_report import ReadReport
from jpo_dist.generate.answers import is_answers, read_answers
from jpo_dist.paths import resolve
from jpo_dist.records.columns.common import Common
from jpo_dist.records.columns.lists import RATING_SCHEMA, rating_table
from jpo_dist.records.comparisons import ComparisonSet, Item, Rating
from jpo_dist.records.groups import require


def read_to_score(
    where: str | list[str], on_bad_row: OnBadRow, groups: Sequence[str] = ()
) -> tuple[ComparisonSet, ReadReport]:
    """All items of `where`, in the order in which they are read, and the comparisons among them, as data.read.scan has
    them: those that are stated, then those that scores within an instruction make.

    `where`: what data.read.read takes, and folders of answers (`jpo generate`), whose answers are items that nobody has
    compared. `groups`: columns that say who judged. Raises what data.read.scan raises, and ValueError where there is no
    item.
    """
    refuse_empty(where)
    listed = [where] if isinstance(where, str) else where
    common = Common()
    order: list[np.ndarray] = []
    parts: list[Said] = []
    for text in listed:
        if is_answers(Path(resolve(text))):
            parts.append(_answers(text, common))
            order.append(parts[-1].rows())
            continue
        whole = Preferences(common)
        places = open_place(text, whole.tally.ignored)
        if len(listed) == len(places) == 1 and isinstance(places[0], ComparisonSet):  # keeps its memory map
            require(places[0], groups, text)
            whole.tally.rows = len(places[0])
            return places[0], report_of(places[0], whole.said())
        source = SourceConfig(path=text, groups=list(groups))
        parts += [whole.said(), *(_of_place(place, source, on_bad_row, common, order) for place in places)]
    said = joined(parts)
    built = compile_set(said, np.concatenate([np.zeros(0, np.int64), *order]))
    report = report_of(built, said)
    if not built.num_items:
        raise ValueError("\n".join([f"{where}: no items to score; name data that has some", *report.lines()]))
    return built, report


def without_end(where: str | list[str]) -> frozenset[str] | None:
    """Ids of the items among folders of answers that every answer with this text was cut off at: the model did not end
    them, so that an end is no part of what it said. None where there is no folder of answers. Raises what read_answers
    raises."""
    folders = [resolve(text) for text in ([where] if isinstance(where, str) else where)]
    folders = [folder for folder in folders if is_answers(Path(folder))]
    if not folders:
        return None
    ids: dict[bool, set[str]] = {True: set(), False: set()}
    for answer in (answer for folder in folders for answer in read_answers(folder)):
        ids[answer.finished].add(Item(answer.messages, answer.answer).id)
    return frozenset(ids[False] - ids[True])


def _answers(text: str, common: Common) -> Said:
    part = Preferences(common)
    part.ratings.extend(
        Rating(Item(answer.messages, answer.answer), math.nan, "", text) for answer in read_answers(resolve(text))
    )
    part.tally.rows = part.tally.responses = len(part.ratings)
    return part.said()


def _of_place(
    place: Table | ComparisonSet, source: SourceConfig, on_bad_row: OnBadRow, common: Common, order: list[np.ndarray]
) -> Said:
    """What one place says; its items are added to `order`."""
    part = Preferences(common)
    if isinstance(place, ComparisonSet):  # items that nobody has compared or rated are in it too
        require(place, source.groups, str(source.path))
        part.tally.rows += len(place)
        rows_N = part.add_set(place)
        nothing = pa.repeat("", len(rows_N))
        part.pair_scores.add_columns(rating_table(rows_N, np.full(len(rows_N), np.nan), nothing, nothing))
        order.append(rows_N)
        return part.said()
    collect(place, source, on_bad_row, part)
    order.append(part.said()._replace(pair_scores=RATING_SCHEMA.empty_table()).rows())
    return part.said()
