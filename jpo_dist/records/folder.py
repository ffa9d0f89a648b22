"""A ComparisonSet as a folder: `items.parquet`, `comparisons.parquet` and `report.json`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jpo_dist.records.columns.pages import ROWS_AT_ONCE, Spool, chunks
from jpo_dist.records.comparisons import COMPARISON_SCHEMA, ITEM_SCHEMA, ComparisonSet
from jpo_dist.records.group_column import schema_of

_ROWS_OF_A_GROUP = 1 << 16
ITEMS, COMPARISONS, REPORT = "items.parquet", "comparisons.parquet", "report.json"


def is_set(folder: Path) -> bool:
    """Whether `folder` holds a ComparisonSet."""
    return all((folder / name).is_file() for name in (ITEMS, COMPARISONS))


def write_set(built: ComparisonSet, folder: str | Path, report: dict[str, Any] | None = None) -> None:
    """Write a set into `folder`, which is made; `report` is put beside what the set itself can tell in report.json."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write(built.items, folder / ITEMS)
    _write(built.comparisons, folder / COMPARISONS)
    summary = {"fingerprint": built.fingerprint, "items": built.num_items, "comparisons": len(built)}
    text = json.dumps({**summary, **(report or {})}, indent=1)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")


def read_set(folder: str | Path) -> ComparisonSet:
    """The set in `folder`; a large one is unpacked to disk and memory-mapped.

    Raises FileNotFoundError, or ValueError when a comparison names an item that is not there.
    """
    folder = Path(folder)
    items = _read(folder / ITEMS, ITEM_SCHEMA)
    comparisons = _read(folder / COMPARISONS, schema_of(pq.read_schema(folder / COMPARISONS), COMPARISON_SCHEMA))
    built = ComparisonSet(items, comparisons)
    rows = np.concatenate([built.winners_C, built.losers_C])
    if len(rows) and not (rows.min() >= 0 and rows.max() < items.num_rows):
        raise ValueError(f"{folder}: comparisons name item {rows.max()}, the set has {items.num_rows}; rebuild it")
    return built


def split_names(folder: Path) -> set[str]:
    """The names of the splits of the set in `folder`, without reading the rest of it."""
    found = pq.read_table(folder / COMPARISONS, columns=["split"])["split"].unique().to_pylist()
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


def _read(file: Path, schema: pa.Schema) -> pa.Table:
    """Columns that an older version did not write are null."""
    spool = Spool(schema)
    with pq.ParquetFile(file, pre_buffer=False) as found:
        there = [name for name in schema.names if name in found.schema_arrow.names]
        for batch in found.iter_batches(ROWS_AT_ONCE, columns=there):
            columns = [
                batch.column(field.name).cast(field.type) if field.name in there else pa.nulls(len(batch), field.type)
                for field in schema
            ]
            spool.add(pa.RecordBatch.from_arrays(columns, schema=schema))
    return spool.table()
