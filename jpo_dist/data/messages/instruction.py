"""An instruction and what other columns put around it: a system turn, tools, earlier turns, an input.

Nothing is put there twice: what stands in the instruction already adds nothing.
"""

import re
from collections.abc import Iterator
from typing import Any

from jpo_dist.data.messages import transcripts
from jpo_dist.data.messages.names import spellings
from jpo_dist.data.messages.parts import content_of
from jpo_dist.data.messages.tools import TOOL_LISTS, tools_of
from jpo_dist.data.messages.turns import ROLE_KEYS, listed, messages
from jpo_dist.data.messages.written import messages_in, parsed
from jpo_dist.data.row_values import BadField, Row, text
from jpo_dist.records.chat import KEYS, TOOLS
from jpo_dist.records.comparisons import Message

SIDES = ("chosen", "rejected")
SYSTEMS = ("system", "system_prompt", "system_message")
QUESTIONS = ("prompt", "instruction", "question", "query")
ADDED = ("input", "context")
"""Stand below a question, or are the question where there is no other."""
TEXTS = (*SYSTEMS, *QUESTIONS, *ADDED)
"""Columns that are mostly text."""
HISTORY = "history"
COPIES = ("messages", "conversations")
"""Whole conversations; beside a prompt they are mostly copies of what other columns say."""
TALKS = (*COPIES, "conversation")
MEDIA = ("images", "image", "audio", "audios", "video", "videos")
"""What the text of an instruction may be about, and no text can say."""
_OF_RESPONSES = ("reasoning_content", "thinking", "tool_calls", "function_call", "function_calls")
_OF_SIDES = (*_OF_RESPONSES, "reasoning", "thoughts")
APART = frozenset(
    (*_OF_RESPONSES, *(named for side in SIDES for name in _OF_SIDES for named in (f"{side}_{name}", f"{name}_{side}")))
)
"""What belongs into a response, or into a turn."""
_READ = frozenset((*SYSTEMS, *QUESTIONS, *ADDED, HISTORY, *TALKS, *TOOL_LISTS))
_MEANT = {
    "a system prompt: rename it to system":
        (*SYSTEMS, "developer", "developer_prompt", "developer_message", "sys", "sys_prompt", "system_instruction",
         "system_instructions", "system_text", "system_content", "custom_instructions", "preprompt", "pre_prompt"),
    "earlier turns: rename it to history":
        (HISTORY, "chat_history", "conversation_history", "dialogue_history", "dialog_history", "message_history",
         "previous_messages", "previous_turns"),
    "a list of tools: rename it to tools":
        (*TOOL_LISTS, "available_tools", "tool_list", "tool_definitions", "tool_schemas"),
    "what it asks about: rename it to context where it is one text":
        ("document", "documents", "passage", "passages"),
    "how both responses begin: write it into them":
        ("assistant_prefix", "assistant_prefill", "response_prefix", "response_prefill", "prefill",
         "initial_reason_steps"),
}  # fmt: skip
ALIKE = {name: meaning for meaning, names in _MEANT.items() for name in spellings(names) if name not in _READ}
"""Other names that an instruction's parts have, and what to do about them. None of them is read: they may mean
something else, and whoever knows says so."""
ARGUMENTS = "chat_template_kwargs"
"""Arguments of a chat template, of this row alone (TRL, SmolTalk 2)."""
NAMES = frozenset((*_READ, *MEDIA, *APART, *ALIKE, ARGUMENTS))
INSTRUCTS = "the instruction"
_LONG = 16
"""A system prompt of so many characters that stands in the instruction stands there on purpose."""


class Lost(BadField):
    """A column that holds something of the instruction for which there is no place."""


