"""What other columns of a row say of its instruction: system prompt, tools, earlier turns, an input, or all of it.

A layout names the columns that it cannot do without. Beside them public data sets put a question under another name, a
system prompt, a history, a list of tools: `filled` puts these into the instruction, or raises `Lost`.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from jpo_dist.data.messages import transcripts
from jpo_dist.data.messages.tools import TOOL_LISTS, tools_of
from jpo_dist.data.messages.turns import listed, messages, prompt
from jpo_dist.data.messages.written import parsed
from jpo_dist.data.row_values import BadField, Row, text
from jpo_dist.records.chat import KEYS, TOOLS
from jpo_dist.records.comparisons import Message

SIDES = ("chosen", "rejected")
SYSTEMS = ("system", "system_prompt", "system_message")
QUESTIONS = ("prompt", "instruction", "question", "query")
ADDED = ("input", "context")
"""Stand below a question, or are the question where there is no other."""
HISTORY = "history"
COPIES = ("messages", "conversations")
"""Whole conversations; beside a prompt they are mostly copies of what other columns say."""
TALKS = (*COPIES, "conversation")
MEDIA = ("images", "image", "audio", "audios", "video", "videos")
"""What the text of an instruction may be about, and no text can say."""
_OF_RESPONSES = ("reasoning_content", "thinking", "tool_calls", "function_call", "function_calls")
APART = frozenset((*_OF_RESPONSES, *(f"{side}_{name}" for side in SIDES for name in _OF_RESPONSES)))
"""What belongs into a response, or into a turn."""
NAMES = frozenset((*SYSTEMS, *QUESTIONS, *ADDED, HISTORY, *TALKS, *TOOL_LISTS, *MEDIA, *APART))
INSTRUCTS = "the instruction"
_LONG = 16
"""A system prompt of so many characters that stands in the instruction stands there on purpose."""


class Lost(BadField):
    """A column that holds something of the instruction for which there is no place."""


class Filled(NamedTuple):
    """A row whose instruction is whole, and what each further column was taken for."""

    row: Row
    taken: dict[str, str] = {}  # noqa: RUF012 - never changed


def stands_in(row: Row) -> str | None:
    """The column that is the instruction of `chosen` and `rejected` where there is no `prompt`; None where each of
    them is a whole conversation, or nothing is. An empty one only where no other is there."""
    if not _blank(row.get("prompt")) or not is_bare(row):
        return None
    there = [name for name in (*QUESTIONS[1:], *ADDED, HISTORY, *TALKS) if name in row]
    return next((name for name in there if not _blank(row[name])), there[0] if there else None)


@dataclass(frozen=True)
class Places:
    """Where a layout has what: see jpo_dist/data/layouts/layout.py."""

    columns: tuple[str, ...]
    reads: frozenset[str]
    asks: tuple[str, ...] = ()
    wholes: tuple[str, ...] = ()

    @cached_property
    def others(self) -> frozenset[str]:
        """Columns that may be of an instruction, and that the layout does not read."""
        return NAMES - self.reads

    @cached_property
    def talk(self) -> str | None:
        """A conversation that is the instruction, and may have an answer too much."""
        return next((name for name in self.asks if name in TALKS), None)


def filled(row: Row, places: Places, decided: bool = False) -> Filled:
    """The row with all of its instruction in the columns of its layout.

    `decided`: the source says which column is the instruction, so that another one is none. Raises BadField, and Lost
    where something of the instruction would be dropped.
    """
    if places.talk is None and places.others.isdisjoint(row):
        return Filled(row)
    more = [name for name in row if name in places.others]
    lacks = any(name not in row for name in places.columns if name != "prompt")
    if lacks or "finished" in places.columns:  # answers of jpo generate are whole
        return Filled(row)
    for name in more:
        if name in MEDIA and not _blank(row[name]):
            raise Lost(name, "holds what no text can say, and instructions may ask about it")
        if name in APART and not _blank(row[name]):
            raise Lost(name, "stands apart from the response or the turn that it belongs to")
    more = [name for name in more if name not in MEDIA and name not in APART]
    said = _said(row, places.reads)
    if set(SIDES) <= set(places.columns) and (places.asks == ("prompt",) or set(places.wholes) == set(SIDES)):
        return _pair(row, more, said, can_ask=bool(places.asks), decided=decided)
    new, taken = dict[str, Any](), dict[str, str]()
    for name in (*places.asks, *places.wholes):
        whole = _Instruction(_body(row, name, places), name in places.wholes, is_one_of_two=len(places.asks) > 1)
        taken |= whole.take(row, more, said, name, decided)
        new |= {name: whole.turns()} if whole.is_more or name == places.talk else {}
    if not places.asks and not places.wholes:
        taken = _nowhere(row, more, said)
    return Filled({**row, **new} if new else row, taken)


def _body(row: Row, name: str, places: Places) -> tuple[Message, ...]:
    """The turns of a column, without an answer at their end that another column has too."""
    if name in places.wholes:
        return messages(row[name], name)
    return _base(row, name) if name in TALKS and set(SIDES) <= set(places.columns) else prompt(row[name], name)


def _nowhere(row: Row, more: list[str], said: str) -> dict[str, str]:
    """Of columns for which the layout has no place. Raises Lost."""
    taken = {name: "empty" for name in more if _blank(row[name])}
    for name in (*SYSTEMS, *TOOL_LISTS, HISTORY):
        if name in more and name not in taken:
            if not _within(list(_leaves(row[name])), said):
                raise Lost(name, "has no place in this layout")
            taken[name] = "said elsewhere too"
    return taken


def _pair(row: Row, more: list[str], said: str, can_ask: bool, decided: bool) -> Filled:
    """Of `chosen` and `rejected`; the implicit layout cannot ask: it has no place for another column's instruction."""
    base = stands_in(row) if _blank(row.get("prompt")) else "prompt"
    base = base if can_ask else None
    if base is not None:
        whole = _Instruction(_base(row, base))
        taken = whole.take(row, [name for name in more if name != base], said, base, decided)
        changed = whole.is_more or base != "prompt"
        taken |= {} if base == "prompt" else {base: INSTRUCTS}
        return Filled({**row, "prompt": whole.turns()} if changed else row, taken)
    if not _are_whole(row):
        return Filled(row)
    new, taken = dict[str, Any](), dict[str, str]()
    for side in SIDES:
        whole = _Instruction(_turns(row[side], side), is_whole=True)
        taken |= whole.take(row, more, said, side, decided)
        new |= {side: whole.turns()} if whole.is_more else {}
    # `chosen` as turns and `rejected` as text would be two kinds of sides.
    return Filled({**row, **({side: new.get(side, row[side]) for side in SIDES} if new else {})}, taken)


