"""Objects where a layout has texts, or completions without the keys that it knows: no row could be read, and which key
is the text or the score is for their owner to say. What to write is worked out here."""

from collections.abc import Iterator, Sequence
from typing import Any

from jpo_dist.data.layouts.layout import Layout
from jpo_dist.data.layouts.responses import SCORE_FIELDS
from jpo_dist.data.layouts.values import entries, is_number
from jpo_dist.data.messages.beside import is_verdict, places_a_side
from jpo_dist.data.messages.context import stands_in
from jpo_dist.data.messages.instruction import SIDES
from jpo_dist.data.messages.turns import listed
from jpo_dist.data.row_values import BadField, Row

_RESPONSE = "response"
_TEXTS = (_RESPONSE, "text", "content", "completion", "answer", "output", "generation", "value")
"""Keys that a response has in objects, the likeliest first."""


def refusal(layout: Layout, rows: Sequence[Row], scores: Sequence[str]) -> str:
    """Why none of these rows can be read and what to write, without the file; "" where they may be. `scores`: keys that
    the source names."""
    if set(SIDES) <= set(layout.columns):
        return _of_sides(layout, rows)
    if layout.name == "responses" and _RESPONSE in layout.keys:
        return _of_list(layout, rows, scores)
    return ""


def _of_sides(layout: Layout, rows: Sequence[Row]) -> str:
    """Sides that are objects and no messages."""
    found = [row for row in rows if _is_object(row.get(SIDES[0])) and _is_object(row.get(SIDES[1]))]
    plain = any(all(row.get(side) and not _is_object(row[side]) for side in SIDES) for row in rows)
    if 2 * len(found) <= len(rows) or plain:
        return ""
    keys = list(found[0][SIDES[0]])
    text = _text_of(found[0][SIDES[0]])
    asked = next((name for name in (*layout.asks, stands_in(found[0])) if name and name in found[0]), "…")
    return (
        f"its chosen and rejected are objects ({', '.join(keys)}): say in a source of jpo data build which of these is "
        f"the response, such as layout: {{instruction: {asked}, a: chosen.{text}, b: rejected.{text}, prefer: a}}"
    )


def _of_list(layout: Layout, rows: Sequence[Row], scores: Sequence[str]) -> str:
    """Several responses, none of which has a text under the key that is known, or none a score."""
    asked, column = layout.columns
    known = (*SCORE_FIELDS, *scores)
    count, first, has_text, has_score = 0, dict[str, Any](), False, False
    for row in rows:
        each = list(_objects(row.get(column)))
        count += bool(each)
        first = first or (each[0] if each else first)
        has_text = has_text or any(_RESPONSE in one for one in each)
        has_score = has_score or any(one.get(name) is not None for one in each for name in known)
    if 2 * count <= len(rows) or (has_text and has_score) or any(_has_text(row.get(column)) for row in rows):
        return ""
    lacks = " and ".join([_RESPONSE] * (not has_text) + [f"a score ({', '.join(SCORE_FIELDS)})"] * (not has_score))
    said = f"instruction: {asked}, responses: {column}, text: {_text_of(first)}, {_said_of(first, known)}"
    return (
        f"its {column} are objects ({', '.join(first)}), and none has {lacks}: say in a source of jpo data build what "
        f"their keys are, such as layout: {{{said}}}"
    )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    found = entries(value)
    return (one for one in found if isinstance(one, dict)) if isinstance(found, list) else iter(())


def _has_text(value: Any) -> bool:
    found = entries(value)
    return isinstance(found, list) and any(isinstance(one, str) and one.strip() for one in found)


def _is_object(value: Any) -> bool:
    try:
        return isinstance(value, dict) and bool(value) and listed(value, "") is None
    except BadField:
        return False


def _text_of(one: dict[str, Any]) -> str:
    """The key whose value is likely the response."""
    texts = [key for key, value in one.items() if isinstance(value, str)]
    return next((key for key in _TEXTS if key in texts), max(texts, key=lambda key: len(one[key]), default="…"))


def _said_of(one: dict[str, Any], known: Sequence[str]) -> str:
    """The key that may say how good a response is, as a layout says it."""
    keys = [key for key, value in one.items() if isinstance(value, bool) or is_number(value)]
    key = next((key for key in (*known, *keys) if key in keys and is_verdict(key)), "…")
    return f"rank: {key}" if places_a_side(key) else f"score: {key}"
