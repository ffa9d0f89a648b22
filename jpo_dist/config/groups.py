"""Settings about groups: what is known of who judged (annotator, country, language), and which values of it count."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator


def group_value(value: Any) -> str | None:
    """A cell of a group column as text: white space around it is cut, True is "true", 3.0 is "3".

    None where there is none: null, NaN, nothing but white space. Raises ValueError for what is no single value, such as
    a list.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if not isinstance(value, str | int | float):
        raise ValueError(f"{type(value).__name__}: neither text, number, true nor false")
    return str(value).strip() or None


def _distinct(names: list[str]) -> list[str]:
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f" ({', '.join(map(repr, names))}): names each column once, and no nameless one; correct it")
    return names


def _listed(choice: Any) -> Any:
    """One value stands for a list of one, and numbers and true for their text, as in a column."""
    if not isinstance(choice, dict):
        return choice
    found: dict[str, list[str]] = {}
    for name, values in choice.items():
        listed = values if isinstance(values, list | tuple) else [values]
        try:
            texts = [group_value(value) for value in listed]
        except ValueError as error:
            raise ValueError(f"{name}: {error}; write {{{name}: [VALUE, …]}}") from None
        if not texts or None in texts:
            raise ValueError(f"{name} ({values!r}): names no value; write {{{name}: [VALUE, …]}}, or leave it out")
        found[str(name)] = [text for text in texts if text is not None]
    return found


def not_the_annotator(names: list[str]) -> list[str]:
    """The names. Raises ValueError for the annotator's, who is not known before somebody has judged."""
    if "annotator" in names:
        raise ValueError(" (annotator): it will be who judges now; leave it out, or give the column another name")
    return names


GroupNames = Annotated[list[str], AfterValidator(_distinct)]
"""Columns that say who judged."""
GroupsToJudge = Annotated[GroupNames, AfterValidator(not_the_annotator)]
"""Columns of pairs that nobody has judged yet."""
GroupChoice = Annotated[dict[str, list[str]], BeforeValidator(_listed)]
"""Some values of some groups: {country: [DE, FR]}."""
