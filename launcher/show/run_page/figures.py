"""The figures of a study as metrics of its run, by names that a person reads: docs/metrics.md."""

import re
from collections.abc import Sequence
from typing import Any

WORDS = {
    "pass": "pass rate", "finished": "finished rate", "pass_of_finished": "pass rate of finished", "win": "win rate",
    "score": "mean score", "tokens": "mean tokens",
}  # fmt: skip
"""What the charts of a primary figure stand under."""


def of_study(report: dict[str, Any]) -> dict[str, float]:
    """The primary figure of each arm and each asked difference, with the ends of its 95 % interval where it has one.

    Their names have the point of the grid, if there are several: `pass rate/jpo at size 100: low`.
    """
    primary = report["primary"]
    made: dict[str, float] = {}
    for arm in report["arms"]:
        found = arm["metrics"].get(primary, {"value": None, "interval": None})
        made |= _with_ends(f"{WORDS[primary]}/{arm['arm']}{_at(arm['point'])}", found["value"], found["interval"])
    for one in report["comparisons"]:
        name = f"difference/{one['first']} - {one['second']}{_at(one['point'])}"
        made |= _with_ends(name, one["difference"], one["interval"])
    return made


def _with_ends(name: str, value: float | None, interval: Sequence[float] | None) -> dict[str, float]:
    if value is None:
        return {}
    ends = {} if interval is None else {f"{name}: low": float(interval[0]), f"{name}: high": float(interval[1])}
    return {name: float(value), **ends}


def _at(point: str) -> str:
    """A point of the grid with what the name of a metric may have: no `=`, no comma, and no `/`, which begins a new
    group of charts.

    >>> _at("size=100, share=0.5")
    ' at size 100 share 0.5'
    """
    return f" at {re.sub(r'[^A-Za-z0-9_. -]', '_', point.replace('=', ' ').replace(',', ''))}" if point else ""