class _Instruction:
    """Turns of an instruction, and what is put around them."""

    def __init__(self, turns: tuple[Message, ...], is_whole: bool = False, is_one_of_two: bool = False) -> None:
        self.body = turns
        self.head: tuple[Message, ...] = ()
        self.is_more, self.is_whole, self.is_one_of_two = False, is_whole, is_one_of_two

    def turns(self) -> tuple[Message, ...]:
        return self.head + self.body

    def take(self, row: Row, more: list[str], said: str, base: str, decided: bool) -> dict[str, str]:
        """What each of the columns `more` was taken for. `said`: all that the row's other columns say."""
        own = "\n".join(turn.content for turn in self.body)
        taken: dict[str, str] = {}
        order = (*ADDED, HISTORY, *SYSTEMS, *TOOL_LISTS, *QUESTIONS, *TALKS)
        for name in sorted(more, key=order.index):
            value = row[name]
            if _blank(value):
                taken[name] = "empty"
            elif name in TOOL_LISTS:
                taken[name] = self._tools(value, name)
            elif name in SYSTEMS:
                taken[name] = self._system(text(value, name), name, own)
            elif name == HISTORY or (name in ADDED and listed(value, name) is not None):
                taken[name] = self._history(value, name, own)
            elif name in ADDED:
                taken[name] = self._add(value, name, own, base)
            else:
                taken[name] = self._other(value, name, f"{own}\n{said}", base, decided)
        return taken

    def _put(self, turns: tuple[Message, ...]) -> None:
        self.head, self.is_more = turns + self.head, True

    def _tools(self, value: Any, name: str) -> str:
        turns = tools_of(value, name)
        if turns and not any(turn.role == TOOLS for turn in self.turns()):
            self._put(turns)
        elif turns and turns[0] not in self.turns():
            raise Lost(name, "not the tools that the messages name")
        return "a list of tools" if turns else "empty"

    def _system(self, value: str, name: str, own: str) -> str:
        first = next((turn for turn in self.turns() if turn.role in ("system", "developer")), None)
        if first is not None and not _within([value], first.content):
            raise Lost(name, "not the system turn that the messages begin with")
        if first is None and not (len(value) >= _LONG and _within([value], own)):
            self._put((Message("system", value),))
        return "a system turn"

    def _history(self, value: Any, name: str, own: str) -> str:
        turns = _earlier(value, name)
        if not _within([turn.content for turn in turns], own):
            if self.is_one_of_two:
                raise Lost(name, "does not tell which of the two instructions it belongs to")
            self._put(turns)
        return "earlier turns"

    def _add(self, value: Any, name: str, own: str, base: str) -> str:
        value = text(value, name)
        # "a" stands in "Is this letter a vowel?", and is not said there.
        ends = _within([value], own) and own.split()[-1:] == value.split()[-1:] and own.rstrip().endswith(value.strip())
        if ends or value.strip() in own.splitlines() or (len(value) >= _LONG and _within([value], own)):
            return f"in {base} too"
        if self.is_whole:
            return ""
        if self.is_one_of_two or len(self.body) != 1 or self.body[0].role != "user":
            raise Lost(name, f"neither in {base} nor with a place beside it")
        self.body, self.is_more = (Message("user", f"{self.body[0].content}\n{value}"),), True
        return f"below {base}"

    def _other(self, value: Any, name: str, said: str, base: str, decided: bool) -> str:
        try:
            found = listed(value, name)
            turns = messages(found, name) if found else ()
        except BadField:  # a kind of its own
            return ""
        turns = turns[:-1] if turns and turns[-1].role == "assistant" else turns
        texts = [turn.content for turn in turns if turn.role not in (TOOLS, KEYS)] if found else [value]
        if all(isinstance(one, str) and _within([one], said) for one in texts):
            return f"in {base} too"
        if self.is_whole or decided or not all(isinstance(one, str) for one in texts):
            return ""
        if name in QUESTIONS:
            raise Lost(name, f"says what is not in {base}, and may be the instruction")
        if name in COPIES and any(_within([turn.content], " ".join(texts)) for turn in self.body):
            raise Lost(name, f"has {base} in it, and other turns that would be lost")
        return ""  # another conversation


