"""Values of one row, checked. What does not fit raises BadField; text is never changed, guessed or evaluated."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jpo_dist.config.groups import group_value
from jpo_dist.records.comparisons import Item, Message
from jpo_dist.records.group_column import Groups

Row = Mapping[str, Any]

NUMBERS = frozenset(
    {"weight", "confidence", "feedback", "label", "score", "score_chosen", "score_rejected", "helpfulness"}
)
"""Columns that hold numbers in every layout, so that their cells in a CSV file are not text."""


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
    if not value.strip():
        raise BadField(field, "empty")
    if "\0" in value:
        raise BadField(field, "nul character")
    if not is_encodable(value):
        raise BadField(field, "lone surrogate")
    return value


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
    """The weight of a row's comparison, above 0; 1 where the row has none."""
    value = number(row.get("weight", 1.0), "weight", "bad weight")
    if value <= 0:
        raise BadField("weight", "bad weight")
    return value


def confidence(row: Row) -> float | None:
    """The confidence of a row's verdict, above 0 and at most 1; None where the row has none."""
    if row.get("confidence") is None:
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


def prompt(value: Any, field: str) -> tuple[Message, ...]:
    """A string, which is one user turn, or a list of messages."""
    return messages(value, field) if isinstance(value, list) else (Message("user", text(value, field)),)


def response(instruction: tuple[Message, ...], value: Any, field: str) -> Item:
    """What follows an instruction: a string, or messages that may repeat the instruction."""
    if isinstance(value, list):
        return conversation(_after_prompt(instruction, messages(value, field), field), field)
    return Item(instruction, text(value, field))


def messages(value: Any, field: str) -> tuple[Message, ...]:
    """A list of {"role", "content"} as turns."""
    if not isinstance(value, list):
        raise BadField(field, "not a list of messages")
    if not value:
        raise BadField(field, "empty")
    return tuple(_message(turn, f"{field}[{number}]") for number, turn in enumerate(value))


_SPEAKERS = {"human": "user", "gpt": "assistant", "system": "system"}


def turns(value: Any, field: str) -> tuple[Message, ...]:
    """A list of {"role", "content"}, or of {"from", "value"} with `human` and `gpt`, as turns."""
    named = [
        {"role": _SPEAKERS.get(turn["from"], turn["from"]), "content": turn["value"]}
        if isinstance(turn, dict) and {"from", "value"} <= set(turn) and isinstance(turn["from"], str)
        else turn
        for turn in (value if isinstance(value, list) else ())
    ]
    return messages(named or value, field)


def _message(turn: Any, field: str) -> Message:
    if not isinstance(turn, dict):
        raise BadField(field, "not a message")
    for key in ("role", "content"):
        if key not in turn:
            raise BadField(f"{field}.{key}", "missing field")
    return Message(text(turn["role"], f"{field}.role"), text(turn["content"], f"{field}.content"))


def conversation(turns: tuple[Message, ...], field: str) -> Item:
    """The last turn is the response, all before it the instruction."""
    *instruction, last = turns
    if last.role != "assistant":
        raise BadField(f"{field}[{len(turns) - 1}].role", "last turn not assistant")
    if not instruction:
        raise BadField(field, "no instruction")
    return Item(tuple(instruction), last.content)


def _after_prompt(instruction: tuple[Message, ...], turns: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """Instruction and turns as one conversation. Some data sets repeat the prompt in `chosen` and `rejected`, perhaps
    below a system turn: adding it again would ask the question twice."""
    if turns[0].role == "assistant":
        return instruction + turns
    start = int(turns[0].role == "system" and instruction[0].role != "system")
    if turns[start : start + len(instruction)] != instruction:
        raise BadField(field, "does not start with the prompt")
    return turns
