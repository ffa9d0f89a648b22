"""docs/metrics.md as patterns: which names of metrics it says something of."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
_NAME = re.compile(r"`([\w./: ]+)`")
_WORDS = {
    "PROTOCOL": "(?:conditional|joint)", "PART": "(?:all|conditional|joint)", "SPLIT": "(?:train|validation|test)",
    "RANK": r"\d+", "NUMBER": r"\d+", "TEMPERATURE": r"\d+(?:\.\d+)?", "ADDRESS": r"[\w.:-]+", "NAME": r"[^/]+",
    "VALUE": ".+", "ENDING": r"\w+", "ARM": "[^/:]+", "PAIR": "[^/:]+ - [^/:]+",
    "PRIMARY": "(?:pass rate|finished rate|pass rate of finished|mean score|mean tokens|win rate)",
}  # fmt: skip
"""What stands for a word in capitals; BATCH, FIGURE and HOST_METRIC stand for other names of the page."""


@cache
def documented() -> list[str]:
    """The names of the page as they stand there: the first column of its tables."""
    rows = [line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [name for row in rows for name in _NAME.findall(row)]


def undocumented(names: Iterable[str]) -> list[str]:
    """Those of `names`, as MLflow has them, of which the page says nothing."""
    return sorted(name for name in set(names) if not any(pattern.fullmatch(name) for pattern in _patterns()))


@cache
def _patterns() -> list[re.Pattern[str]]:
    plain = [name for name in documented() if not re.search("BATCH|FIGURE|HOST_METRIC", name)]
    of_a_step = documented()[: documented().index("eval/BATCH")]

    def one_of(names: list[str], prefix: str = "") -> str:
        return "(?:" + "|".join(_filled(name.removeprefix(prefix)) for name in names if name.startswith(prefix)) + ")"

    others = {"BATCH": one_of(of_a_step), "FIGURE": one_of(plain, "winrate/"), "HOST_METRIC": one_of(plain, "system/")}
    return [re.compile(_filled(name, others)) for name in documented()]


def _filled(name: str, others: dict[str, str] | None = None) -> str:
    words = {**_WORDS, **(others or {})}
    parts = re.split("(" + "|".join(sorted(words, key=len, reverse=True)) + ")", name)
    return "".join(words.get(part, re.escape(part)) for part in parts)
