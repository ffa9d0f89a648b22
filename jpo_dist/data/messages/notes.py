"""What to say of texts that are read as they stand, though they look like more: transcripts, marks of a template."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from jpo_dist.data.messages import transcripts
from jpo_dist.data.messages.columns import SHOWN
from jpo_dist.data.messages.instruction import ARGUMENTS, SIDES, is_blank
from jpo_dist.data.messages.turns import messages
from jpo_dist.data.messages.written import parsed
from jpo_dist.data.row_values import BadField, Row

_MARKS = re.compile(
    r"<\|[A-Za-z_]{2,40}\|>|<｜[A-Za-z_▁]{2,40}｜>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?s>(?=\s|\[|$)|"
    r"^\s*### ?(?:Instruction|Input|Human|User|Response|Assistant):?\s*$|\bUSER: (?=[\s\S]*?\sASSISTANT:)",
    re.MULTILINE,
)
"""What chat templates write around turns."""
_ENOUGH = 3
"""Rows in which a text that is read as it stands would be found."""
_AS_PYTHON = re.compile(
    r"""\s*(?:\[\s*['"][\s\S]*['"]\s*\]|\[\s*\{\s*['"]type['"]\s*:\s*['"]text['"][\s\S]*\}\s*\]|"""
    r"""\{\s*'[^']*'\s*:[\s\S]*\}|array\([\s\S]*\))\s*"""
)
"""A list of texts or of parts, or an object as Python writes it: one of JSON is what some models are asked for."""
_NULLS = frozenset({"None", "none", "NaN", "nan", "null", "NULL", "<NA>", "N/A", "n/a", "<noinput>", "<Noinput>",
                    "noinput", "Noinput", "<no input>", "No input", "no input", "undefined"})  # fmt: skip
_SPEAKER = re.compile(r"\s*(human|user|prompter|assistant|chatbot|bot|gpt|ai|system)\s*:", re.IGNORECASE)


def notes_on(
    asks: Iterable[str], columns: Iterable[str], rows: Sequence[Row], read: Callable[[Row], Sequence[str]]
) -> list[str]:
    """What people may want to know of the texts of a table. `asks`: columns that are read as one user turn, `columns`:
    all that are read as text, `read`: the texts that a row is read to. Nothing is said of what few rows have."""
    names = list(dict.fromkeys(columns))
    turns = [name for name in asks if _are(rows, name, transcripts.is_transcript, rows_of_all=True)]
    found = [
        f"{name} is a transcript (Human: …, Assistant:), and is read as one user turn as it stands: write it as "
        "messages where a chat template shall see its turns"
        for name in turns
    ]
    named = [name for name in names if name not in turns]
    marked = [name for name in named if _are(rows, name, _MARKS.search)]
    if marked:
        mark = next(at[0] for row in rows if (at := _MARKS.search(str(row.get(marked[0])))))
        found.append(
            f"{_and(marked)}: with marks of a chat template ({mark.strip()}), which are read as text: take them out, "
            "since a run writes those of its own template"
        )
    # Where there is no prompt, two transcripts are read turn by turn.
    asked = [row for row in rows if not is_blank(row.get("prompt")) or not _are_transcripts(row)]
    spoken = [name for name in named if name not in marked and _are(asked, name, _SPEAKER.match)]
    if spoken:
        found.append(f"{_and(spoken)}: beginning with the name of a speaker, which is read as text")
    listed = [name for name in named if _are(rows, name, _AS_PYTHON.fullmatch) and _stands(rows, name, read)]
    if listed:
        found.append(f"{_and(listed)}: written as lists or objects of Python or JSON, and read as text as they stand")
    if {"prompt", *SIDES} <= set(names) and rows and all(map(_repeats, rows)):
        found.append("chosen and rejected begin with prompt, so that it is said twice: take it out of them")
    return found


def spelled_nulls(columns: Iterable[str], rows: Sequence[Row]) -> list[str]:
    """What to say of texts that spell that there is none, as pandas writes its own into text."""
    found = []
    for name in dict.fromkeys(columns):
        texts = [value for row in rows if isinstance(value := row.get(name), str) and value.strip() in _NULLS]
        if texts:
            found.append(
                f"{name} is {texts[0].strip()!r} in {len(texts)} rows, which is read as text: null, or nothing, is "
                "what says that there is none"
            )
    return found


def unfinished(asks: Iterable[str], rows: Sequence[Row]) -> list[str]:
    """What to say of instructions that end with the assistant's words: a response is another turn after them."""
    found = []
    for name in asks:
        count = sum(_ends_with_assistant(row.get(name)) for row in rows)
        if count:
            found.append(
                f"{name} ends with words of the assistant in {count} rows, and what follows is read as another turn of "
                "its own: where it goes on from them, take that turn out and write its text at the beginning of each "
                "response"
            )
    return found


def _ends_with_assistant(value: Any) -> bool:
    if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
        return False
    try:
        found = messages(value, "")
    except BadField:
        return False
    return found[-1].role == "assistant"


def cut_of(rows: Sequence[Row]) -> str:
    """Where the common beginning ends in the first row that has one, for people."""
    for row in rows:
        if isinstance(row.get("chosen"), str) and isinstance(row.get("rejected"), str):
            try:
                winner, loser = transcripts.two_texts(row["chosen"], row["rejected"])
            except BadField:
                continue
            before = winner.instruction[0].content
            ends = (side.response[:SHOWN] for side in (winner, loser))
            shown = [json.dumps(part, ensure_ascii=False) for part in (before[-SHOWN:], *ends)]
            return f"the instruction is what both texts begin with: {shown[0]}, then {shown[1]} or {shown[2]}"
    return ""


def template_notes(rows: Sequence[Row]) -> list[str]:
    """What rows say of their chat template, which is one for a whole run."""
    values: dict[str, list[str]] = {}
    for row in rows:
        given = row.get(ARGUMENTS)
        given = parsed(given) if isinstance(given, str) else given
        for key, value in given.items() if isinstance(given, dict) else ():
            said = str(value).lower() if isinstance(value, bool) else str(value)[:20]
            if not is_blank(value) and key != "custom_instructions" and said not in values.setdefault(key, []):
                values[key].append(said)
    return [
        f"{ARGUMENTS}: {key} ({' or '.join(said[:2])}) is not followed row by row: set data.template_args for all"
        for key, said in values.items()
    ]


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def _are(rows: Sequence[Row], name: str, test: Any, rows_of_all: bool = False) -> bool:
    """Whether most rows have text in a column that passes a test, or all of them."""
    passed = sum(isinstance(row.get(name), str) and bool(test(row[name])) for row in rows)
    return bool(rows) and (passed == len(rows) if rows_of_all else 2 * passed > len(rows))


def _stands(rows: Sequence[Row], name: str, read: Callable[[Row], Sequence[str]]) -> bool:
    """Whether the text of a column is read as it stands: layouts of several responses read JSON lists as lists."""
    texts = ((row[name].strip(), read(row)) for row in rows if isinstance(row.get(name), str))
    return any(any(value in one for one in said) for value, said in islice(texts, _ENOUGH))


def _are_transcripts(row: Row) -> bool:
    return all(isinstance(row.get(side), str) and transcripts.is_transcript(row[side]) for side in SIDES)


def _repeats(row: Row) -> bool:
    asked = row.get("prompt")
    if not isinstance(asked, str) or not asked.strip():
        return False
    return all(isinstance(row[side], str) and row[side].strip().startswith(asked.strip()) for side in SIDES)
