"""Work cut into payloads of plain data: how it is spread, by default in this process."""

from collections.abc import Callable
from typing import Any

Spread = Callable[[Callable[[dict[str, Any]], dict[str, Any]], list[dict[str, Any]]], list[dict[str, Any]]]
"""Calls a top-level function on every payload, anywhere that sees the output folder; results in order."""


def here(entry: Callable[[dict[str, Any]], dict[str, Any]], payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One after the other, in this process."""
    return [entry(payload) for payload in payloads]
