"""What a message says: a text, or parts of type text. Pictures, sounds and other parts are refused by name."""

from typing import Any

from jpo_dist.data.row_values import BadField, text

_TEXT_TYPES = ("text", "input_text", "output_text", None)


def content_of(value: Any, field: str, may_be_empty: bool = False) -> str:
    """The text of a message's content. `may_be_empty`: None and blanks are an empty text. Raises BadField."""
    found = _text_of(value, field) if isinstance(value, list | dict) else value
    if may_be_empty and (found is None or (isinstance(found, str) and not found.strip())):
        return ""
    return text(found, field)


def _text_of(value: list[Any] | dict[str, Any], field: str) -> str:
    """Parts one after the other, as chat templates write them."""
    if isinstance(value, list):
        return "".join(_part(part, f"{field}[{n}]") for n, part in enumerate(value))
    if isinstance(value.get("parts"), list) and value.get("content_type") in _TEXT_TYPES:
        return "".join(_part(part, f"{field}.parts[{n}]") for n, part in enumerate(value["parts"]))
    return _part(value, field)


def _part(part: Any, field: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise BadField(field, "not a string")
    kind = part.get("type")
    said = next((part[key] for key in ("text", "value", "content") if isinstance(part.get(key), str)), None)
    if kind not in _TEXT_TYPES or said is None:
        others = [key for key, value in part.items() if value is not None and key != "type"]
        raise BadField(field, f"a part of type {kind or ', '.join(others) or 'none'}, which is not text")
    return said
