"""Text of others on a terminal: what data sets hold is shown, and is never obeyed."""

from typing import Any

from rich.text import Text

from jpo_dist.redact import visible

CHARACTERS_SHOWN = 300


def shown(value: Any, style: str = "") -> Text:
    """Text of others for a terminal: no markup, nothing invisible, not too long."""
    return Text(visible(shorten(str(value))), style=style)


def shorten(text: str) -> str:
    rest = len(text) - CHARACTERS_SHOWN
    return f"{text[:CHARACTERS_SHOWN]}… ({rest} more characters)" if rest > 0 else text
