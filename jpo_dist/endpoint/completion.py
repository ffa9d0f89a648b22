"""What a server said to one request: the text of its message, how many tokens it took, and why it ended.

Servers and the libraries in front of them fill the same fields in their own ways. A reply in any of them is read; what
is no reply at all gives None, and the request is sent again.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

# For a reply whose server does not count: bytes per token, a little below what English text has.
_BYTES_PER_TOKEN = 3
REFUSAL, TOOL_CALLS, CONTENT_FILTER = "refusal", "tool_calls", "content_filter"
_ENDED = ("", "stop")
MOST_TOKENS = 10**12
"""Beyond it a count is none: a budget could not add it up."""


class Completion(NamedTuple):
    """What one request brought; `estimated`: the server did not count its tokens. Those of its output are all that are
    billed, hidden reasoning included."""

    text: str
    input_tokens: int
    output_tokens: int
    estimated: bool
    finish_reason: str = ""
    """Why the server ended it: `stop`, `length`, …; empty where it does not say. `refusal` where the text stands in the
    field of that name, `tool_calls` where calls stand in place of a text."""
    sent_without: str = ""
    """Fields that the server refused, so that the request went without them: names, joined by commas."""

    def as_reply(self) -> dict[str, Any]:
        """The fields of a Reply that come from it."""
        values = self._asdict()
        return {"reply": values.pop("text"), **values}


def completion_of(response: Any, body: Mapping[str, Any]) -> Completion | None:
    """The completion in a response to `body`; None where it is none, since the client lets almost any JSON through.

    Of several choices the first one counts, by its `index`. Reasoning in a field of its own is not part of the text.
    """
    choice = _first_choice(getattr(response, "choices", None))
    message = getattr(choice, "message", None)
    if message is None:
        return None
    text, refused = _text(getattr(message, "content", None)), getattr(message, "refusal", None)
    if text is None:
        return None
    said = getattr(choice, "finish_reason", None)
    reason = said if isinstance(said, str) else ""
    if isinstance(refused, str) and refused.strip():
        text, reason = text.strip() or refused, REFUSAL if reason in _ENDED else reason
    elif not text.strip() and reason in _ENDED and _calls(message):
        reason = TOOL_CALLS
    usage = getattr(response, "usage", None)
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    asked, answered, total = (_count(getattr(usage, name, None)) for name in names)
    guess = estimated(body, text, reason)
    if asked is None or answered is None:
        return guess
    if total is not None:  # some count reasoning that is not shown, and bill it, there alone
        answered = max(answered, total - asked)
    # A prompt takes tokens, and so does a text: where none are counted, nobody counts.
    is_guess = not asked or (not answered and bool(text))
    return Completion(text, asked or guess.input_tokens, answered or guess.output_tokens, is_guess, reason)


def estimated(body: Mapping[str, Any], text: str, reason: str) -> Completion:
    """A completion whose server does not say how many tokens it took."""
    asked = len(json.dumps(body["messages"], ensure_ascii=False).encode("utf-8", "surrogatepass"))
    said = len(text.encode("utf-8", "surrogatepass"))
    return Completion(text, -(-asked // _BYTES_PER_TOKEN), -(-said // _BYTES_PER_TOKEN), True, reason)


def _first_choice(choices: Any) -> Any:
    if not isinstance(choices, list) or not choices:
        return None
    return next((one for one in choices if getattr(one, "index", None) == 0), choices[0])


def _text(content: Any) -> str | None:
    """The text of a message: a string, nothing at all, or the text parts of a list; None for anything else."""
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(map(_part, content))
    return content if isinstance(content, str) else None


def _part(part: Any) -> str:
    """The text of a part; empty for other kinds of parts, such as reasoning."""
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) and part.get("type", "text") in ("text", "output_text") else None
    return text if isinstance(text, str) else ""


def _calls(message: Any) -> bool:
    return bool(getattr(message, "tool_calls", None) or getattr(message, "function_call", None))


def _count(value: Any) -> int | None:
    return value if is_count(value) else None


def is_count(value: Any) -> bool:
    """Whether a server's or a file's number of tokens can be one."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
