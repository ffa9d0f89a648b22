"""What is wrong with a config, said as key, value, rule and fix."""

from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from jpo_dist.config.nearest import nearest

_BRANCHES = ("list[", "literal[", "function-", "branch-")
"""How the names of branches begin that pydantic puts between two keys: no one has written them."""


class ConfigError(ValueError):
    """A setting that cannot be used: key, value, rule, fix."""


def where_and_why(error: Exception) -> str:
    """An error of a file in one line, with its place: libraries spread both over several, and a command ends in one."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        during = f" ({error.context})" if error.context else ""
        return f", line {error.problem_mark.line + 1}: {error.problem}{during}; correct it"
    key = getattr(error, "full_key", None)
    return f": {key}: {first_line(error)}" if key else f": {first_line(error)}"


def first_line(error: Exception) -> str:
    """What an error says in its first line."""
    return str(error).strip().partition("\n")[0]


def explain(problem: Any, kind: type[BaseModel]) -> str:
    """One of pydantic's problems with a config of this kind, said as key, value, rule, fix."""
    location = [str(part) for part in problem["loc"] if not str(part).startswith(_BRANCHES)]
    if location[-1:] == ["str"]:  # pydantic's name for a branch of `str | list[str]`
        location.pop()
    key, rule = ".".join(location), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{key} is required; add it"
    if problem["type"] == "extra_forbidden":
        return f"{key} is not a setting; {nearest(location, known_keys(kind))}"
    if problem["type"] == "value_error":
        return f"{key}{'.' if key and not rule.startswith(' ') else ''}{rule}"  # of a key in it, or of it itself
    given = "null" if problem["input"] is None else repr(problem["input"])
    or_null = "; or null" if problem["input"] is not None and _may_be_none(kind, location) else ""
    return f"{key} ({given}): {rule[0].lower()}{rule[1:]}{or_null}"


def _may_be_none(kind: type[BaseModel] | None, location: list[str]) -> bool:
    """Whether the setting there may have no value."""
    annotation: Any = None
    for name in (part for part in location if not part.isdecimal()):
        if kind is None or name not in kind.model_fields:
            return False
        annotation = kind.model_fields[name].annotation
        kind = model_in(annotation)[0]
    return type(None) in get_args(annotation)


def model_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The section behind an annotation, also behind `list[…]` and `… | None`; and whether there may be several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if "Literal" in str(get_origin(annotation)):
        return None, False
    for part in get_args(annotation):
        kind, many = model_in(part)
        if kind is not None:
            return kind, many or get_origin(annotation) is list
    return None, False


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key; entries of a list without their number."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        kind, _ = model_in(field.annotation)
        if kind is not None:
            keys += known_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys
