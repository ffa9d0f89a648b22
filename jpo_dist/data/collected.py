"""What sources say, all together: comparisons, scores, counts of what could not be read, and one set of them all.

Everything is columns and rows of one ItemRows; a member of a list becomes an object when somebody looks at it.
Legend: N items, C comparisons, R ratings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow as pa

from jpo_dist.data import row_values
from jpo_dist.data.layouts import Reading
from jpo_dist.data.read_report import ReadReport, Tally
from jpo_dist.data.row_values import Row
from jpo_dist.pairing.config import WITHIN
from jpo_dist.pairing.pair import Pairs, Pool, pair
from jpo_dist.pairing.texts import Texts
from jpo_dist.records.columns.common import Common
from jpo_dist.records.columns.item_rows import ItemRows
from jpo_dist.records.columns.lists import RATING_SCHEMA, ComparisonList, RatingList
from jpo_dist.records.columns.numbering import numbered, renumbered
from jpo_dist.records.columns.pages import ROWS_AT_ONCE
from jpo_dist.records.comparisons import ComparisonSet, Item, Origin
from jpo_dist.records.contents import restated
from jpo_dist.records.group_column import Groups, column_of, groups_in, has_groups
from jpo_dist.records.groups import ANNOTATOR, labelled, shared
from jpo_dist.records.text import CONTENTS, as_text
from jpo_dist.records.unbuilt import unbuild


class Said(NamedTuple):
    """All that sources say, as columns that name rows of `items`; see Preferences."""

    items: ItemRows
    comparisons: pa.Table
    ratings: pa.Table
    pair_scores: pa.Table
    tally: Tally

    def scores(self) -> pa.Table:
        """All scores of single items, one for each item and scale."""
        return merged(pa.concat_tables([self.ratings, self.pair_scores]))

    def rows(self) -> np.ndarray:
        """The items that are named, as rows: those of comparisons, then those that were rated; repeats stay."""
        ends = [self.comparisons[name].to_numpy() for name in ("winner", "loser")]
        rated = [table["item"].to_numpy() for table in (self.ratings, self.pair_scores)]
        return np.concatenate([np.stack(ends, axis=1).reshape(-1), *rated])


class Preferences:
    """All that sources say, before scores become comparisons. Sources that are joined later have the same `common`."""

    def __init__(self, common: Common | None = None) -> None:
        self.common = Common() if common is None else common
        self.items = self.common.items
        self.comparisons = ComparisonList(items=self.items)
        self.ratings = RatingList(items=self.items)
        """Scores from rows of responses, whose items nobody has compared yet."""
        self.pair_scores = RatingList(items=self.items)
        """Scores that came with a comparison of the same items."""
        self.tally = Tally()

    def add_set(self, built: ComparisonSet, with_splits: bool = False) -> np.ndarray:
        """All that a set says; returns the row that each of its items has here, (N,)."""
        apart = replace(built, items=self.common.apart(built.items))
        return unbuild(apart, self.comparisons, self.pair_scores, with_splits)

    def said(self) -> Said:
        """Everything as columns."""
        return Said(self.items, self.comparisons.table(), self.ratings.table(), self.pair_scores.table(), self.tally)


def joined(parts: Sequence[Said]) -> Said:
    """All sources as one, in order. They share their items."""
    tally = Tally()
    for part in parts:
        tally.add(part.tally)
    comparisons, ratings, pair_scores = (pa.concat_tables(each) for each in zip(*(p[1:4] for p in parts), strict=True))
    return Said(parts[0].items, comparisons, ratings, pair_scores, tally)


def merged(ratings: pa.Table) -> pa.Table:
    """One rating for each item and scale: the mean score, at the place of the first, with what all raters share."""
    rows_R, scales_R = ratings["item"].to_numpy(), numbered(ratings["scale"].fill_null(""))
    codes_R = rows_R * (int(scales_R.max(initial=0)) + 1) + scales_R
    _, first, back_R = np.unique(codes_R, return_index=True, return_inverse=True)
    order = np.argsort(first)
    means = np.bincount(back_R, weights=ratings["score"].to_numpy(), minlength=0) / np.bincount(back_R)
    if len(first) < len(codes_R):
        found = ratings.take(pa.array(first[order]))
        at, groups = RATING_SCHEMA.get_field_index("groups"), _shared(ratings["groups"], back_R, order)
        ratings = found if groups is None else found.set_column(at, RATING_SCHEMA.field("groups"), groups)
    return ratings.set_column(1, ratings.schema.field("score"), pa.array(means[order], pa.float64()))


def _shared(groups: pa.ChunkedArray, back_R: np.ndarray, order: np.ndarray) -> pa.Array | None:
    """What all ratings that become one share; None where nothing has groups."""
    if not has_groups(groups):
        return None
    found: dict[int, Groups] = {}
    known = (each for chunk in groups.chunks for each in groups_in(chunk))
    for code, each in zip(back_R.tolist(), known, strict=True):
        found[code] = shared(found[code], each) if code in found else each
    return column_of([found[code] for code in order.tolist()])


def grouped(reading: Reading, row: Row, columns: Sequence[str]) -> Reading:
    """What a row says, with what these columns of it say of who judged. Raises BadField."""
    if not columns:
        return reading
    groups = row_values.groups(row, columns)
    ratings = tuple(rating._replace(groups=groups) for rating in reading.ratings)
    several = tuple(labelled(one, groups) for one in reading.comparisons)
    one = reading.comparison and labelled(reading.comparison, groups)
    return reading._replace(comparison=one, comparisons=several, ratings=ratings)


def groups_of_items(said: Said) -> dict[int, Groups]:
    """For each row of items, the groups that everything said of it shares: its scores, and its comparisons.

    Without the annotator, since somebody else will judge. Empty where nothing has groups.
    """
    tables = [(said.ratings, "item"), (said.pair_scores, "item")]
    tables += [(said.comparisons, end) for end in ("winner", "loser")]
    if not any(has_groups(table["groups"]) for table, _ in tables):
        return {}
    found: dict[int, Groups] = {}
    for table, end in tables:
        known = (each for chunk in table["groups"].chunks for each in groups_in(chunk))
        for row, each in zip(table[end].to_pylist(), known, strict=True):
            found[row] = shared(found[row], each) if row in found else each
    return {row: tuple(pair for pair in each if pair[0] != ANNOTATOR) for row, each in found.items()}


def make_pool(
    rated: pa.Table, items: ItemRows, splits_R: np.ndarray | None = None, reference_R: np.ndarray | None = None
) -> Pool:
    """R ratings as what pairing takes. `splits_R`: a number of each; None puts all into one. `reference_R`: log p in
    nats."""
    rows_R = rated["item"].to_numpy()
    return Pool(
        instructions=Texts(lambda rows: [as_text(i.instruction, CONTENTS) for i in items.at(rows)], rows_R),
        instruction_N=renumbered(items.instruction_N[rows_R]),
        scores_N=rated["score"].to_numpy(),
        scales_N=numbered(rated["scale"].fill_null("")),
        splits_N=np.zeros(len(rows_R), dtype=np.int64) if splits_R is None else renumbered(splits_R),
        reference_N=reference_R,
        lengths_N=items.response_lengths()[rows_R],
    )


def from_scores(ratings: pa.Table, items: ItemRows) -> ComparisonList:
    """Comparisons within one instruction, as scores alone give them. `ratings`: one for each item and scale."""
    made = ComparisonList(items=items)
    if len(ratings):
        add_pairs(made, ratings, pair(make_pool(ratings, items), WITHIN, seed=0), WITHIN.policy)
    return made


def add_pairs(made: ComparisonList, rated: pa.Table, pairs: Pairs, policy: str) -> None:
    """Add C pairs of ratings as comparisons of their items, marked with the policy; the winner gives the source, and
    the groups are those that both scores share."""
    origin: Origin = "assumed" if policy == "assumed_wins" else "scored"
    rows_R, sources = rated["item"].to_numpy(), rated["source"].combine_chunks()
    known = groups_in(rated["groups"].combine_chunks()) if has_groups(rated["groups"]) else None
    for start in range(0, len(pairs.winners_C), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        winners, losers = pairs.winners_C[part], pairs.losers_C[part]
        columns: dict[str, Any] = {
            "weight": np.ones(len(winners)),
            "source": sources.take(pa.array(winners)),
            "tie": pairs.is_tie_C[part],
            "origin": pa.repeat(origin, len(winners)),
            "pairing": pa.repeat(policy, len(winners)),
        }
        if known is not None:
            both = [shared(known[w], known[v]) for w, v in zip(winners.tolist(), losers.tolist(), strict=True)]
            columns["annotator"] = pa.array([dict(groups).get(ANNOTATOR) for groups in both], pa.string())
            columns["groups"] = column_of([tuple(pair for pair in each if pair[0] != ANNOTATOR) for each in both])
        made.add_batch(made.batch(rows_R[winners], rows_R[losers], columns))


def compile_set(said: Said, order: np.ndarray | None = None) -> ComparisonSet:
    """All that was read as one ComparisonSet.

    The stated comparisons come first, in order; after them the comparisons that scores make within one instruction,
    equal scores as ties. Rated items that no comparison uses are in it too, with their scores. Where nothing was said
    the set is empty. `order`: rows of items, in the order that they shall have; None: as comparisons, then ratings,
    name them.
    """
    scored = from_scores(merged(said.ratings), said.items)
    comparisons = pa.concat_tables([said.comparisons, scored.table()])
    return ComparisonSet.of_rows(said.items, comparisons, said.scores(), order)[0]


def report_of(built: ComparisonSet, said: Said) -> ReadReport:
    """What became of everything that was read. `built` is the set that `compile_set` made of it."""
    tally, decided_C = said.tally, ~built.is_tie_C
    again = restated(built)
    return ReadReport(
        rows=tally.rows,
        comparisons=int(decided_C.sum()),
        ties=int(built.is_tie_C.sum()),
        responses=tally.responses,
        duplicates=len(said.ratings) - len(np.unique(said.ratings["item"].to_numpy())),
        skipped=dict(tally.skipped),
        bad_rows=tuple(tally.bad_rows),
        items=built.num_items,
        joint=int((built.is_joint_C & decided_C).sum()),
        repeated=again.repeated,
        contradictions=again.contradictions,
        ignored=tuple(tally.ignored),
        tables=tuple(tally.tables),
        layouts=dict(tally.layouts),
    )


class Candidates(Sequence[tuple[Item, Item]]):
    """Pairs for a judge, as rows of items; a pair becomes two objects when somebody looks at it."""

    def __init__(
        self, items: ItemRows, rows_C2: np.ndarray, groups: Mapping[int, Groups], splits_N: np.ndarray
    ) -> None:
        """`groups`: those of a row of items, where it has some. `splits_N`: of each row; both of a pair have one."""
        self._items, self._rows_C2, self._groups, self._splits_N = items, rows_C2, groups, splits_N

    def splits(self) -> list[str]:
        """The split of each pair, in order."""
        found: list[str] = self._splits_N[self._rows_C2[:, 0]].tolist()
        return found

    def groups(self) -> Iterator[Groups]:
        """What both items of each pair have, in order."""
        for first, second in self._rows_C2.tolist():
            yield shared(self._groups.get(first, ()), self._groups.get(second, ()))

    def __len__(self) -> int:
        return len(self._rows_C2)

    @overload
    def __getitem__(self, at: int) -> tuple[Item, Item]: ...
    @overload
    def __getitem__(self, at: slice) -> list[tuple[Item, Item]]: ...
    def __getitem__(self, at: int | slice) -> tuple[Item, Item] | list[tuple[Item, Item]]:
        if not isinstance(at, slice):
            return self[range(len(self))[at] :][:1][0]
        found = self._items.at(self._rows_C2[at].reshape(-1))
        return list(zip(found[::2], found[1::2], strict=True))

    def __iter__(self) -> Iterator[tuple[Item, Item]]:
        for start in range(0, len(self), ROWS_AT_ONCE):
            yield from self[start : start + ROWS_AT_ONCE]
