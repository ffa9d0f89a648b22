"""The part of a JSON file that is looked at, value by value: a file of ten million rows is never in memory at once."""

import codecs
import json
import re
from contextlib import suppress
from typing import Any, BinaryIO

WINDOW = 1 << 20
"""Characters that are looked at together."""
_GAP = re.compile(r"[\s,]*")


class Window:
    """A text of which the beginning is forgotten and the end is not read yet."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text, self.is_end = "", False
        while not self.text and not self.is_end:
            self.more()
        self.text = self.text.removeprefix("\ufeff")

    def more(self) -> None:
        """Read as much again as there is."""
        raw = self._stream.read(max(WINDOW, len(self.text)))
        self.is_end = not raw
        self.text += self._decoder.decode(raw, final=not raw)

    def drop(self, end: int) -> int:
        """Forget what is before `end` once it is worth it; returns where that place is now."""
        if end < WINDOW:
            return end
        self.text = self.text[end:]
        return 0

    def after_gap(self, start: int) -> int:
        """Where the next value, or the end of the list, begins."""
        while (end := _end_of(_GAP.match(self.text, start))) == len(self.text) and not self.is_end:
            self.more()
        return end

    def is_blank_from(self, start: int) -> bool:
        """Whether nothing but space follows."""
        while not self.text[start:].strip() and not self.is_end:
            self.more()
        return not self.text[start:].strip()

    def decoded(self, decoder: json.JSONDecoder, start: int, most: int) -> tuple[Any, int]:
        """The value that begins at `start`, and where it ends; `most`: characters that it may have. Raises ValueError
        or RecursionError."""
        while True:
            try:
                value, end = decoder.raw_decode(self.text, start)
                if end < len(self.text) or self.is_end:  # else it may be half a number
                    return value, end
            except ValueError:
                if self.is_end or len(self.text) - start > most:
                    raise
            self.more()


def _end_of(match: re.Match[str] | None) -> int:
    assert match is not None, "a pattern that may be empty always matches"
    return match.end()


def are_spread(window: Window, most: int) -> bool:
    """Whether the first object goes over several lines, as programs write it for people to read."""
    start = len(window.text) - len(window.text.lstrip())
    end = window.text.find("\n", start)
    if not window.text.startswith("{", start) or end < 0 or _is_json(window.text[start:end]):
        return False
    with suppress(ValueError, RecursionError):
        window.decoded(json.JSONDecoder(), start, most)
        return True
    return False


def _is_json(text: str) -> bool:
    with suppress(ValueError, RecursionError):
        json.loads(text)
        return True
    return False
