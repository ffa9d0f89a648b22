"""Messages of a row as turns: a prompt, a response, a whole conversation, each in any of its clothes.

A list of messages may be one object, an object of lists (Parquet), or text that says the same. What is read already, a
tuple of messages, is taken as it is.
"""

import json
from contextlib import suppress
from typing import Any

from jpo_dist.data.messages.parts import content_of
from jpo_dist.data.messages.roles import CALL, role_of
from jpo_dist.data.messages.tools import (
    CALL_KEYS,
    MEDIA_KEYS,
    REASONING_KEYS,
    RESULT_KEYS,
    TOOL_LISTS,
    calls_of,
    keys_of,
    stored,
    tools_of,
)
from jpo_dist.data.messages.written import messages_in
from jpo_dist.data.row_values import BadField, Row, text
from jpo_dist.records.chat import CALLS, KEYS, TOOLS, keys_turn
from jpo_dist.records.comparisons import Item, Message

ROLE_KEYS, CONTENT_KEYS = ("role", "from", "speaker"), ("content", "value", "text")
WRAPPED = ("messages", "conversations")
"""Keys of an object that messages may stand in, beside their tools (OpenAI's preference format)."""
_ROLES, _CONTENTS = frozenset(ROLE_KEYS), frozenset(CONTENT_KEYS)
_TURNS = (("input", "output"), ("human", "assistant"), ("user", "assistant"))
"""Keys of a turn that is what came in and what went out: Capybara and XTuner; MOSS and Firefly."""
_PARTS = "parts"
"""Where Gemini's messages have what others call content."""
_PLAIN_KEYS, _PLAIN_ROLES = {"role", "content"}, ("user", "assistant")
READ_KEYS = frozenset((*ROLE_KEYS, *CONTENT_KEYS, *TOOL_LISTS, *CALL_KEYS, *REASONING_KEYS, *MEDIA_KEYS))
"""Keys that are read, or refused, in every message."""
IN_RESPONSE = "in a response, which is text: write it into the content, as the model writes it"


def listed(value: Any, field: str) -> list[Any] | tuple[Message, ...] | None:
    """The messages that a value is, one by one; None where it is no messages, such as text. Raises BadField."""
    if isinstance(value, str):
        return messages_in(value, field)
    if isinstance(value, dict):
        for key in WRAPPED:
            if isinstance(value.get(key), list) and _is_messages(value[key]):
                first, *rest = value[key]  # the tools of a conversation are named in its first turn
                return [{**first, **{name: value[name] for name in TOOL_LISTS if name in value}}, *rest]
        columns = [one for one in value.values() if isinstance(one, list)]
        if not any(isinstance(value.get(key), list) for key in ROLE_KEYS):
            return None if _ROLES.isdisjoint(value) else [value]
        return [
            {key: one[n] for key, one in value.items() if isinstance(one, list) and n < len(one)}
            for n in range(max(map(len, columns)))
        ]
    if isinstance(value, list) and value and isinstance(value[0], dict) and _ROLES.isdisjoint(value[0]):
        halves = next((pair for pair in _TURNS if value[0].keys() >= set(pair)), None)
        return value if halves is None else _halves(value, halves, field)
    return value if isinstance(value, list | tuple) else None


def _halves(value: list[Any], keys: tuple[str, str], field: str) -> list[Any]:
    """Turns that are objects with what came in and what went out under these keys, as messages."""
    found = []
    for n, turn in enumerate(value):
        if not isinstance(turn, dict) or not turn.keys() >= set(keys):
            raise BadField(f"{field}[{n}]", "not a message")
        if not _ROLES.isdisjoint(turn):
            return value
        asked, said = (turn[key] for key in keys)
        more = {key: one for key, one in turn.items() if key not in (*keys, "system")}
        found += [{"role": "system", "content": turn["system"]}] if turn.get("system") else []
        found += [{"role": "user", "content": asked, **more}, {"role": "assistant", "content": said}]
    return found


