"""Keys that stand twice in one object of JSON: a parser keeps the last one without a word."""

import json
from contextlib import suppress
from typing import Any


def double_keys(text: str | bytes, value: Any) -> list[str]:
    """The keys that stand twice in an object of `text`, or in one within it; `value` is what a parser made of it.

    Only where colons behind quotes are not as many as keys it is parsed again: that takes longer than the first time.
    """
    said: Any = text
    ends = ('":', '" :') if isinstance(text, str) else (b'":', b'" :')
    escapes = ('\\":', '\\" :') if isinstance(text, str) else (b'\\":', b'\\" :')
    if sum(map(said.count, ends)) - sum(map(said.count, escapes)) == _keys_in(value):
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
    if isinstance(value, dict):
        return len(value) + sum(_keys_in(one) for one in value.values() if isinstance(one, dict | list))
    return sum(_keys_in(one) for one in value if isinstance(one, dict | list)) if isinstance(value, list) else 0
