"""Fields of a request that a server does not take: which one its error names, and the request without it.

Models refuse settings that others have: reasoning models take no `temperature`, newer ones call `max_tokens` otherwise,
strict servers know no `seed`. Such a request is sent again without the field, or with its other name. A value that a
server does not take (a temperature beyond its range) is another thing: no answer drawn otherwise stands in for it.
"""

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

LEFT_OUT = ("response_format", "seed", "top_p", "temperature")
"""Fields that a request can do without; where an error names several, the first of them goes first."""
RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
BY_VALUE = ("temperature", "top_p")
"""Fields of which another value may be taken: what is learned from a refusal holds for that value alone."""
# Keys of an error that speak of the request; others, such as `input`, quote it, and a prompt may hold any word.
_TELLING = frozenset({"error", "errors", "detail", "details", "message", "msg", "param", "loc", "reason", "title"})
_OF_THE_VALUE = re.compile(
    r"""(?<![a-z]) (?: ranges? | bounds? | between | minimum | maximum | at[ ](?:most|least) | no[ ]more[ ]than
        | (?:less|greater|smaller|larger|higher|lower)[ ](?:than|or[ ]equal) | positive | negative
        | invalid[ ](?:value|type) | (?:valid|supported|allowed|accepted|permitted)[ ]values
        | too[ ](?:high|low|big|small) ) (?![a-z])
        | \b(?:must|should|has[ ]to|needs[ ]to)[ ]be[ ](?!(?:used|sent|passed|omitted|unset|removed|dropped|replaced
          |renamed|left|null|none|not|absent|empty|undefined|disabled|(?:the[ ])?default)\b)
        | [<>]=|[<>][ ]-?\d|[≤≥] | 范围""",
    re.IGNORECASE | re.VERBOSE,
)
# "Only the default (1) value is supported", "only 1 is allowed", "must be 1 for this model": the field cannot be set.
# "must be strictly positive" (TGI, of temperature 0): without the field it takes the most likely token, as 0 says.
_ONE_VALUE = re.compile(
    r"strictly positive|only (?:the default|(?:\w+ ?= ?)?[\d.]*\d (?:is|are)\b)"
    r"|(?:must|should) be (?:set to |equal to |exactly )?\d+(?:\.\d+)?(?:\W*$| (?:for|when|with|if|on|in)\b|\.\s)",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(r"context.{0,20}(length|window)|too (large|long|many)|maximum context|exceeds?\b", re.IGNORECASE)


def refused_field(sent: Mapping[str, Any], error: Any) -> str | None:
    """The field of the request `sent` that the body of an error names; None where it names none that can be spared.

    An error about too many tokens names `max_tokens` too, and is none about the name of that field; nor is one about
    the value that a field has.
    """
    said = ". ".join(_texts(error))
    known = [name for name in (*LEFT_OUT, *RENAMED) if _has(sent, name)]
    named = next((name for name in known if re.search(rf"(?<!\w){name}(?!\w)", said)), None)
    if isinstance(error, dict) and error.get("param") in known:
        named = str(error["param"])
    is_of_value = named != "response_format" and _OF_THE_VALUE.search(said) and not _ONE_VALUE.search(said)
    return None if _TOO_LONG.search(said) or is_of_value else named


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


def learned(body: Mapping[str, Any], name: str) -> str:
    """What a refusal of the field of this request says of others: the field's name, with the value for BY_VALUE.

    >>> learned({"temperature": 1.2, "seed": 7}, "temperature"), learned({"seed": 7}, "seed")
    ('temperature=1.2', 'seed')
    """
    value = (body.get("extra_body") or {}).get(name, body.get(name))
    return f"{name}={value}" if name in BY_VALUE else name


def known_to_be_refused(body: Mapping[str, Any], before: Container[str]) -> tuple[str, ...]:
    """Fields of the request that are to be left out (or renamed), by what was `learned` before."""
    return tuple(name for name in (*LEFT_OUT, *RENAMED) if _has(body, name) and learned(body, name) in before)


def _has(body: Mapping[str, Any], name: str) -> bool:
    return name in body or name in (body.get("extra_body") or {})


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
