"""Public data layouts: each is the columns it needs and one function from a row to its winner and loser.

A layout is found by column names alone. A row that does not fit raises BadField, which names the field and, in a few
stable words, the reason; text is never changed, guessed or evaluated.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from jpo_dist.records import Comparison, Item, Message

Row = Mapping[str, Any]
WEIGHT = "weight"


class BadField(ValueError):
    """Why a row cannot be read. `field` is empty when the row as a whole is at fault."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class Layout(NamedTuple):
    """The columns a row must have, the loser's response last, and how to read them."""

    columns: tuple[str, ...]
    sides: Callable[[Row], tuple[Item, Item]]


def _paper(row: Row) -> tuple[Item, Item]:
    """Two whole items; the instructions are equal (conditional) or differ (joint)."""
    return (
        Item.of(_text(row["i_chosen"], "i_chosen"), _text(row["r_chosen"], "r_chosen")),
        Item.of(_text(row["i_reject"], "i_reject"), _text(row["r_reject"], "r_reject")),
    )


def _explicit(row: Row) -> tuple[Item, Item]:
    """One prompt, two responses. Each of the three is a string or a list of messages."""
    value = row["prompt"]
    prompt = _messages(value, "prompt") if isinstance(value, list) else (Message("user", _text(value, "prompt")),)

    def side(field: str) -> Item:
        if isinstance(row[field], list):
            return _conversation(_after_prompt(prompt, _messages(row[field], field), field), field)
        return Item(prompt, _text(row[field], field))

    return side("chosen"), side("rejected")


def _implicit(row: Row) -> tuple[Item, Item]:
    """Two whole conversations, or two texts that begin with the same instruction."""
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, list):
        # Each side is whole in itself: equal turns before the last make it conditional, different ones joint.
        winner, loser = (_conversation(_messages(row[f], f), f) for f in ("chosen", "rejected"))
        return winner, loser
    chosen, rejected = _text(chosen, "chosen"), _text(rejected, "rejected")
    if chosen == rejected:
        raise BadField("rejected", "winner equals loser")
    cut = _end_of_instruction(chosen, rejected)
    return Item.of(chosen[:cut], chosen[cut:]), Item.of(rejected[:cut], rejected[cut:])


# The layout with more of its columns in a row comes first: `prompt` must not be overlooked.
LAYOUTS = (
    Layout(("i_chosen", "r_chosen", "i_reject", "r_reject"), _paper),
    Layout(("prompt", "chosen", "rejected"), _explicit),
    Layout(("chosen", "rejected"), _implicit),
)
COLUMNS = frozenset(column for layout in LAYOUTS for column in layout.columns) | {WEIGHT}


def layout_of(columns: Collection[str]) -> Layout | None:
    """The layout whose columns are all there."""
    return next((layout for layout in LAYOUTS if set(layout.columns) <= set(columns)), None)


def comparison(layout: Layout, row: Row, source: str) -> Comparison:
    """Read one row. Columns that the layout does not know, `weight` aside, are ignored. Raises BadField."""
    for column in layout.columns:
        if column not in row:
            raise BadField(column, "missing field")
    if layout_of(row.keys()) is not layout:
        raise BadField("", "another layout")
    winner, loser = layout.sides(row)
    if winner == loser:
        raise BadField(layout.columns[-1], "winner equals loser")
    return Comparison(winner, loser, _weight(row), source)


def _weight(row: Row) -> float:
    weight = row.get(WEIGHT, 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float):  # True is an int to Python
        raise BadField(WEIGHT, "bad weight")
    try:
        weight = float(weight)
    except OverflowError:
        weight = math.inf
    if not math.isfinite(weight):
        raise BadField(WEIGHT, "not finite")
    if weight <= 0:
        raise BadField(WEIGHT, "bad weight")
    return weight


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise BadField(field, "not a string")
    if not value.strip():
        raise BadField(field, "empty")
    if "\0" in value:
        raise BadField(field, "nul character")
    if not is_encodable(value):
        raise BadField(field, "lone surrogate")
    return value


def is_encodable(text: str) -> bool:
    """False for half of a UTF-16 pair: JSON can spell it (`\\ud83d`), UTF-8, Arrow and tokenizers cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _messages(value: Any, field: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise BadField(field, "not a list of messages")
    if not value:
        raise BadField(field, "empty")
    return tuple(_message(turn, f"{field}[{number}]") for number, turn in enumerate(value))


def _message(turn: Any, field: str) -> Message:
    if not isinstance(turn, dict):
        raise BadField(field, "not a message")
    for key in ("role", "content"):
        if key not in turn:
            raise BadField(f"{field}.{key}", "missing field")
    return Message(_text(turn["role"], f"{field}.role"), _text(turn["content"], f"{field}.content"))


def _conversation(turns: tuple[Message, ...], field: str) -> Item:
    """The last turn is the response, all before it the instruction."""
    *instruction, last = turns
    if last.role != "assistant":
        raise BadField(f"{field}[{len(turns) - 1}].role", "last turn not assistant")
    if not instruction:
        raise BadField(field, "no instruction")
    return Item(tuple(instruction), last.content)


def _after_prompt(prompt: tuple[Message, ...], turns: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """Prompt and turns as one conversation. Some data sets repeat the prompt in `chosen` and `rejected`, perhaps below
    a system turn: adding it again would ask the question twice."""
    if turns[0].role == "assistant":
        return prompt + turns
    start = int(turns[0].role == "system" and prompt[0].role != "system")
    if turns[start : start + len(prompt)] != prompt:
        raise BadField(field, "does not start with the prompt")
    return turns


# Where a word ends in scripts that put no space between words.
_STOPS = "。！？：；，、．…"


def _end_of_instruction(chosen: str, rejected: str) -> int:
    """Where two different texts with a common beginning part: TRL's rule, moved back so that no word is cut.

    The longest common prefix alone would give "… A: Ap" + "ple" and "… A: Ap" + "ricot". As in TRL one space before
    the response belongs to the response. Instruction + response is exactly the text.
    """
    pairs = enumerate(zip(chosen, rejected, strict=False))
    common = next((at for at, (a, b) in pairs if a != b), min(len(chosen), len(rejected)))
    for cut in range(common, 0, -1):
        rests = chosen[cut:], rejected[cut:]
        before_space = all(rest[:1].isspace() for rest in rests)
        after_stop = chosen[cut - 1] in _STOPS or (chosen[cut - 1].isspace() and chosen[cut - 1] != " ")
        if (before_space or after_stop) and all(rest.strip() for rest in rests) and chosen[:cut].strip():
            return cut
    raise BadField("chosen", "no common instruction")
