"""The column `split` of pairs for a judge: jpo data build writes it, and their verdicts keep it.

A set that is made of the verdicts would else train on the instructions that the set beside it holds out.
"""

from dataclasses import replace
from typing import Any

from jpo_dist.data.file_formats import Columns
from jpo_dist.data.layouts.layout import Reading
from jpo_dist.data.read_report import TableColumns
from jpo_dist.data.row_values import BadField
from jpo_dist.records.split import known_split

SPLIT = "split"


def asked_for(columns: Columns) -> Columns:
    """What is read of a table, and this column."""
    return columns._replace(wanted=None if columns.wanted is None else columns.wanted | {SPLIT})


def noted(reading: Reading, row: dict[str, Any] | BadField) -> Reading:
    """What a row says, with its split where it names one: train, validation or test. Other words say nothing."""
    known = None if isinstance(row, BadField) else known_split(row.get(SPLIT))
    if known is None:
        return reading
    one = reading.comparison and replace(reading.comparison, split=known)
    return reading._replace(comparison=one, comparisons=tuple(replace(c, split=known) for c in reading.comparisons))


def told(tables: list[TableColumns]) -> list[TableColumns]:
    """The accounts of tables whose column `split` was read, which of others carries nothing."""
    return [
        table._replace(read={**table.read, SPLIT: ""}, nothing=tuple(name for name in table.nothing if name != SPLIT))
        if SPLIT in table.nothing
        else table
        for table in tables
    ]
