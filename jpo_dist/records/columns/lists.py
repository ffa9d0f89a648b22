"""Lists of comparisons and of ratings whose members are objects only while somebody looks at them.

Added one by one as objects, kept as columns whose items are row numbers of an ItemRows. Legend: C comparisons, R
ratings, K members of a batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
import pyarrow as pa

from jpo_dist.records.columns.item_rows import ItemRows
from jpo_dist.records.columns.pages import Spool, chunks
from jpo_dist.records.group_column import GROUPS, column_of, groups_in
from jpo_dist.records.item import COMPARISON_SCHEMA, CONDITIONAL, JOINT, Comparison, Rating

AT_ONCE = 4096
"""Objects that are alive at once."""
RATING_SCHEMA = pa.schema(
    {"item": pa.int64(), "score": pa.float64(), "scale": pa.string(), "source": pa.string(), "groups": GROUPS.type}
)
LIST_SCHEMA = COMPARISON_SCHEMA.append(GROUPS)
"""Comparisons while they are collected: always with groups, mostly empty ones."""

_OWN = COMPARISON_SCHEMA.names[4:]
_PROTOCOLS = pa.array([CONDITIONAL, JOINT])
T = TypeVar("T")


class _Columns(Sequence[T], Generic[T]):
    """What both lists do; `_packed` and `_unpacked` are their own."""

    def __init__(self, schema: pa.Schema, items: ItemRows | None) -> None:
        self.items = ItemRows() if items is None else items
        self._spool = Spool(schema)
        self._pending: list[T] = []

    def _packed(self, members: list[T]) -> pa.RecordBatch:
        raise NotImplementedError

    def _unpacked(self, batch: pa.RecordBatch) -> list[T]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._spool) + len(self._pending)

    def append(self, member: T) -> None:
        """Add one member."""
        self._pending.append(member)
        if len(self._pending) >= AT_ONCE:
            self._flush()

    def extend(self, members: Iterable[T]) -> None:
        """Add several members."""
        for member in members:
            self.append(member)

    def __iadd__(self, members: Iterable[T]) -> Self:
        self.extend(members)
        return self

    def _flush(self) -> None:
        if self._pending:
            self._spool.add(self._packed(self._pending))
            self._pending = []

    def add_columns(self, table: pa.Table) -> None:
        """Add members that are columns already, of this list's own schema and rows of its own `items`."""
        for batch in chunks(table):
            self.add_batch(batch)

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Add some thousand members that are columns already."""
        self._flush()
        self._spool.add(batch)

    def table(self) -> pa.Table:
        """All members as columns."""
        self._flush()
        return self._spool.table()

    def __iter__(self) -> Iterator[T]:
        for batch in chunks(self.table(), AT_ONCE):
            yield from self._unpacked(batch)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            return [self[n] for n in range(len(self))[at]]
        row = range(len(self))[at]
        return self._unpacked(self.table().slice(row, 1).combine_chunks().to_batches()[0])[0]


class ComparisonList(_Columns[Comparison]):
    """Comparisons in order, as columns of LIST_SCHEMA; only candidates that were judged have a split already."""

    def __init__(self, comparisons: Iterable[Comparison] = (), items: ItemRows | None = None) -> None:
        super().__init__(LIST_SCHEMA, items)
        self.extend(comparisons)

    def _packed(self, members: list[Comparison]) -> pa.RecordBatch:
        rows_K2 = self.items.rows_of([side for c in members for side in (c.winner, c.loser)]).reshape(-1, 2)
        own = zip(*map(attrgetter(*_OWN), members), strict=True)
        columns: dict[str, Any] = {name: list(values) for name, values in zip(_OWN, own, strict=True)}
        weights = np.fromiter((c.weight for c in members), np.float64, len(members))
        columns |= {"weight": weights, "groups": column_of([c.groups for c in members])}
        return self.batch(rows_K2[:, 0], rows_K2[:, 1], columns)

    def batch(self, winners_K: np.ndarray, losers_K: np.ndarray, columns: dict[str, Any]) -> pa.RecordBatch:
        """Comparisons of rows of `items` as a batch, the protocol added; what is not given is null, or no groups."""
        instruction_N = self.items.instruction_N
        joint_K = instruction_N[winners_K] != instruction_N[losers_K]
        protocols = _PROTOCOLS.take(pa.array(joint_K.astype(np.int8)))
        known = {"winner": winners_K, "loser": losers_K, "protocol": protocols, **columns}
        known.setdefault("groups", column_of([()] * len(winners_K)))
        return pa.RecordBatch.from_arrays(
            [
                pa.nulls(len(winners_K), field.type) if field.name not in known else _array(known[field.name], field)
                for field in LIST_SCHEMA
            ],
            schema=LIST_SCHEMA,
        )

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of winners and losers, (C,) each."""
        table = self.table()
        return table["winner"].to_numpy(), table["loser"].to_numpy()

    def _unpacked(self, batch: pa.RecordBatch) -> list[Comparison]:
        rows = np.concatenate([batch.column("winner").to_numpy(), batch.column("loser").to_numpy()])
        items = self.items.at(rows)
        names = ("weight", *_OWN)
        others = [batch.column(name).to_pylist() for name in names] + [groups_in(batch.column("groups"))]
        return [
            Comparison(winner, loser, **dict(zip((*names, "groups"), values, strict=True)))
            for winner, loser, *values in zip(items[: len(batch)], items[len(batch) :], *others, strict=True)
        ]


class RatingList(_Columns[Rating]):
    """Ratings in order, as columns of RATING_SCHEMA."""

    def __init__(self, ratings: Iterable[Rating] = (), items: ItemRows | None = None) -> None:
        super().__init__(RATING_SCHEMA, items)
        self.extend(ratings)

    def _packed(self, members: list[Rating]) -> pa.RecordBatch:
        items, scores, scales, sources, groups = zip(*members, strict=True)
        return rating_table(self.items.rows_of(items), scores, scales, sources, column_of(groups)).to_batches()[0]

    def _unpacked(self, batch: pa.RecordBatch) -> list[Rating]:
        items = self.items.at(batch.column("item").to_numpy())
        others = [batch.column(name).to_pylist() for name in RATING_SCHEMA.names[1:-1]]
        return list(map(Rating, items, *others, groups_in(batch.column("groups"))))


def rating_table(rows_R: Any, scores: Any, scales: Any, sources: Any, groups: Any = None) -> pa.Table:
    """Ratings as columns of RATING_SCHEMA; `rows_R` are rows of items, `groups`: None where nothing is known."""
    groups = column_of([()] * len(rows_R)) if groups is None else groups
    columns = zip((rows_R, scores, scales, sources, groups), RATING_SCHEMA, strict=True)
    return pa.table([_array(values, field) for values, field in columns], RATING_SCHEMA)


def _array(values: Any, field: pa.Field) -> pa.Array:
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, field.type, from_pandas=False)
