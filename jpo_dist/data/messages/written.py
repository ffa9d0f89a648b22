"""Messages that a file holds as text: JSON, or how Python and numpy write lists (pandas does so in CSV files).

Nothing is evaluated: `ast.literal_eval` knows literals only, and what it is given is bounded.
"""

import ast
import json
import re
from typing import Any

from jpo_dist.data.row_values import BadField

MOST_CHARACTERS, DEEPEST = 4_000_000, 60
"""Of a text that is read as Python."""
UNREADABLE = "the text of messages, but neither JSON nor Python: write a list of messages"

_KEYS = r"role|content|from|value|speaker|text|tool_calls|name|id"
_BEGINS = re.compile(rf"""\s*["']?\s*(?:array\(\s*)?\[?\s*\{{\s*\\?["'](?:{_KEYS})\\?["']\s*:""")
_FIRST = frozenset("[{\"'a \n\r\t")
_SAYS_WHO = re.compile(r"""\\?["'](?:role|from|speaker)\\?["']\s*:""")
_OF_NUMPY = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?P<next>\}\s*)(?=\{)|(?P<opens>\barray\()|(?P<ends>,\s*dtype=object\))""",
    re.DOTALL,
)
"""What numpy writes otherwise than Python, and strings, in which it stands for itself."""


def messages_in(value: str, field: str) -> list[Any] | None:
    """The messages that a text is the text of, None for any other text. Raises BadField where it cannot be parsed."""
    if value[:1] not in _FIRST or not _BEGINS.match(value) or not _SAYS_WHO.search(value):
        return None
    found = anything_in(value)
    if found is None:
        raise BadField(field, UNREADABLE)
    turns = found if isinstance(found, list) else [found]
    speak = all(isinstance(turn, dict) and not {"role", "from", "speaker"}.isdisjoint(turn) for turn in turns)
    return turns if turns and speak else None


def anything_in(value: Any) -> Any:
    """The value that a text is the text of, None where it is of nothing; what is no text, as it is."""
    if not isinstance(value, str):
        return value
    found = parsed(value)
    if isinstance(found, str):  # JSON within JSON
        found = parsed(found)
    if found is None and len(value) <= MOST_CHARACTERS:
        found = parsed(_OF_NUMPY.sub(_as_python, value))
    return found


def _as_python(found: re.Match[str]) -> str:
    """An array of objects as a list: pandas writes one so, without commas, into the cells of a CSV file."""
    if found["next"]:
        return f"{found['next']},"
    return "(" if found["opens"] else ")" if found["ends"] else found[0]


def parsed(value: str) -> Any:
    """The value that a text is the JSON or the Python of, None where it is neither."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    if len(value) > MOST_CHARACTERS or _depth(value) > DEEPEST:
        return None
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _depth(value: str) -> int:
    """At least how deep brackets are nested; signs in a row nest too, as Python parses them."""
    depth = deepest = 0
    for mark in re.finditer(r"[\[({\])}]|[-+~]{8}", value):
        if mark[0] in "])}":
            depth = max(depth - 1, 0)
        else:
            depth += 1
            deepest = max(deepest, depth)
    return deepest
