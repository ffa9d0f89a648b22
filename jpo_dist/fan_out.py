"""Fan-out: how work that was cut into payloads of plain data is spread; by default it all stays in this process."""

from collections.abc import Callable
from typing import Any

Spread = Callable[[Callable[[dict[str, Any]], dict[str, Any]], list[dict[str, Any]]], list[dict[str, Any]]]
"""Calls a top-level function on every payload, anywhere that sees the output folder; results in order."""


def here(entry: Callable[[dict[str, Any]], dict[str, Any]], payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Call `entry` on one payload after the other, in this process."""
    return [entry(payload) for payload in payloads]
