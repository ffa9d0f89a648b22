"""Values in a row: at a path, as an instruction, as a response."""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from jpo_dist.data import row_values
from jpo_dist.data.messages import turns as chats
from jpo_dist.data.messages.transcripts import transcript
from jpo_dist.data.messages.written import anything_in
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Item, Message

_NOWHERE = object()
_MARK = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
PLACE = re.compile(r"\{([^{}]+)\}")
"""Where a value goes in the words around it."""


def column_of(path: str) -> str:
    """The column that a path begins in."""
    return path.partition(".")[0]


def value_at(row: Row, path: str) -> Any:
    """The value at a path: `question.full_text` goes into an object, `summaries.0.text` into the first of a list.

    A key with dots in it, such as a flattened column, goes before its parts. Raises BadField where nothing is there.
    """
    found = row[path] if path in row else _find(row, path)
    if found is _NOWHERE:
        raise BadField(path, "missing field")
    return found


def optional(row: Row, path: str) -> Any:
    """The value at a path; None where there is none, or no text in it."""
    found = _find(row, path)
    return None if found is _NOWHERE or (isinstance(found, str) and not found.strip()) else found


def _find(value: Any, path: str) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):  # as in a CSV file
        value = anything_in(value)
    if isinstance(value, Mapping):
        if path in value:
            return value[path]
        heads = [path[: dot.start()] for dot in re.finditer(r"\.", path)]
        for head in reversed(heads):
            if head in value:
                return _find(value[head], path[len(head) + 1 :])
    head, dot, rest = path.partition(".")
    if isinstance(value, list) and head.isdecimal() and int(head) < len(value):
        return _find(value[int(head)], rest) if dot else value[int(head)]
    return _NOWHERE


class Instruction(NamedTuple):
    """Where an instruction stands in a row, and how its value becomes turns."""

    paths: tuple[str, ...]
    """The one value: text or messages. Of several the texts, joined by a line break; those that are empty left out."""
    form: str = "prompt"
    """A name in FORMS: how text becomes turns."""
    system: tuple[str, ...] = ()
    """Where a system prompt may stand; the first that is there becomes a system turn."""
    history: str | None = None
    """Where earlier turns stand, as pairs of what the user and the assistant said."""
    template: tuple[str, ...] = ()
    """Text around the values, with `{path}` for each. Of several the first whose values are all there."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that must be there."""
        return tuple(dict.fromkeys(column_of(path) for path in self.paths[:1]))

    @property
    def asks(self) -> tuple[str, ...]:
        """The column that is the instruction as it stands, to which other columns may add."""
        plain = len(self.paths) == 1 and not self.template and self.form in ("prompt", "turns")
        return self.reads if plain and self.reads == self.paths else ()

    @property
    def also(self) -> tuple[str, ...]:
        """The columns that are read where they are there."""
        places = (place for one in self.template for place in PLACE.findall(one))
        more = (*self.paths[1:], *places, *self.system, *((self.history,) if self.history else ()))
        return tuple(dict.fromkeys(column_of(path) for path in more))


def of(*paths: str, **more: Any) -> Instruction:
    """An instruction at these paths."""
    return Instruction(paths, **more)


def instruction(row: Row, where: Instruction) -> tuple[Message, ...]:
    """The turns of an instruction. Raises BadField."""
    turns = FORMS[where.form](_asked(row, where), where.paths[0])
    if not (where.system or where.history):
        return turns
    before = next((value for path in where.system if (value := optional(row, path)) is not None), None)
    system = () if before is None else (Message("system", row_values.text(before, where.system[0])),)
    if system and turns[0].role == "system":
        raise BadField(where.system[0], "two system prompts")
    return system + _history(row, where.history) + turns


def _asked(row: Row, where: Instruction) -> Any:
    if where.template:
        filled = (one for one in where.template if all(optional(row, path) is not None for path in PLACE.findall(one)))
        template = next(filled, where.template[0])
        return PLACE.sub(lambda at: row_values.text(value_at(row, at.group(1)), at.group(1)), template)
    if len(where.paths) == 1:
        return value_at(row, where.paths[0])
    parts = [(path, optional(row, path)) for path in where.paths]
    texts = [row_values.text(value, path) for path, value in parts if value is not None]
    return "\n".join(texts)


