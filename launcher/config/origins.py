"""Where each value of a config comes from: a line of its file, the command line, the environment, or the default."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jpo_dist.config.environment import USED
from jpo_dist.config.load import flatten
from jpo_dist.files import text_of

DEFAULT, COMMAND_LINE = "default", "command line"
UNSET = object()


class Setting(NamedTuple):
    """A setting as it is, and who says so."""

    key: str
    value: Any
    origin: str


def settings_of(resolved: BaseModel, path: Path, overrides: list[str], *, everything: bool) -> list[Setting]:
    """The settings of a config that differ from their defaults, or all of them, in the order of docs/config.md.

    `resolved` is what `load_as` made of the file at `path` and the overrides. Entries of a list are one value.
    """
    dumped = flatten(resolved.model_dump(mode="json"))
    differing = flatten(differences(resolved))
    lines = _lines(path)
    typed = [item.partition("=")[0].replace("[", ".").replace("]", "") for item in overrides]
    shown = dumped if everything else {key: dumped.get(key, value) for key, value in differing.items()}
    return [Setting(key, value, _origin(key, path, lines, typed, dumped)) for key, value in shown.items()]


def differences(resolved: BaseModel, default: BaseModel | None = None) -> dict[str, Any]:
    """The settings of a section whose values are not the default, as a config has them: it is one for the same run.

    `default`: the section that stands there where nothing is said; None: nothing does.
    """
    dumped, found = resolved.model_dump(mode="json"), dict[str, Any]()
    for name, field in type(resolved).model_fields.items():
        value = getattr(resolved, name)
        usual = _usual(field) if default is None else getattr(default, name)
        if isinstance(value, BaseModel):
            inside = differences(value, usual if type(usual) is type(value) else None)
            if inside or not isinstance(usual, BaseModel):
                found[name] = inside
        elif value != usual:
            found[name] = dumped[name]
    return found


def _usual(field: FieldInfo) -> Any:
    """The value of a setting of which nothing is said. A required section has the defaults of its own settings."""
    if not field.is_required():
        return field.get_default(call_default_factory=True)  # type: ignore[call-arg]
    return UNSET


def _origin(key: str, path: Path, lines: Mapping[str, str], typed: list[str], dumped: Mapping[str, Any]) -> str:
    if any(one == key or one.startswith(f"{key}.") or key.startswith(f"{one}.") for one in typed):
        return COMMAND_LINE
    place = next((lines[one] for one in _above(key) if one in lines), None)
    names = {f"tracking.{setting}": name for name, setting in USED.items()}
    if key in names and (place is None or place.endswith(" null")):
        return names[key] if _from_environment(names[key], dumped[key]) else DEFAULT
    return DEFAULT if place is None else f"{path}:{place.removesuffix(' null')}"


def _from_environment(name: str, value: Any) -> bool:
    return os.environ.get(name, "").strip() == value and value not in (None, "")


def _above(key: str) -> Iterator[str]:
    """`key`, then the mappings that it may stand in."""
    parts = key.split(".")
    return (".".join(parts[:count]) for count in range(len(parts), 0, -1))


def _lines(path: Path) -> dict[str, str]:
    """The line of every scalar, list and empty mapping in a file, by dotted key; " null" behind it for no value."""
    found: dict[str, str] = {}
    node = yaml.compose(text_of(path), Loader=yaml.SafeLoader)
    if node is not None:
        _walk(node, "", found)
    return found


def _walk(node: yaml.Node, prefix: str, found: dict[str, str]) -> None:
    if isinstance(node, yaml.MappingNode) and node.value:
        for name, value in node.value:
            if name.tag == "tag:yaml.org,2002:merge":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    _walk(merged, prefix, found)
        for name, value in node.value:
            if name.tag != "tag:yaml.org,2002:merge":
                _walk(value, f"{prefix}.{name.value}" if prefix else str(name.value), found)
    else:
        nothing = " null" if node.tag == "tag:yaml.org,2002:null" else ""
        found[prefix] = f"{node.start_mark.line + 1}{nothing}"
