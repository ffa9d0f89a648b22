"""What `jpo score` scores: the items and comparisons of any place, items in the order in which they are read.

Legend: N items.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from jpo_dist.data.build import joined
from jpo_dist.data.collected import Preferences, compile_set, report_of
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.locate import Table, open_place
from jpo_dist.data.read import OnBadRow, collect, refuse_empty
from jpo_dist.data.read_report import ReadReport
from jpo_dist.generate.answers import is_answers, read_answers
from jpo_dist.paths import resolve
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
    order: dict[Item, None] = {}
    parts = []
    for text in listed:
        if is_answers(Path(resolve(text))):
            parts.append(_answers(text))
            order.update(dict.fromkeys(rating.item for rating in parts[-1].ratings))
            continue
        whole = Preferences()
        places = open_place(text, whole.tally.ignored)
        if len(listed) == len(places) == 1 and isinstance(places[0], ComparisonSet):  # keeps its memory map
            require(places[0], groups, text)
            whole.tally.rows = len(places[0])
            return places[0], report_of(places[0], whole)
        source = SourceConfig(path=text, groups=list(groups))
        parts += [whole, *(_of_place(place, source, on_bad_row, order) for place in places)]
    whole = joined(parts)
    built = _arranged(compile_set(whole), list(order))
    report = report_of(built, whole)
    if not built.num_items:
        raise ValueError("\n".join([f"{where}: no items to score; name data that has some", *report.lines()]))
    return built, report


def _answers(text: str) -> Preferences:
    items = [Item(answer.messages, answer.answer) for answer in read_answers(resolve(text))]
    part = Preferences(ratings=[Rating(item, math.nan, "", text) for item in items])
    part.tally.rows = part.tally.responses = len(items)
    return part


def _of_place(
    place: Table | ComparisonSet, source: SourceConfig, on_bad_row: OnBadRow, order: dict[Item, None]
) -> Preferences:
    """What one place says; its items are added to `order`."""
    part = Preferences()
    collect(place, source, on_bad_row, part)
    if isinstance(place, ComparisonSet):  # items that nobody has compared or rated are in it too
        items = place.all_items()
        part.pair_scores += [Rating(item, math.nan, "") for item in items]
    else:
        items = [item for c in part.comparisons for item in (c.winner, c.loser)] + [r.item for r in part.ratings]
    order.update(dict.fromkeys(items))
    return part


def _arranged(built: ComparisonSet, order: list[Item]) -> ComparisonSet:
    """The same set with its items in another order, which names each of them once."""
    rows = {item: row for row, item in enumerate(built.all_items())}
    old_N = np.array([rows[item] for item in order], dtype=np.int64)
    new_N = np.empty(len(old_N), dtype=np.int64)
    new_N[old_N] = np.arange(len(old_N))
    comparisons = built.comparisons
    for name, ends_C in (("winner", built.winners_C), ("loser", built.losers_C)):
        at = comparisons.schema.get_field_index(name)
        comparisons = comparisons.set_column(at, name, pa.array(new_N[ends_C], pa.int64()))
    return ComparisonSet(built.items.take(pa.array(old_N)), comparisons)