def keys_read(turn: dict[str, Any]) -> frozenset[str]:
    """The keys of a message that are read in it: a name is that of a tool, and says nothing where it is empty."""
    known = READ_KEYS | {key for key in RESULT_KEYS if not turn.get(key)}
    with suppress(BadField):  # of another role, which makes the row bad
        if role_of(next((turn[key] for key in ROLE_KEYS if turn.get(key) is not None), None), "") == "tool":
            known |= set(RESULT_KEYS)
    return known | {_PARTS} if _CONTENTS.isdisjoint(turn) else known


def are_plain(value: list[Any]) -> bool:
    """Whether a list has messages, or other objects, without any key that is not read in each of them."""
    return all(isinstance(one, dict) and one.keys() <= READ_KEYS for one in value)


def _is_messages(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(turn, dict) for turn in value)


def prompt(value: Any, field: str) -> tuple[Message, ...]:
    """A string, which is one user turn, or messages."""
    found = listed(value, field)
    return (Message("user", text(value, field)),) if found is None else messages(found, field)


def response(instruction: tuple[Message, ...], value: Any, field: str) -> Item:
    """What follows an instruction: a string, or messages that may repeat the instruction or the end of it."""
    found = listed(value, field)
    if found is None:
        return Item(instruction, text(value, field))
    turns = messages(found, field)
    whole = _after_prompt(instruction, turns, field)
    return conversation(whole, field, own=turns)


def messages(value: Any, field: str) -> tuple[Message, ...]:
    """Messages as turns. Raises BadField."""
    found = listed(value, field)
    if isinstance(found, tuple):
        return found
    if found is None:
        raise BadField(field, "not a list of messages")
    if not found:
        raise BadField(field, "empty")
    turns: list[Message] = []
    for n, turn in enumerate(found):
        turns += _message(turn, f"{field}[{n}]", is_first=not turns)
    if not turns:
        raise BadField(field, "empty")
    return tuple(turns)


def _message(turn: Any, field: str, is_first: bool) -> tuple[Message, ...]:
    """The turn, the tools before it and the keys after it; nothing for a system turn that is empty."""
    if not isinstance(turn, dict):
        raise BadField(field, "not a message")
    if turn.keys() == _PLAIN_KEYS and turn["role"] in _PLAIN_ROLES and isinstance(turn["content"], str):
        return (Message(turn["role"], text(turn["content"], f"{field}.content")),)  # nearly all of them are so
    if _CONTENTS.isdisjoint(turn) and any(turn.get(key) for key in CALL_KEYS):
        turn = {**turn, CONTENT_KEYS[0]: None}  # OpenAI's own messages leave it out beside a call
    if _CONTENTS.isdisjoint(turn) and _PARTS in turn:
        turn = {**turn, CONTENT_KEYS[0]: turn[_PARTS]}
    role_key, content_key = _key(turn, ROLE_KEYS, field), _key(turn, CONTENT_KEYS, field)
    tools: tuple[Message, ...] = ()
    for key in TOOL_LISTS:
        if turn.get(key):
            tools += tools_of(turn[key], f"{field}.{key}")
    if tools and not is_first:
        raise BadField(
            f"{field}.{TOOL_LISTS[0]}", "tools are those of a whole conversation: name them in its first turn"
        )
    if turn[role_key] in (TOOLS, KEYS) and isinstance(turn[content_key], str):
        return (stored(turn[role_key], turn[content_key], field),)
    role = role_of(turn[role_key], f"{field}.{role_key}")
    if role == CALL:
        calls = calls_of(turn[content_key], f"{field}.{content_key}")
        return *tools, Message("assistant", ""), keys_turn({CALLS: calls})
    keys = keys_of(turn, role, field)
    may_be_empty = role in ("tool", "system") or bool(keys)
    content = content_of(turn[content_key], f"{field}.{content_key}", may_be_empty)
    return tools if role == "system" and not content else (*tools, Message(role, content), *keys)


