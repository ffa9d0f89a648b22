"""What a column may be by its name and its text: words of a person, an instruction, or something about the row."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from jpo_dist.data.messages.instruction import NAMES

SHOWN = 40
"""Characters of a text that people are shown."""
_NOTHING = re.compile(
    r"""(.*_)? (ids?|idx|index|uuid|uid|hash|sha|md5|key|row|number|turn|models?|model_name|generator|engine|source|
    sources|origin|dataset|data_source|subset|split|url|link|license|version|domain|category|categories|subject|topic|
    topics|task|task_type|type|kind|tags?|lang|language|languages|locale|country|date|time|timestamp|tstamp|created|
    created_at|updated|updated_at|creation_time|author|username|annotators?|worker|judge|status|seed|temperature|
    difficulty|level|scores?|ratings?|ranks?|rewards?|margins?|logps?|votes?|ups|likes|ratio|length|len|tokens|count|
    order|winner|preference|quality) (_.*)?""",
    re.VERBOSE,
)
_OF_PANDAS = re.compile(r"\s*|Unnamed: \d+")
"""The number of a row, without a name in its file, and as pandas calls it then."""
_FEW_WORDS = 5
_ENDS = tuple(".?!:。？！：")
_WIDE = 0x2E80
"""From here on letters stand for more than a sound, and are not written in words."""


def example_of(value: Any) -> str:
    """The first text in a value, of several the longest beginning, in quotes; "" where there is no text."""
    found = max((leaf for leaf in _texts(value)), key=lambda leaf: len(leaf.split()), default="")
    return json.dumps(found[:SHOWN] + ("…" if len(found) > SHOWN else ""), ensure_ascii=False) if found else ""


def carries_nothing(name: str, example: str, known: Collection[str]) -> bool:
    """Whether a column is known by its name to be about the row, as ids and scores are, and its text may be so: a few
    words, and no sentence. `known`: more such names."""
    is_known = name in known or _OF_PANDAS.fullmatch(name) or _NOTHING.fullmatch(re.sub(r"[-. ]", "_", name.lower()))
    return bool(is_known) and not _is_said(example)


def may_instruct(name: str, value: Any, known: Collection[str]) -> bool:
    """Whether a value may be an instruction: several words, under a name that is not known to carry none."""
    example = example_of(value)
    many = len(example.split()) > 1 or any(ord(letter) >= _WIDE for letter in example)
    return (many or name in NAMES) and bool(example) and not carries_nothing(name, example, known)


def _is_said(example: str) -> bool:
    """Whether an example is what a person says: a sentence, or more than a few words."""
    shown = example.strip('"')
    words = len(shown.split())
    wide = sum(ord(letter) >= _WIDE for letter in shown)
    is_cut, is_sentence = shown.endswith("…"), shown.endswith(_ENDS)
    return words + wide // 2 > _FEW_WORDS or (words > 1 and is_cut) or (words > 2 and is_sentence)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, Mapping | list):
        parts: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
        for part in parts:
            yield from _texts(part)
