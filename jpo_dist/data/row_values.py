"""Values of one row, checked. What does not fit raises BadField; text is never changed, guessed or evaluated."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jpo_dist.config.groups import group_value
from jpo_dist.records.group_column import Groups
from jpo_dist.records.item import LARGEST_WEIGHT, LEAST_WEIGHT

Row = Mapping[str, Any]

NUMBERS = frozenset(
    {"weight", "confidence", "feedback", "label", "score", "score_chosen", "score_rejected", "helpfulness"}
)
"""Columns that hold numbers in every layout, so that their cells in a CSV file are not text."""

_NOTHING = (None, "")
"""What a column that may be left out holds where it is: null, or an empty cell of a CSV file."""

EMPTY, NUL, SURROGATE = "empty", "nul character", "lone surrogate"
"""What is wrong with a text."""


class BadField(ValueError):
    """Why a row cannot be read. `field` is empty when the row as a whole is at fault."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


def text(value: Any, field: str) -> str:
    """Text with something in it, as it is."""
    if not isinstance(value, str):
        raise BadField(field, "not a string")
    if why := flaw(value):
        raise BadField(field, why)
    return value


def flaw(value: str) -> str:
    """What is wrong with a text; "" where nothing is."""
    if not value.strip():
        return EMPTY
    if "\0" in value:
        return NUL
    return "" if is_encodable(value) else SURROGATE


def is_encodable(value: str) -> bool:
    """False for half of a UTF-16 pair: JSON can spell it (`\\ud83d`), UTF-8, Arrow and tokenizers cannot."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def number(value: Any, field: str, reason: str = "not a number") -> float:
    """A finite number. `True` is no number here, though it is an int to Python."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadField(field, reason)
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise BadField(field, "not finite")
    return value


def weight(row: Row) -> float:
    """The weight of a row's comparison, from LEAST_WEIGHT to LARGEST_WEIGHT; 1 where the row has none, or an empty
    one."""
    value = 1.0 if row.get("weight") in _NOTHING else number(row["weight"], "weight", "bad weight")
    if value <= 0:
        raise BadField("weight", "bad weight")
    if not LEAST_WEIGHT <= value <= LARGEST_WEIGHT:
        raise BadField("weight", f"not from {LEAST_WEIGHT:g} to {LARGEST_WEIGHT:g}")
    return value


def confidence(row: Row) -> float | None:
    """The confidence of a row's verdict, above 0 and at most 1; None where the row has none, or an empty one."""
    if row.get("confidence") in _NOTHING:
        return None
    value = number(row["confidence"], "confidence", "bad confidence")
    if not 0 < value <= 1:
        raise BadField("confidence", "bad confidence")
    return value


def groups(row: Row, columns: Sequence[str]) -> Groups:
    """What these columns say of who judged; a column without a value in this row is left out."""
    found = []
    for column in columns:
        try:
            value = group_value(row.get(column))
        except ValueError:
            raise BadField(column, "not one value") from None
        if value is not None:
            found.append((column, text(value, column)))
    return tuple(found)


def thumb(value: Any, field: str) -> float:
    """1 for True or 1 (liked), 0 for False or 0 (not liked)."""
    if isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1)):
        return float(value)
    raise BadField(field, "not true or false")


def sequence(value: Any, field: str) -> list[Any]:
    """A list with something in it."""
    if not isinstance(value, list):
        raise BadField(field, "not a list")
    if not value:
        raise BadField(field, "empty")
    return value
