"""Rows of data files, written by a test and read by the layout that their columns name."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.data.layouts import Names, Reading, layout_of, read_row
from jpo_dist.data.row_values import BadField
from jpo_dist.records.comparisons import Item

HERE = Names("a.jsonl:7", "a", "a.jsonl:7")


def reading(row: dict[str, Any], names: Names = HERE) -> Reading:
    """What the row says in the layout of its columns."""
    layout = layout_of(row)
    assert layout is not None
    return read_row(layout, row, names)


def bad(row: dict[str, Any]) -> tuple[str, str]:
    """Field and reason of a row that must not be readable."""
    with pytest.raises(BadField) as caught:
        reading(row)
    return caught.value.field, caught.value.reason


def write_rows(path: Path, rows: list[Any]) -> str:
    """JSON lines; returns the path as text, as a config names it."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def length(item: Item) -> float:
    """A checker whose truth is plain: the number of characters of a response."""
    return float(len(item.response))
