"""What a message or a row says of tools, and what an assistant thought: as chat templates take it.

Keys that are null are not there: Parquet gives every object of a column the keys of all of them.
"""

from collections.abc import Callable
from typing import Any

from jpo_dist.data.messages.written import parsed
from jpo_dist.data.row_values import NUL, BadField, text
from jpo_dist.records.chat import CALLS, KEYS, REASONING, TOOLS, keys_turn, tools_turn
from jpo_dist.records.comparisons import Message

TOOL_LISTS = ("tools", "functions")
"""Names of a column, or of a key of the first message, with a list of tools."""
CALL_KEYS = ("tool_calls", "function_call", "function_calls")
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "thought")
RESULT_KEYS = ("name", "tool_call_id")
"""Of a tool's result: which tool, and which call."""
MEDIA_KEYS = ("images", "image", "audio", "audios", "video", "videos", "files", "file", "attachments",
              "experimental_attachments")  # fmt: skip
"""Keys of a message that carry what no text can say."""
OTHER_REASONING = ("reasoning_details", "thinking_blocks")
"""Reasoning as lists of parts; beside a text of the same it is said twice."""
_NOTHING = ("null", "None")
"""How JSON and Python write that there is nothing."""
_MORE_KEYS = frozenset((*CALL_KEYS, *REASONING_KEYS, *OTHER_REASONING, *RESULT_KEYS, *MEDIA_KEYS))


def tools_of(value: Any, field: str) -> tuple[Message, ...]:
    """The turn for a list of tools, or for its JSON; none where there is none. Raises BadField."""
    found = _value(value, field, "not a list of tools")
    if found is None:
        return ()
    listed = found if isinstance(found, list) else [found]
    tools = []
    for n, tool in enumerate(listed):
        tool = _value(tool, f"{field}[{n}]", "not a tool")
        if not isinstance(tool, dict):
            raise BadField(f"{field}[{n}]", "not a tool")
        bare = "name" in tool and "function" not in tool and "type" not in tool
        tools.append({"type": "function", "function": tool} if bare else tool)
    return (_turn(tools_turn, tools, field),) if tools else ()


def keys_of(turn: dict[str, Any], role: str, field: str) -> tuple[Message, ...]:
    """The turn for the further keys of a message: calls, reasoning, and whose result it is. Raises BadField."""
    if _MORE_KEYS.isdisjoint(turn):
        return ()
    for key in MEDIA_KEYS:
        if _there(turn.get(key)):
            raise BadField(f"{field}.{key}", "not text: there is no way to read it; take the row out")
    keys: dict[str, Any] = {}
    calls = [call for key in CALL_KEYS if _there(turn.get(key)) for call in calls_of(turn[key], f"{field}.{key}")]
    if calls:
        keys[CALLS] = calls
    keys |= _reasoning(turn, field)
    if role == "tool":
        keys |= {key: turn[key] for key in RESULT_KEYS if isinstance(turn.get(key), str) and turn[key]}
    return (_turn(keys_turn, keys, field),) if keys else ()


def _reasoning(turn: dict[str, Any], field: str) -> dict[str, str]:
    """The reasoning of a message under its one name. Raises BadField."""
    thought = {turn[key]: key for key in REASONING_KEYS if isinstance(turn.get(key), str) and turn[key].strip()}
    for key in REASONING_KEYS:
        if _there(turn.get(key)) and not isinstance(turn[key], str):
            raise BadField(f"{field}.{key}", "not a string")
    for key in OTHER_REASONING if not thought else ():
        if _there(turn.get(key)):
            raise BadField(f"{field}.{key}", f"reasoning in parts: write it as one text, under {REASONING}")
    if len(thought) > 1:
        raise BadField(f"{field}.{' and '.join(thought.values())}", "differ; leave one of them out")
    said, key = next(iter(thought.items()), (None, ""))
    return {} if said is None else {REASONING: text(said, f"{field}.{key}")}


def calls_of(value: Any, field: str) -> list[dict[str, Any]]:
    """Tool calls as OpenAI has them, with arguments as an object. Raises BadField."""
    found = _value(value, field, "not a list of tool calls")
    listed = found if isinstance(found, list) else [found]
    return [_call(call, f"{field}[{n}]") for n, call in enumerate(listed)]


def _call(call: Any, field: str) -> dict[str, Any]:
    call = _value(call, field, "not a tool call")
    if not isinstance(call, dict):
        raise BadField(field, "not a tool call")
    if not isinstance(call.get("function"), dict):
        call = {"type": "function", "function": call}
    function = call["function"]
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise BadField(f"{field}.function.name", "missing field")
    given = function.get("arguments")
    if isinstance(given, str):  # chat templates write an object as JSON, and would write JSON as a string in quotes
        whole = parsed(given)
        function = {**function, "arguments": whole if isinstance(whole, dict) else given}
    return {**call, "function": function}


def stored(role: str, content: str, field: str) -> Message:
    """A turn `tools` or `keys`, as a file holds it that we have written. Raises BadField."""
    kind = {TOOLS: list, KEYS: dict}[role]
    if not isinstance(parsed(content), kind):
        raise BadField(f"{field}.content", f"role {role}, but not the JSON of a {kind.__name__}")
    return Message(role, content)


def _there(value: Any) -> bool:
    return value is not None and value not in ("", [], {})


def _value(value: Any, field: str, reason: str) -> Any:
    """What JSON text says, else the value itself, without nulls; None where there is nothing."""
    if isinstance(value, str) and value.strip() in _NOTHING:
        return None
    if isinstance(value, str) and value.strip():
        value = parsed(value)
        if not isinstance(value, list | dict):
            raise BadField(field, reason)
    if not _there(value) or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, list | dict):
        raise BadField(field, reason)
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _turn(make: Callable[[Any], Message], value: Any, field: str) -> Message:
    try:
        made = make(value)
    except (TypeError, ValueError, RecursionError):
        raise BadField(field, "not json") from None
    if "\\u0000" in made.content:  # JSON spells it, so that `text` would not see it
        raise BadField(field, NUL)
    text(made.content, field)
    return made
