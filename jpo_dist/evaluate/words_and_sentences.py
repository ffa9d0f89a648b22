"""What counts as a word and as a sentence of a response. Python's standard library only."""

import re
import unicodedata

OPENERS = "\"'\u201c\u201d\u2018\u2019\u00ab([{*_#> \t\r\n"
"""What may stand before the first word of a sentence."""
_SINGLE_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'"})
_WORD_BREAKS = re.compile(r"[\s\u2013\u2014\u2026]+")
_STOP = re.compile(r"(?<=\S)([.!?\u2026]+)([\"'\u201d\u2019\u00bb)\]*_]*)(?:\s+|$)|[\u3002\uff01\uff1f]+")
_NEVER_LAST = {
    "mr",
    "mrs",
    "ms",
    "dr",
    "prof",
    "st",
    "mt",
    "sr",
    "jr",
    "vs",
    "e.g",
    "i.e",
    "approx",
    "fig",
    "vol",
    "cf",
}
"""Abbreviations that a sentence goes on after."""
_SOMETIMES_LAST = {"etc", "a.m", "p.m", "u.s", "u.k", "inc", "ltd", "co", "ph.d", "b.c", "a.d"}
"""Abbreviations that end a sentence when a capital follows."""


def plain(text: str) -> str:
    """One spelling for equal text: composed letters, straight apostrophes, no space around."""
    return unicodedata.normalize("NFC", text).translate(_SINGLE_QUOTES).strip()


def words(text: str) -> list[str]:
    """What a word counter counts: runs between white space or dashes that hold a letter or digit.

    >>> words("It's a well-known 3.5 - yes!")
    ["It's", 'a', 'well-known', '3.5', 'yes!']
    """
    return [run for run in _WORD_BREAKS.split(text) if any(map(str.isalnum, run))]


def sentences(text: str) -> list[str]:
    """Sentences of `text`. A line break always ends one; the full stop of an abbreviation or a list number does not.

    >>> sentences("Dr. Lee came at 3.5 p.m. on time. He left!")
    ['Dr. Lee came at 3.5 p.m. on time.', 'He left!']
    """
    found: list[str] = []
    for line in text.splitlines():
        start = 0
        for stop in _STOP.finditer(line):
            if _ends_sentence(line[start : stop.start()], stop, line[stop.end() :]):
                found.append(line[start : stop.end()].strip())
                start = stop.end()
        found.append(line[start:].strip())
    return [sentence for sentence in found if words(sentence)]


def _ends_sentence(before: str, stop: re.Match[str], after: str) -> bool:
    mark, closers = stop.group(1, 2)
    if not after or mark is None:
        return True
    goes_on = after[0].islower()
    if mark != ".":
        return not (goes_on and (closers or mark[-1] not in "!?"))  # "Really?" he asked. Well... maybe.
    if not words(before):
        return False
    last = before.split()[-1].lstrip(OPENERS)
    if last.casefold() in _SOMETIMES_LAST:
        return not goes_on
    is_initial = len(last) == 1 and last.isupper() and last != "I"
    is_list_number = last.isdigit() and before.strip() == last
    return not (is_initial or is_list_number or last.casefold() in _NEVER_LAST)
