"""Tables on disk that are looked at through memory maps: what is not looked at takes no memory.

A page of a map counts as resident memory from the first look until the system wants it back. Whoever goes through a
large table chunk by chunk gives the pages back himself, by `let_go`: they stay in the system's cache of files.
"""

import mmap
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from jpo_dist.distributed.allocator import trim

IN_MEMORY = 32 << 20
"""Bytes up to which a Spool keeps what it is given in memory."""
ROWS_AT_ONCE = 8192
"""Rows of a chunk: what bounds the memory of whoever goes through a table."""

_maps: "weakref.WeakSet[mmap.mmap]" = weakref.WeakSet()


def let_go() -> None:
    """Give back the resident pages of all mapped tables; they are read again when they are looked at."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for each in _maps:
            each.madvise(mmap.MADV_DONTNEED)


def give_back() -> None:
    """Give back memory that is free, and resident pages: Arrow and glibc keep what reading took, which training would
    not use (300 MiB of a million pairs)."""
    let_go()
    pa.default_memory_pool().release_unused()
    trim()


def end_to_end(pieces: Iterable[np.ndarray], dtype: str) -> np.ndarray:
    """Arrays one after the other, read-only: in memory while they are small, else mapped from an unnamed file."""
    waiting: list[np.ndarray] = []
    size, file = 0, None
    for piece in pieces:
        waiting.append(np.asarray(piece, dtype=dtype))
        size += waiting[-1].nbytes
        if size > IN_MEMORY:
            file = file or tempfile.TemporaryFile()  # noqa: SIM115 - mapped below, and then gone
            file.writelines(each.tobytes() for each in waiting)
            waiting, size = [], 0
            let_go()
    if file is None:
        return np.concatenate([np.zeros(0, dtype), *waiting])
    file.writelines(each.tobytes() for each in waiting)
    file.flush()
    found = np.memmap(file, dtype=dtype, mode="r")
    file.close()
    return remembered(found)


def blank(length: int, dtype: str) -> np.ndarray:
    """Zeros to write into: in memory while they are few, else mapped from an unnamed file."""
    kind = np.dtype(dtype)
    if length * kind.itemsize <= IN_MEMORY:
        return np.zeros(length, dtype=kind)
    with tempfile.TemporaryFile() as file:  # the map keeps it
        file.truncate(length * kind.itemsize)
        return remembered(np.memmap(file, dtype=kind, mode="r+", shape=(length,)))


def stretches(array: np.ndarray) -> Iterator[np.ndarray]:
    """An array piece by piece; pages of mapped files are given back in between."""
    at_once = max(1, IN_MEMORY // array.itemsize)
    for start in range(0, len(array), at_once):
        yield array[start : start + at_once]
        let_go()


def save_array(array: np.ndarray, path: Path) -> None:
    """Write an array of numbers, byte for byte as `np.save` does, which keeps all of a mapped one resident."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.writelines(piece.tobytes() for piece in stretches(array))


def remembered(array: np.memmap) -> np.memmap:
    """The same array, whose pages `let_go` gives back from now on."""
    if isinstance(array.base, mmap.mmap):
        _maps.add(array.base)
    return array


def mapped(file: IO[bytes]) -> pa.Table:
    """The table of an open file in Arrow's stream format, memory-mapped; the file may be closed or gone afterwards."""
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _maps.add(pages)
    return pa.ipc.open_stream(pa.py_buffer(pages)).read_all()