def _key(turn: dict[str, Any], names: tuple[str, ...], field: str) -> str:
    """The one of several keys that a message has; two that differ would leave one unread."""
    there = [name for name in names if name in turn]
    if not there:
        raise BadField(f"{field}.{names[0]}", "missing field")
    said = [name for name in there if turn[name] is not None] or there[:1]
    if any(turn[name] != turn[said[0]] for name in said[1:]):
        raise BadField(f"{field}.{' and '.join(said)}", "differ; leave one of them out")
    return said[0]


def conversation(turns: tuple[Message, ...], field: str, own: tuple[Message, ...] | None = None) -> Item:
    """The last turn is the response, all before it the instruction. `own`: the turns that `field` has, if not all."""
    *instruction, last = turns
    if instruction and last.role == "assistant":
        return Item(tuple(instruction), last.content)
    at = f"{field}[{_spoken(own or turns) - 1}]"
    if last.role == KEYS:
        raise BadField(f"{at}.{' and '.join(json.loads(last.content))}", IN_RESPONSE)
    if last.role != "assistant":
        raise BadField(f"{at}.role", "last turn not assistant")
    raise BadField(field, "no instruction")


def _spoken(turns: tuple[Message, ...]) -> int:
    """How many of the turns somebody speaks."""
    return sum(turn.role not in (TOOLS, KEYS) for turn in turns)


def ends(turns: tuple[Message, ...]) -> list[int]:
    """Places of the assistant's turns that something stands before."""
    first = next((n for n, turn in enumerate(turns) if turn.role not in (TOOLS, KEYS)), 0)
    return [n for n, turn in enumerate(turns) if n > first and turn.role == "assistant"]


def each_response(turns: tuple[Message, ...], ends: list[int], field: str) -> tuple[list[Item], list[BadField]]:
    """An item for each of the assistant's turns; those that call a tool or think are left out, with the reason."""
    items, left_out = list[Item](), list[BadField]()
    for n in ends:
        upto = n + 2 if n + 1 < len(turns) and turns[n + 1].role == KEYS else n + 1
        if upto > n + 1:
            left_out.append(BadField(field, f"{' and '.join(json.loads(turns[n + 1].content))} {IN_RESPONSE}"))
        else:
            items.append(conversation(turns[:upto], field))
    return items, left_out


def two_conversations(row: Row, a: str, b: str) -> tuple[Item, Item] | None:
    """The items of two columns where the first is messages: each is whole in itself. None where it is a text."""
    if listed(row[a], a) is None:
        return None
    # Equal turns before the last make it conditional, different ones joint.
    first, second = (conversation(messages(row[field], field), field) for field in (a, b))
    return first, second


def _after_prompt(instruction: tuple[Message, ...], turns: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """Instruction and turns as one conversation. Some data sets repeat the prompt in `chosen` and `rejected`, perhaps
    below a system turn, or the last turns of it, or have it further on: adding it again would ask twice."""
    if turns[: len(instruction)] == instruction and len(turns) > len(instruction):
        return turns
    if turns[0].role == "assistant":
        return instruction + turns
    may_stand_below = turns[0].role == "system" and all(turn.role != "system" for turn in instruction)
    for start in range(len(instruction)):
        rest = instruction[start:]
        below_system = may_stand_below and all(turn.role == TOOLS for turn in instruction[:start])
        for above in (0, 1) if below_system else (0,):
            if rest[0].role != KEYS and turns[above : above + len(rest)] == rest:
                return instruction[:start] + turns
    if any(turns[at : at + len(instruction)] == instruction for at in range(1, len(turns) - len(instruction))):
        return turns  # the whole conversation, beside a column with its last question alone (Tulu 3)
    raise BadField(field, "does not start with the prompt")