def _base(row: Row, name: str) -> tuple[Message, ...]:
    """The turns of a column that is the instruction."""
    if name == HISTORY and not isinstance(row[name], str):
        turns = _earlier(row[name], name)
    elif name in TALKS:
        turns = messages(row[name], name)
    else:
        return prompt(row[name], name)
    if turns[-1].role == "assistant" and any(turns[-1].content in _leaves(row[side]) for side in SIDES):
        turns = turns[:-1]
    if not turns or turns[-1].role == "assistant":
        raise BadField(name, "ends with an answer, and chosen and rejected are answers: where is the question?")
    return turns


def _earlier(value: Any, name: str) -> tuple[Message, ...]:
    """Earlier turns: messages, pairs of question and answer, or a transcript."""
    if isinstance(value, str):
        if transcripts.is_transcript(value):
            return transcripts.transcript(value, name)
        value = parsed(value) if value.lstrip().startswith("[") else value
    if isinstance(value, list) and value and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        roles = ("user", "assistant")
        return tuple(
            Message(role, text(said, f"{name}[{n}][{at}]"))
            for n, pair in enumerate(value)
            for at, (role, said) in enumerate(zip(roles, pair, strict=True))
        )
    if listed(value, name) is None:
        raise Lost(name, "neither messages nor pairs of question and answer")
    return messages(value, name)


def is_bare(row: Row) -> bool:
    """Whether both sides are responses without their instruction, or texts that may begin with it."""
    return all(side in row for side in SIDES) and not _are_whole(row)


def _are_whole(row: Row) -> bool:
    """Whether one of the sides begins with another turn than the assistant's, so that it holds its instruction."""
    return any(_is_whole(row[side], side) for side in SIDES)


def _is_whole(side: Any, name: str) -> bool:
    if isinstance(side, str) and side.lstrip()[:6] == "Human:":
        return transcripts.is_transcript(side)
    try:
        found = listed(side, name)
        return bool(found) and messages(found[:1], name)[0].role != "assistant"  # type: ignore[index]
    except BadField:
        return False


def _turns(side: Any, name: str) -> tuple[Message, ...]:
    return (
        transcripts.transcript(side, name)
        if isinstance(side, str) and transcripts.is_transcript(side)
        else messages(side, name)
    )


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})


def _said(row: Mapping[str, Any], columns: Collection[str]) -> str:
    return "\n".join(leaf for name in columns if name in row for leaf in _leaves(row[name]))


def _leaves(value: Any) -> Iterator[str]:
    """All texts in a value; those of messages that are written as one text, too."""
    if isinstance(value, str):
        try:
            found = listed(value, "")
        except BadField:
            found = None
        yield from [value] if found is None else _leaves(found)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _leaves(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)


def _within(texts: list[str], said: str) -> bool:
    """Whether texts stand in another, in this order, each between words; spaces and line ends do not matter."""
    said, at = " ".join(said.split()), 0
    for one in texts:
        one = " ".join(one.split())
        begins, ends = (one[edge : edge + 1].isalnum() and one[edge : edge + 1].isascii() for edge in (0, len(one) - 1))
        sought = f"{'(?<![A-Za-z0-9])' * begins}{re.escape(one)}{'(?![A-Za-z0-9])' * ends}"
        found = re.compile(sought).search(said, at)
        if found is None:
            return False
        at = found.end()
    return True