def _history(row: Row, path: str | None) -> tuple[Message, ...]:
    value = None if path is None else optional(row, path)
    pairs = anything_in(value)
    if not value or pairs == [] or path is None:
        return ()
    turns: list[Message] = []
    for n, pair in enumerate(row_values.sequence(pairs, path)):
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadField(f"{path}[{n}]", "not a pair of turns")
        for m, role in enumerate(("user", "assistant")):
            turns.append(Message(role, row_values.text(pair[m], f"{path}[{n}][{m}]")))
    return tuple(turns)


def _transcript(value: Any, field: str) -> tuple[Message, ...]:
    """`\\n\\nHuman: …\\n\\nAssistant:` as turns (Anthropic HH, Nectar); other text is one user turn."""
    whole = row_values.text(value, field)
    if not whole.lstrip().startswith("Human:") or not whole.rstrip().endswith("\n\nAssistant:"):
        return chats.prompt(value, field)
    return transcript(f"{whole.rstrip()} …", field)[:-1]  # a stand-in for the response that is elsewhere


def _marked(value: Any, field: str) -> tuple[Message, ...]:
    """NVIDIA's marks between turns (HelpSteer2): `…\\n<extra_id_1>Assistant\\n…\\n<extra_id_1>User\\n…`."""
    if not isinstance(value, str) or not _MARK.search(value):
        return chats.prompt(value, field)
    first, *rest = _MARK.split(value)
    spoken = [("User", first), *zip(rest[::2], rest[1::2], strict=True)]
    roles = {"User": "user", "Assistant": "assistant"}
    spoken = [(role, text) for n, (role, text) in enumerate(spoken) if n or text.strip()]  # may open with a mark
    return tuple(Message(roles[role], row_values.text(text, f"{field}[{n}]")) for n, (role, text) in enumerate(spoken))


def texts(value: Any, field: str) -> list[str]:
    """A list of texts, or JSON text of one (the Kaggle form of Chatbot Arena); other text is one."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        value = [value]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise BadField(field, "not json") from None
    return [row_values.text(part, f"{field}[{n}]") for n, part in enumerate(row_values.sequence(value, field))]


_OBJECTS = re.compile(r"\s*(?:array\(\s*)?\[?\s*\{")


def entries(value: Any) -> Any:
    """A list, also where it is kept as one object of lists (a Sequence of `datasets`), or as JSON of either (in a CSV
    file). How Python or numpy writes a list is read where objects are in it: without commas several texts are one."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, str) and _OBJECTS.match(value):
        value = anything_in(value) or value
    if isinstance(value, dict) and value and all(isinstance(part, list) for part in value.values()):
        lengths = {len(part) for part in value.values()}
        if len(lengths) == 1:
            return [dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=True)]
    return value


FORMS = {
    "prompt": chats.prompt,
    "turns": chats.messages,
    "transcript": _transcript,
    "marked": _marked,
}
"""How a value becomes the turns of an instruction: text or messages; messages of either kind; text with turns in it."""


def response(turns: tuple[Message, ...], value: Any, field: str) -> Item:
    """What follows an instruction: text, messages that may repeat the instruction, or one message."""
    return chats.response(turns, value, field)


def is_number(value: Any) -> bool:
    """Whether a value is a number that a score can be: finite, as a float too, and not True or False."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_none(value: Any) -> bool:
    """Whether a value says that there is none: null, an empty cell, or NaN, which pandas has for it."""
    return value is None or value == "" or (isinstance(value, float) and value != value)


def is_label(row: Row, column: str) -> bool:
    """True, false, 1 or 0: a label of another kind rates nothing."""
    return isinstance(row.get(column), bool) or (row.get(column) in (0, 1) and not isinstance(row.get(column), str))


def one_of(values: Iterable[Any]) -> str:
    """`0, 1 or 2`."""
    *most, last = map(str, values)
    return f"{', '.join(most)} or {last}" if most else last
