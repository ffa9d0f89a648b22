"""What a column may be by its name and its text: a verdict, a score of one side, a transcript."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jpo_dist.data.messages import transcripts
from jpo_dist.data.row_values import Row

SHOWN = 40
"""Characters of a text that people are shown."""
_JUDGES = re.compile(
    r"(.*[_-])?(labels?|ratings?|ranks?|rankings?|rewards?|scores?|preferences?|votes?|grades?|points|quality|feedback|"
    r"wins?|winners?|better|best|choices?|chosen|preferred|likes|ups|correct|judge?ments?)([_-].*)?"
)
"""Columns that may say which of several responses is better."""
_SAFE = re.compile(r"(.*[_-])?(un)?(safe|safety|harm|harmful|harmless|toxic|toxicity|helpful|helpfulness)([_-].*)?")
"""Columns that judge a response by themselves, whatever else the row says."""
_RATES_A_SIDE = re.compile(r"(.*[_-])?(scores?|ratings?|rewards?|grades?|points)([_-].*)?")


def is_verdict(name: str) -> bool:
    """Whether a column may say by its name which of two or more responses is better."""
    return _JUDGES.fullmatch(name.lower()) is not None


def opposed(names: Sequence[str]) -> list[tuple[str, str]]:
    """Columns that rate `chosen`, each with the one that rates `rejected`."""
    found = ((name, name.replace("chosen", "rejected")) for name in names if _RATES_A_SIDE.fullmatch(name.lower()))
    return [pair for pair in found if pair[0] != pair[1] and pair[1] in names]


def below(row: Row, names: tuple[str, str]) -> bool:
    """Whether the first of two columns has a lower number than the second; text is a number where it spells one."""
    chosen, rejected = (_number(row.get(name)) for name in names)
    return chosen < rejected  # NaN is not


def _number(value: Any) -> float:
    try:
        return math.nan if isinstance(value, bool) or value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def judges_itself(name: str) -> bool:
    """Whether a column judges a response by itself, whatever else the row says: is_safe, harmful."""
    return _SAFE.fullmatch(name.lower()) is not None


def note_on_transcripts(names: Iterable[str], rows: Sequence[Row]) -> str:
    """What to say of columns that are transcripts in all rows and are read as one turn; "" where there is none."""
    for name in names:
        if rows and all(_is_transcript(row.get(name)) for row in rows):
            return (
                f"{name} is a transcript (Human: …, Assistant:), and is read as one user turn as it stands: write it "
                "as messages where a chat template shall see its turns"
            )
    return ""


def _is_transcript(value: Any) -> bool:
    return isinstance(value, str) and transcripts.is_transcript(value)


def example_of(value: Any) -> str:
    """The first text in a value, of several the longest beginning, in quotes; "" where there is no text."""
    found = max((leaf for leaf in _texts(value)), key=lambda leaf: len(leaf.split()), default="")
    return json.dumps(found[:SHOWN] + ("…" if len(found) > SHOWN else ""), ensure_ascii=False) if found else ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, Mapping | list):
        parts: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
        for part in parts:
            yield from _texts(part)