def map_table(path: Path) -> pa.Table:
    """The table that `write_table` wrote, memory-mapped."""
    with path.open("rb") as file:
        return mapped(file)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as a file that `map_table` opens, without holding more of it than a chunk."""
    with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        for batch in chunks(table):
            stream.write_batch(batch)


def chunks(table: "pa.Table | Picked", rows: int = ROWS_AT_ONCE) -> Iterator[pa.RecordBatch]:
    """A table piece by piece; pages of mapped tables are given back in between."""
    seen = 0
    for batch in table.to_batches(max_chunksize=rows):
        yield batch
        seen += batch.nbytes
        if seen > IN_MEMORY:
            let_go()
            seen = 0


class Spool:
    """A table that grows by batches: in memory while it is small, then in unnamed files that no kill can leave."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._done: list[pa.Table] = []
        self._batches: list[pa.RecordBatch] = []
        self._bytes = self._rows = 0
        self._file: IO[bytes] | None = None
        self._stream: pa.RecordBatchWriter | None = None

    def __len__(self) -> int:
        return self._rows

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows at the end."""
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        self._batches.append(batch)
        if self._bytes > IN_MEMORY:
            self._write()

    def _write(self) -> None:
        if self._stream is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives until `table` maps it
            self._stream = pa.ipc.new_stream(self._file, self.schema)
        for batch in self._batches:
            self._stream.write_batch(batch)
        self._batches, self._bytes = [], 0

    def table(self) -> pa.Table:
        """All rows so far. More may follow."""
        if self._stream is not None and self._file is not None:
            self._write()
            self._stream.close()
            self._file.flush()
            self._done.append(mapped(self._file))
            self._file.close()
            self._file = self._stream = None
        return pa.concat_tables([*self._done, pa.Table.from_batches(self._batches, self.schema)])


def kept_rows(table: pa.Table, keep_N: np.ndarray) -> pa.Table:
    """The rows for which `keep_N` is true, copied to disk where they are large: Arrow's `filter` copies to memory."""
    spool, start = Spool(table.schema), 0
    for batch in chunks(table):
        spool.add(batch.filter(pa.array(keep_N[start : start + len(batch)])))
        start += len(batch)
    return spool.table()


class Gather:
    """Rows of a table by number. Arrow's own `take` may first put all chunks of a table into one, in memory."""

    def __init__(self, table: pa.Table) -> None:
        self.schema = table.schema
        self._batches = table.to_batches()
        self._starts = np.cumsum([0, *(len(batch) for batch in self._batches)])[:-1]

    def of(self, rows_K: np.ndarray) -> pa.RecordBatch:
        """The rows of these numbers, in their order; a few thousand at most."""
        if not len(rows_K):
            return pa.RecordBatch.from_pylist([], self.schema)
        which_K = np.searchsorted(self._starts, rows_K, side="right") - 1
        order = np.argsort(which_K, kind="stable")
        borders = np.flatnonzero(np.diff(which_K[order])) + 1
        pieces = [
            self._batches[which_K[here[0]]].take(pa.array(rows_K[here] - self._starts[which_K[here[0]]]))
            for here in np.split(order, borders)
        ]
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        whole = pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
        return whole if np.array_equal(order, back) and len(pieces) == 1 else whole.take(pa.array(back))


class Picked:
    """Some rows of a table in some order, copied only as far as somebody looks; else it is a table."""

    def __init__(self, table: "pa.Table | Picked", rows_N: np.ndarray) -> None:
        self._table: pa.Table = table._table if isinstance(table, Picked) else table
        self._rows_N: np.ndarray = table._rows_N[rows_N] if isinstance(table, Picked) else rows_N
        self.schema, self.num_rows, self.column_names = self._table.schema, len(rows_N), self._table.column_names

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, name: str | int) -> pa.ChunkedArray:
        column = self._table[name]
        return Picked(pa.table([column], [str(name)]), self._rows_N).whole.column(0)

    def select(self, names: list[str]) -> "Picked":
        return Picked(self._table.select(names), self._rows_N)

    def take(self, rows: pa.Array) -> "Picked":
        return Picked(self, rows.to_numpy())

    def to_batches(self, max_chunksize: int = ROWS_AT_ONCE) -> Iterator[pa.RecordBatch]:
        gather, rows = Gather(self._table), min(max_chunksize, ROWS_AT_ONCE)
        for start in range(0, self.num_rows, rows):
            yield gather.of(self._rows_N[start : start + rows])

    @cached_property
    def whole(self) -> pa.Table:
        """A copy as a table, on disk where it is large."""
        spool = Spool(self.schema)
        for batch in chunks(self):  # what it is copied from need not stay resident
            spool.add(batch)
        return spool.table()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)
