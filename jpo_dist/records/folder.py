"""A ComparisonSet as a folder: `items.parquet`, `comparisons.parquet` and `report.json`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from jpo_dist.records.comparisons import COMPARISON_SCHEMA, ITEM_SCHEMA, ComparisonSet
from jpo_dist.records.group_column import schema_of

ITEMS, COMPARISONS, REPORT = "items.parquet", "comparisons.parquet", "report.json"


def is_set(folder: Path) -> bool:
    """Whether `folder` holds a ComparisonSet."""
    return all((folder / name).is_file() for name in (ITEMS, COMPARISONS))


def write_set(built: ComparisonSet, folder: str | Path, report: dict[str, Any] | None = None) -> None:
    """Write a set into `folder`, which is made; `report` is put beside what the set itself can tell in report.json."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(built.items, folder / ITEMS, compression="zstd")
    pq.write_table(built.comparisons, folder / COMPARISONS, compression="zstd")
    summary = {"fingerprint": built.fingerprint, "items": built.num_items, "comparisons": len(built)}
    text = json.dumps({**summary, **(report or {})}, indent=1)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")


def read_set(folder: str | Path) -> ComparisonSet:
    """The set in `folder`, memory-mapped.

    Raises FileNotFoundError, or ValueError when a comparison names an item that is not there.
    """
    folder = Path(folder)
    items = pq.read_table(folder / ITEMS, schema=ITEM_SCHEMA, memory_map=True)
    schema = schema_of(pq.read_schema(folder / COMPARISONS), COMPARISON_SCHEMA)
    comparisons = pq.read_table(folder / COMPARISONS, schema=schema, memory_map=True)
    built = ComparisonSet(items, comparisons)
    rows = np.concatenate([built.winners_C, built.losers_C])
    if len(rows) and not (rows.min() >= 0 and rows.max() < items.num_rows):
        raise ValueError(f"{folder}: comparisons name item {rows.max()}, the set has {items.num_rows}; rebuild it")
    return built
