"""Fields of a request that a server does not take: which one its error names, and the request without it.

Models refuse settings that others have: reasoning models take no `temperature`, newer ones call `max_tokens` otherwise,
strict servers know no `seed`. Such a request is sent again without the field, or with its other name.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

LEFT_OUT = ("response_format", "seed", "top_p", "temperature")
"""Fields that a request can do without; where an error names several, the first of them goes first."""
RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# Keys of an error that speak of the request; others, such as `input`, quote it, and a prompt may hold any word.
_TELLING = frozenset({"error", "errors", "detail", "details", "message", "msg", "param", "loc", "reason", "title"})
_TOO_LONG = re.compile(r"context.{0,20}(length|window)|too (large|long|many)|maximum context|exceeds?\b", re.IGNORECASE)


def refused_field(sent: Mapping[str, Any], error: Any) -> str | None:
    """The field of the request `sent` that the body of an error names; None where it names none that can be spared.

    An error about too many tokens names `max_tokens` too, and is none about the name of that field.
    """
    said = " ".join(_texts(error))
    if _TOO_LONG.search(said):
        return None
    known = [name for name in (*LEFT_OUT, *RENAMED) if name in sent or name in (sent.get("extra_body") or {})]
    if isinstance(error, dict) and error.get("param") in known:
        return str(error["param"])
    return next((name for name in known if re.search(rf"(?<!\w){name}(?!\w)", said)), None)


def without(body: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The request without the fields of these names; one of RENAMED gets its other name.

    >>> without({"seed": 1, "max_tokens": 9}, ["seed", "max_tokens"])
    {'max_completion_tokens': 9}
    """
    left, names = dict(body), list(names)
    if isinstance(extra := left.get("extra_body"), dict):
        left["extra_body"] = {name: value for name, value in extra.items() if name not in names}
    for name in names:
        value = left.pop(name, None)
        if name in RENAMED and value is not None:
            left[RENAMED[name]] = value
    return left


def _texts(error: Any, depth: int = 0) -> Iterable[str]:
    """Strings of an error, each cut: those under telling keys."""
    if isinstance(error, str):
        yield error[:1000]
    elif isinstance(error, dict) and depth < 6:
        for key, value in error.items():
            if key in (*LEFT_OUT, *RENAMED):  # {"seed": ["unknown field"]}
                yield key
            elif key in _TELLING:
                yield from _texts(value, depth + 1)
    elif isinstance(error, list | tuple) and depth < 6:
        for value in error[:20]:
            yield from _texts(value, depth + 1)
