"""Keys that stand twice in one object of JSON: a parser keeps the last one without a word."""

import json
from contextlib import suppress
from typing import Any

_TEXT = ('":', '" :'), ('\\":', '\\" :')
"""Ends of keys, without and with a space; how they stand within a text."""
_BYTES = (b'":', b'" :'), (b'\\":', b'\\" :')


def double_keys(text: str | bytes, value: Any) -> list[str]:
    """The keys that stand twice in an object of `text`, or in one within it; `value` is what a parser made of it.

    Only where colons behind quotes are not as many as keys it is parsed again: that takes longer than the first time.
    """
    said: Any = text
    (end, spaced), escapes = _BYTES if isinstance(text, bytes) else _TEXT
    keys, ends = _keys_in(value), said.count(end)
    if ends == keys and spaced not in said:  # what is within a text can only make them more
        return []
    if ends + said.count(spaced) - sum(map(said.count, escapes)) == keys:
        return []
    double: set[str] = set()

    def seen(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) < len(pairs):
            double.update(key for n, (key, _) in enumerate(pairs) if key in {other for other, _ in pairs[:n]})

    with suppress(ValueError, RecursionError):
        json.loads(text, object_pairs_hook=seen)
    return sorted(double)


def _keys_in(value: Any) -> int:
    """Keys of an object and of all that is in it."""
    if not isinstance(value, dict | list):
        return 0
    keys, within = (len(value), value.values()) if isinstance(value, dict) else (0, value)
    for one in within:
        if isinstance(one, dict | list):
            keys += _keys_in(one)
    return keys