class Instruction:
    """Turns of an instruction, and what is put around them."""

    def __init__(self, turns: tuple[Message, ...], is_whole: bool = False, is_one_of_two: bool = False) -> None:
        self.body = turns
        self.head: tuple[Message, ...] = ()
        self.is_more, self.is_whole, self.is_one_of_two = False, is_whole, is_one_of_two

    def turns(self) -> tuple[Message, ...]:
        """All of it."""
        return self.head + self.body

    def take(self, row: Row, more: list[str], said: str, base: str, decided: bool) -> dict[str, str]:
        """What each of the columns `more` was taken for. `said`: all that the row's other columns say."""
        own = "\n".join(turn.content for turn in self.body)
        taken: dict[str, str] = {}
        order = (*ADDED, HISTORY, *SYSTEMS, *TOOL_LISTS, *QUESTIONS, *TALKS)
        for name in sorted(more, key=order.index):
            value = row[name]
            if is_blank(value):
                taken[name] = "empty"
            elif name in TOOL_LISTS:
                taken[name] = self._tools(value, name)
            elif name in SYSTEMS:
                taken[name] = self._system(_system_text(value, name), name, own)
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
        if first is not None and not stand_within([value], first.content):
            raise Lost(name, "not the system turn that the messages begin with")
        if first is None and not (len(value) >= _LONG and stand_within([value], own)):
            self._put((Message("system", value),))
        return "a system turn"

    def _history(self, value: Any, name: str, own: str) -> str:
        turns = earlier_turns(value, name)
        if not stand_within([turn.content for turn in turns], own):
            if self.is_one_of_two:
                raise Lost(name, "does not tell which of the two instructions it belongs to")
            self._put(turns)
        return "earlier turns"

    def _add(self, value: Any, name: str, own: str, base: str) -> str:
        value = text(value, name)
        # "a" stands in "Is this letter a vowel?", and is not said there.
        ends = (
            stand_within([value], own)
            and own.split()[-1:] == value.split()[-1:]
            and own.rstrip().endswith(value.strip())
        )
        if ends or value.strip() in own.splitlines() or (len(value) >= _LONG and stand_within([value], own)):
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
        if all(isinstance(one, str) and stand_within([one], said) for one in texts):
            return f"in {base} too"
        if self.is_whole or decided or not all(isinstance(one, str) for one in texts):
            return ""
        if name in QUESTIONS:
            raise Lost(name, f"says what is not in {base}, and may be the instruction")
        if name in TALKS and any(stand_within([turn.content], " ".join(texts)) for turn in self.body):
            raise Lost(name, f"has {base} in it, and other turns that would be lost")
        return ""  # another conversation


def _system_text(value: Any, name: str) -> str:
    """A system prompt: text, a message, also as text, or parts of text (Bedrock)."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        spoken = messages_in(value, name)
        value = spoken[0] if spoken and len(spoken) == 1 else value
    if isinstance(value, dict) and not set(ROLE_KEYS).isdisjoint(value):
        turns = messages([value], name)
        if [turn.role for turn in turns] not in (["system"], ["developer"]):
            raise BadField(name, "not a system turn")
        return turns[0].content
    return text(content_of(value, name) if isinstance(value, list) else value, name)


def earlier_turns(value: Any, name: str) -> tuple[Message, ...]:
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


def is_blank(value: Any) -> bool:
    """Whether there is nothing in a value."""
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})


def leaves_of(value: Any) -> Iterator[str]:
    """All texts in a value; those of messages that are written as one text, too."""
    if isinstance(value, str):
        try:
            found = listed(value, "")
        except BadField:
            found = None
        yield from [value] if found is None else leaves_of(found)
    elif isinstance(value, dict):
        for one in value.values():
            yield from leaves_of(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from leaves_of(one)


def stand_within(texts: list[str], said: str) -> bool:
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


def fix(name: str) -> str:
    """What to do about a column that would be lost."""
    if name in (*QUESTIONS, *COPIES):
        named = f"name the instruction in a source of jpo data build, such as columns: {{prompt: {name}}}"
        return f"take one of the two columns out of the file, or {named}"
    if name in MEDIA:
        return "take the rows that have some out of the file"
    if name in ALIKE:
        return (
            f"it may be {ALIKE[name]}, or put it into the prompt; where it is something else, name the "
            "layout in a source of jpo data build, or take the column out of the file"
        )
    if name in APART:
        return "write it into the response, as the model writes it, or take the column out of the file"
    return "put it into the messages or the prompt, or take the column out of the file"
