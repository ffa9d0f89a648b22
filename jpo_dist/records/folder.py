"""A ComparisonSet as a folder: `items.parquet`, `comparisons.parquet`, `report.json`, and `digests.json` over them.

A set is replaced as a whole (jpo_dist.folders), and what was damaged since it was written is refused when it is read.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jpo_dist.digests import DIGESTS, Damaged, read_digests, require, write_digests
from jpo_dist.folders import Together, placed, together
from jpo_dist.records.columns.item_rows import items_in
from jpo_dist.records.columns.pages import ROWS_AT_ONCE, Spool, chunks
from jpo_dist.records.comparisons import COMPARISON_SCHEMA, ITEM_SCHEMA, ComparisonSet
from jpo_dist.records.group_column import schema_of

logger = logging.getLogger(__name__)

_ROWS_OF_A_GROUP = 1 << 16
CHECKED_ITEMS = 100_000
"""Of a set without digests, so many items at most have their ids compared with their texts: a second or less."""
_FIX = f"rebuild it, or copy it again (if you changed it yourself: remove {DIGESTS})"
ITEMS, COMPARISONS, REPORT = "items.parquet", "comparisons.parquet", "report.json"


def is_set(folder: Path) -> bool:
    """Whether `folder` holds a ComparisonSet."""
    return all(placed(folder, name).is_file() for name in (ITEMS, COMPARISONS))


def write_set(built: ComparisonSet, folder: str | Path, report: dict[str, Any] | None = None) -> None:
    """Write a set into `folder`, which is made; `report` is put beside what the set itself can tell in report.json.

    A kill leaves the old set or the new one.
    """
    with together(folder) as files:
        put_set(built, files, report)


def put_set(built: ComparisonSet, files: Together, report: dict[str, Any] | None = None) -> None:
    """The same, with other files that belong to the set: they must be written before, for its digests cover them."""
    _write(built.items, files.path(ITEMS))
    _write(built.comparisons, files.path(COMPARISONS))
    summary = {"fingerprint": built.fingerprint, "items": built.num_items, "comparisons": len(built)}
    files.write(REPORT, json.dumps({**summary, **(report or {})}, indent=1) + "\n")
    write_digests(files.folder, [file.name for file in files.folder.iterdir() if not file.name.startswith(".")])


def read_set(folder: str | Path) -> ComparisonSet:
    """The set in `folder`; a large one is unpacked to disk and memory-mapped.

    Raises FileNotFoundError; Damaged, a ValueError, for a file that is not what was written; and ValueError when a
    comparison names an item that is not there.
    """
    folder = Path(folder)
    try:
        return _read_set(folder)
    except Damaged:  # another command may have put a new set in its place while this one was read
        return _read_set(folder)


def _read_set(folder: Path) -> ComparisonSet:
    known = read_digests(placed(folder, DIGESTS), _FIX)
    for name in (ITEMS, COMPARISONS) if known else ():
        if name not in known:
            raise Damaged(f"{folder / DIGESTS} says nothing of {name}; {_FIX}")
        require(placed(folder, name), known[name], _FIX)
    with readable(placed(folder, ITEMS)) as file:
        items = _read(file, ITEM_SCHEMA, is_checked=bool(known))
    with readable(placed(folder, COMPARISONS)) as file:
        schema = schema_of(pq.read_schema(file), COMPARISON_SCHEMA)
        comparisons = _read(file, schema, is_checked=bool(known))
    built = ComparisonSet(items, comparisons)
    rows = np.concatenate([built.winners_C, built.losers_C])
    if len(rows) and not (rows.min() >= 0 and rows.max() < items.num_rows):
        raise ValueError(f"{folder}: comparisons name item {rows.max()}, the set has {items.num_rows}; rebuild it")
    if not known:
        _look_over(built, folder)
    return built


def _look_over(built: ComparisonSet, folder: Path) -> None:
    """A set without digests is of an older version: its ids tell of its texts. Raises Damaged."""
    if built.num_items > CHECKED_ITEMS:
        logger.info("%s has no %s (an older version wrote it): damage in it would not be noticed", folder, DIGESTS)
        return
    row = 0
    for batch in built.items.to_batches(ROWS_AT_ONCE):
        for item, id in zip(items_in(batch), batch.column("id").to_pylist(), strict=True):
            if item.id != id:
                raise Damaged(
                    f"{folder / ITEMS}: the id of item {row} is not that of its text: damaged, or changed by hand; "
                    "rebuild it"
                )
            row += 1


@contextmanager
def readable(file: Path) -> Iterator[Path]:
    """Inside, what Arrow says of a Parquet file that it cannot read is a Damaged that names the file."""
    try:
        yield file
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, Damaged) or (isinstance(error, OSError) and error.errno is not None):
            raise
        reason = str(error).strip().partition("\n")[0][:200]
        raise Damaged(f"{file} cannot be read as Parquet: {reason}; {_FIX}") from error


def split_names(folder: Path) -> set[str]:
    """The names of the splits of the set in `folder`, without reading the rest of it."""
    with readable(placed(folder, COMPARISONS)) as file, pq.ParquetFile(file) as table:
        found = table.read(columns=["split"])["split"].unique().to_pylist()
    return {name for name in found if name is not None}


def _write(table: pa.Table, file: Path) -> None:
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for group in grouped(chunks(table), table.schema):
            writer.write_table(group)


def grouped(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Batches as tables of so many rows that Parquet packs them well."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= _ROWS_OF_A_GROUP:
            yield pa.Table.from_batches(waiting, schema)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


def _read(file: Path, schema: pa.Schema, is_checked: bool) -> pa.Table:
    """Columns that an older version did not write are null. What no digest has checked is looked into by Arrow."""
    spool = Spool(schema)
    with pq.ParquetFile(file, pre_buffer=False) as found:
        there = [name for name in schema.names if name in found.schema_arrow.names]
        for batch in found.iter_batches(ROWS_AT_ONCE, columns=there):
            if not is_checked:
                batch.validate(full=True)
            columns = [
                batch.column(field.name).cast(field.type) if field.name in there else pa.nulls(len(batch), field.type)
                for field in schema
            ]
            spool.add(pa.RecordBatch.from_arrays(columns, schema=schema))
    return spool.table()
