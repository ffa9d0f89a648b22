"""Text of others on a terminal: what data sets hold is shown, and is never obeyed."""

import re
import unicodedata
from typing import Any

from rich.text import Text

CHARACTERS_SHOWN = 300
# Marks that turn the direction of text, and spaces without width: one of them can hide or reorder what is read.
_HIDDEN = re.compile("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")


def shown(value: Any, style: str = "") -> Text:
    """Text of others for a terminal: no markup, nothing invisible, not too long."""
    return Text(visible(shorten(str(value))), style=style)


def shorten(text: str) -> str:
    rest = len(text) - CHARACTERS_SHOWN
    return f"{text[:CHARACTERS_SHOWN]}… ({rest} more characters)" if rest > 0 else text


def visible(text: str) -> str:
    """Control characters, line breaks and tabs aside, and marks that reorder text as ⟨U+202E⟩.

    A terminal obeys the first: text in a data set could move the cursor, or print over what stands above.
    """
    text = _HIDDEN.sub(_code, text.replace("\r\n", "\n"))
    return "".join(_code(c) if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" else c for c in text)


def _code(found: re.Match[str] | str) -> str:
    return f"⟨U+{ord(found if isinstance(found, str) else found.group()):04X}⟩"
