"""What an instruction has beside roles and texts: the tools a model may call, its calls, and its reasoning.

An instruction stays a tuple of messages of two texts, so ids, tables and caches are those they were. Two roles stand
for no speaker. `tools` comes first: its content is the list of tools as JSON. `keys` comes after the message that it
belongs to: its content is an object as JSON, with the message's further keys.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jpo_dist.records.comparisons import Message

TOOLS, KEYS = "tools", "keys"
CALLS, REASONING = "tool_calls", "reasoning_content"
"""Keys of a message that carry meaning: what the assistant calls, and what it thought."""

_THINKING = re.compile(r"\.thinking\b|\[['\"]thinking['\"]\]|['\"]thinking['\"] in ")
NAMES = {
    TOOLS: "list of tools (tools)",
    CALLS: "tool calls (tool_calls)",
    REASONING: "reasoning (reasoning_content)",
    "tool": "tool results (role tool)",
}


class Chat(NamedTuple):
    """An instruction as chat templates and servers take it."""

    turns: list[dict[str, Any]]
    tools: list[Any] | None = None


def tools_turn(tools: Sequence[Any]) -> Message:
    """The message that stands for a list of tools. Raises what json raises for values that JSON cannot hold."""
    return Message(TOOLS, json.dumps(tools, ensure_ascii=False))


def keys_turn(keys: Mapping[str, Any]) -> Message:
    """The message that stands for further keys of the message before it; raises what json raises."""
    return Message(KEYS, json.dumps(keys, ensure_ascii=False))


def has_more(instruction: Iterable[Message]) -> bool:
    """Whether there is more to an instruction than roles and texts."""
    return any(turn.role in (TOOLS, KEYS) for turn in instruction)


def as_chat(instruction: Iterable[Message], template: str = "") -> Chat:
    """Turns with all their keys, and the tools.

    `template`: the text of a chat template, which tells how it calls the reasoning of a turn.

    >>> as_chat((Message("assistant", ""), keys_turn({"tool_calls": [{"function": {"name": "clock"}}]}))).turns
    [{'role': 'assistant', 'content': '', 'tool_calls': [{'function': {'name': 'clock'}}]}]
    """
    turns: list[dict[str, Any]] = []
    tools = None
    renamed = {REASONING: "thinking"} if REASONING not in template and _THINKING.search(template) else {}
    for turn in instruction:
        if turn.role == TOOLS:
            tools = json.loads(turn.content)
        elif turn.role == KEYS and turns:
            turns[-1] |= {renamed.get(key, key): value for key, value in json.loads(turn.content).items()}
        else:
            turns.append(turn._asdict())
    return Chat(turns, tools)


def for_server(instruction: Iterable[Message]) -> Chat:
    """The chat in the form of OpenAI's protocol: arguments are JSON text, and each result names its call."""
    chat = as_chat(instruction)
    open_calls: list[str] = []
    for n, turn in enumerate(chat.turns):
        for at, call in enumerate(turn.get(CALLS, ())):
            call.setdefault("id", f"call_{n}_{at}")
            open_calls.append(call["id"])
            given = call["function"].get("arguments", {})
            call["function"]["arguments"] = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        if turn["role"] == "tool":
            answered = turn.setdefault("tool_call_id", open_calls[0] if open_calls else "call_0")
            open_calls = [call for call in open_calls if call != answered]
    return chat


def unwritten(instruction: Sequence[Message], write: Callable[[Sequence[Message]], str]) -> list[str]:
    """What of an instruction `write` leaves out, for people: parts without which it writes the same text.

    Names and numbers of tool results are not asked for: most templates go by their order.
    """
    if not has_more(instruction) and all(turn.role != "tool" for turn in instruction):
        return []
    whole = write(instruction)
    return [
        name
        for part, name in NAMES.items()
        if any(list(instruction) != other and _same(write, other, whole) for other in _variants(instruction, part))
    ]


def _variants(instruction: Sequence[Message], part: str) -> Iterator[list[Message]]:
    """The instruction without a part, and with other names and arguments in it: each has to be written otherwise."""
    yield _without(instruction, part)
    if part in (TOOLS, CALLS):
        yield [_changed(turn, part, lambda one: {**one, "name": f"{one.get('name')}_"}) for turn in instruction]
    if part == CALLS:
        yield [_changed(turn, part, lambda one: {**one, "arguments": {}}) for turn in instruction]


def _changed(turn: Message, part: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Message:
    """A turn with its tools or calls changed."""
    if turn.role != (TOOLS if part == TOOLS else KEYS):
        return turn
    said = json.loads(turn.content)
    listed = said if part == TOOLS else said.get(part, [])
    for n, one in enumerate(listed):
        if isinstance(one, dict):
            whole = isinstance(one.get("function"), dict)
            listed[n] = {**one, "function": change(one["function"])} if whole else change(one)
    return Message(turn.role, json.dumps(said, ensure_ascii=False))


def _without(instruction: Sequence[Message], part: str) -> list[Message]:
    rest: list[Message] = []
    speaker = ""
    for turn in instruction:
        keys = json.loads(turn.content) if turn.role == KEYS else {}
        speaker = turn.role if turn.role != KEYS else speaker
        if speaker == part:  # the tools, or a tool's result with its keys
            continue
        if part in keys:
            del keys[part]
            rest += [keys_turn(keys)] if keys else []
        else:
            rest.append(turn)
    return rest


def _same(write: Callable[[Sequence[Message]], str], rest: Sequence[Message], whole: str) -> bool:
    try:
        return write(rest) == whole
    except Exception:
        return False
