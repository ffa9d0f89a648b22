"""What other columns of a row say of its instruction: system prompt, tools, earlier turns, an input, or all of it.

A layout names the columns that it cannot do without. Beside them public data sets put a question under another name, a
system prompt, a history, a list of tools: `filled` puts these into the instruction, or raises `Lost`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from jpo_dist.data.messages import transcripts
from jpo_dist.data.messages.instruction import (
    ADDED,
    ALIKE,
    APART,
    ARGUMENTS,
    HISTORY,
    INSTRUCTS,
    MEDIA,
    NAMES,
    QUESTIONS,
    SIDES,
    SYSTEMS,
    TALKS,
    Instruction,
    Lost,
    earlier_turns,
    is_blank,
    leaves_of,
    stand_within,
)
from jpo_dist.data.messages.tools import TOOL_LISTS
from jpo_dist.data.messages.turns import listed, messages, prompt
from jpo_dist.data.messages.written import parsed
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Message


class Filled(NamedTuple):
    """A row whose instruction is whole, and what each further column was taken for."""

    row: Row
    taken: dict[str, str] = {}  # noqa: RUF012 - never changed


def stands_in(row: Row) -> str | None:
    """The column that is the instruction of `chosen` and `rejected` where there is no `prompt`; None where each of
    them is a whole conversation, or nothing is. An empty one only where no other is there."""
    if not is_blank(row.get("prompt")) or not is_bare(row):
        return None
    there = [name for name in (*QUESTIONS[1:], *ADDED, HISTORY, *TALKS) if name in row]
    return next((name for name in there if not is_blank(row[name])), there[0] if there else None)


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
    whole = _with_system(row)
    found = _filled(whole, places, decided)
    return found if whole is row else Filled(found.row, {**found.taken, ARGUMENTS: "a system turn"})


def _filled(row: Row, places: Places, decided: bool) -> Filled:
    no_prompt = "prompt" in places.asks and row.get("prompt", 1) in (None, "")
    if places.talk is None and places.others.isdisjoint(row) and not no_prompt:
        return Filled(row)
    more = [name for name in row if name in places.others]
    lacks = any(name not in row for name in places.columns if name != "prompt")
    if lacks or "finished" in places.columns:  # answers of jpo generate are whole
        return Filled(row)
    said = _said(row, places.reads)
    _refuse_lost(row, more, said, decided)
    more = [name for name in more if name not in (ARGUMENTS, *MEDIA) and name not in APART and name not in ALIKE]
    if set(SIDES) <= set(places.columns) and (places.asks == ("prompt",) or set(places.wholes) == set(SIDES)):
        return _pair(row, more, said, can_ask=bool(places.asks), decided=decided)
    new, taken = dict[str, Any](), dict[str, str]()
    for name in (*places.asks, *places.wholes):
        base = _asked_elsewhere(row, name, more, places) or name
        whole = Instruction(_body(row, base, places), name in places.wholes, is_one_of_two=len(places.asks) > 1)
        taken |= whole.take(row, [one for one in more if one != base], said, name, decided)
        taken |= {} if base == name else {base: INSTRUCTS}
        new |= {name: whole.turns()} if whole.is_more or name == places.talk or base != name else {}
    if not places.asks and not places.wholes:
        taken = _nowhere(row, more, said)
    return Filled({**row, **new} if new else row, taken)


def _asked_elsewhere(row: Row, name: str, more: list[str], places: Places) -> str | None:
    """The column that is the instruction where its own one is there and empty (MixInstruct, some of alpaca)."""
    if places.asks != (name,) or name not in row or not is_blank(row[name]):
        return None
    return next((one for one in ADDED if one in more and not is_blank(row[one])), None)


_OF_TOOLS = ("tools", "python_tools", "xml_tools", "documents")


def _with_system(row: Row) -> Row:
    """The row with the system prompt that the arguments of a chat template hold. Raises Lost for tools in them."""
    given = row.get(ARGUMENTS)
    given = parsed(given) if isinstance(given, str) else given
    if not isinstance(given, dict):
        return row
    for key in _OF_TOOLS:
        if not is_blank(given.get(key)):
            raise Lost(ARGUMENTS, f"holds {key}, which no turn has")
    said = given.get("custom_instructions")
    if is_blank(said):
        return row
    beside = [row[name] for name in SYSTEMS if not is_blank(row.get(name))]
    if any(one != said for one in beside):
        raise Lost(ARGUMENTS, "holds another system prompt than the one beside it")
    return {**row, SYSTEMS[0]: said}


def _refuse_lost(row: Row, more: list[str], said: str, decided: bool) -> None:
    """Raises Lost for columns that have no place, and for those whose name is like that of one."""
    for name in more:
        if name in MEDIA and not is_blank(row[name]):
            raise Lost(name, "holds what no text can say, and instructions may ask about it")
        if name in APART and not is_blank(row[name]):
            raise Lost(name, "stands apart from the response or the turn that it belongs to")
        texts = list(leaves_of(row[name])) if name in ALIKE and not decided else []
        if len(" ".join(texts).split()) > 1 and not stand_within(texts, said):
            raise Lost(name, "may be of the instruction, and is not read under this name")


def _body(row: Row, name: str, places: Places) -> tuple[Message, ...]:
    """The turns of a column, without an answer at their end that another column has too. Raises BadField."""
    if name not in row:
        raise BadField(name, "missing field")
    if name in places.wholes:
        return messages(row[name], name)
    return _base(row, name) if name in TALKS and set(SIDES) <= set(places.columns) else prompt(row[name], name)


def _nowhere(row: Row, more: list[str], said: str) -> dict[str, str]:
    """What became of columns for which the layout has no place. Raises Lost."""
    taken = {name: "empty" for name in more if is_blank(row[name])}
    for name in (*SYSTEMS, *TOOL_LISTS, HISTORY):
        if name in more and name not in taken:
            if not stand_within(list(leaves_of(row[name])), said):
                raise Lost(name, "has no place in this layout")
            taken[name] = "said elsewhere too"
    return taken


def _pair(row: Row, more: list[str], said: str, can_ask: bool, decided: bool) -> Filled:
    """`chosen` and `rejected` with their whole instruction.

    The implicit layout cannot ask: it has no place for another column's instruction.
    """
    base = stands_in(row) if is_blank(row.get("prompt")) else "prompt"
    base = base if can_ask else None
    if base is not None:
        whole = Instruction(_base(row, base))
        taken = whole.take(row, [name for name in more if name != base], said, base, decided)
        changed = whole.is_more or base != "prompt"
        taken |= {} if base == "prompt" else {base: INSTRUCTS}
        return Filled({**row, "prompt": whole.turns()} if changed else row, taken)
    if not _are_whole(row):
        return Filled(row)
    new, taken = dict[str, Any](), dict[str, str]()
    sides = {side: _turns(row[side], side) for side in SIDES}
    if can_ask and sides["chosen"][:-1] == sides["rejected"][:-1]:
        # Conversations need no prompt: its column is there, and empty.
        return _pair({**row, **sides, "prompt": sides["chosen"][:-1]}, more, said, can_ask, decided)
    for side in SIDES:
        whole = Instruction(sides[side], is_whole=True)
        taken |= whole.take(row, more, said, side, decided)
        new |= {side: whole.turns()} if whole.is_more else {}
    # `chosen` as turns and `rejected` as text would be two kinds of sides.
    return Filled({**row, **({side: new.get(side, row[side]) for side in SIDES} if new else {})}, taken)


def _base(row: Row, name: str) -> tuple[Message, ...]:
    """The turns of a column that is the instruction."""
    if name == HISTORY and not isinstance(row[name], str):
        turns = earlier_turns(row[name], name)
    elif name in TALKS:
        turns = messages(row[name], name)
    else:
        return prompt(row[name], name)
    if turns[-1].role == "assistant" and any(turns[-1].content in leaves_of(row[side]) for side in SIDES):
        turns = turns[:-1]
    if not turns or turns[-1].role == "assistant":
        raise BadField(name, "ends with an answer, and chosen and rejected are answers: where is the question?")
    return turns


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


def _said(row: Mapping[str, Any], columns: Collection[str]) -> str:
    return "\n".join(leaf for name in columns if name in row for leaf in leaves_of(row[name]))
