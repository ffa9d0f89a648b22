"""Figures of a study as people read them: rates in percent, everything else as it is."""

from collections.abc import Sequence
from typing import Any

from jpo_dist.study.question import RATES
from launcher.show.sections import interval, percent

NAMES = {
    "pass": "pass", "finished": "P(finished)", "pass_of_finished": "P(obeys given finished)", "score": "score",
    "tokens": "tokens", "kl": "sampled KL", "win": "win rate",
}  # fmt: skip


def name(metric: str) -> str:
    """What a metric is called in tables."""
    return NAMES.get(metric, metric)


def signed(metric: str, value: float | None, sign: str = "+") -> str:
    """A difference: `+2.1 points` of a rate."""
    if value is None:
        return "-"
    return f"{100 * value:{sign}.1f} points" if metric in RATES else f"{value:{sign}.2f}"


def unbroken(text: str) -> str:
    """Text that stays on one line of a table."""
    return text.replace(" ", "\u00a0")


def plain(metric: str, found: float | None) -> str:
    """A value: `43.2 %` of a rate."""
    if metric in RATES:
        return percent(found)
    return "-" if found is None else f"{found:.2f}"


def ends(metric: str, found: Sequence[float] | None, sign: str = "") -> str:
    """The ends of an interval."""
    if metric in RATES:
        return interval(found, sign)
    return "-" if found is None else f"[{found[0]:{sign}.2f}, {found[1]:{sign}.2f}]"


def once(arms: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of arms, but one alone, without its point, of an arm that has the same figures at every point: what is
    varied does not reach it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for arm in arms:
        found.setdefault(arm["arm"], []).append(arm)
    same = {name for name, of in found.items() if len(of) > 1 and all(one["metrics"] == of[0]["metrics"] for one in of)}
    alone = [{**found[name][0], "point": ""} for name in found if name in same]
    return [*alone, *(arm for arm in arms if arm["arm"] not in same)]
