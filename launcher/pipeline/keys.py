"""What decides what a stage makes: its settings but for where and how it runs, and the contents of what it reads."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jpo_dist.config.base import ROW_MIB
from jpo_dist.endpoint.config import EndpointConfig
from jpo_dist.records.comparisons import digest
from launcher.config.pipeline import COMMANDS, Entry
from launcher.pipeline.contents import Contents, inputs

NO_RESULT = ("tracking", "cluster", "budget", "checkpoint", "run", "name", "output")
"""Sections and settings that decide where and how a stage runs, not what it makes."""
LATER: dict[str, tuple[str, ...]] = {"build": ("keep", "flips"), "judge": ("groups",)}
"""Settings that commands have got since stages were first kept: in a key only where they say something, so that what
was made before, and answers that were paid for, are found."""

LATER_INSIDE = ("stop_when",)
"""The same inside the section train."""
LATER_ANYWHERE = {"max_row_mib": ROW_MIB}
"""The same in any section or source, with their defaults."""
ASKS = {
    name: field.get_default(call_default_factory=True)
    for name, field in EndpointConfig.model_fields.items()
    if name in ("key_env", "key_file", "concurrency", "timeout_s", "max_retries", "max_wait_s", "max_failures",
                "input_price", "output_price")
}  # fmt: skip
"""Settings of an endpoint that decide how it is asked, not what comes back. In a key each is as it is by default."""
CHOOSES = ("best", "best_is")
"""What of the section checkpoint decides which weights are exported."""


def keys_of(
    entry: Entry, checked: dict[str, Any], known: dict[str, str], contents: Contents, pipeline: Path
) -> tuple[str, str]:
    """The key of a stage with the settings `checked`, and the one that it had when all settings of an endpoint were in
    it. `known`: the keys of stages by the folders of what they make."""
    said = _deciding(entry, checked)
    asked = _asked_as_ever(said)
    now = _key(entry, asked, known, contents, pipeline)
    return now, now if asked == said else _key(entry, said, known, contents, pipeline)


def _key(entry: Entry, decides: dict[str, Any], known: dict[str, str], contents: Contents, pipeline: Path) -> str:
    """The key of a stage, of the settings that decide what it makes and of all that it reads."""
    read = {
        text: [contents.of(path) for path in paths]
        for text, paths in inputs(decides, pipeline).items()
        if not any(_is_in(text, place) for place in known)
    }
    return digest([entry.command, _without_places(decides, known), sorted(read.items())])


def _asked_as_ever(said: dict[str, Any]) -> dict[str, Any]:
    """The settings with those of ASKS as they are by default."""
    asked = said.get("endpoint")
    return {**said, "endpoint": {**asked, **ASKS}} if isinstance(asked, dict) else said


def _deciding(entry: Entry, checked: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide what a stage makes."""
    said = {name: value for name, value in checked.items() if name not in NO_RESULT and _says(entry, name, value)}
    decides: dict[str, Any] = _without_later(said)
    if isinstance(decides.get("train"), dict):
        decides["train"] = {key: one for key, one in decides["train"].items() if key not in LATER_INSIDE or one}
    checkpoint = checked.get("checkpoint") or {}
    if checkpoint.get("best"):
        decides["checkpoint"] = {key: checkpoint[key] for key in CHOOSES}
    return decides


def _without_later(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _without_later(one) for k, one in value.items() if k not in LATER_ANYWHERE or one != LATER_ANYWHERE[k]
        }
    return [_without_later(one) for one in value] if isinstance(value, list) else value


def _says(entry: Entry, name: str, value: Any) -> bool:
    """Whether a setting says something: one of LATER does not where it is as it is by default."""
    if name not in LATER.get(entry.command, ()):
        return True
    default: Any = COMMANDS[entry.command].config.model_fields[name].get_default(call_default_factory=True)
    return bool(value != (default.model_dump(mode="json") if isinstance(default, BaseModel) else default))


def _without_places(value: Any, known: dict[str, str]) -> Any:
    """`value` with the keys of stages in the place of the folders of their files."""
    if isinstance(value, dict):
        return {name: _without_places(one, known) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one, known) for one in value]
    if isinstance(value, str):
        for place, key in known.items():
            if _is_in(value, place):
                return f"@{key}{value.removeprefix(place)}"
    return value


def _is_in(text: str, place: str) -> bool:
    return Path(text).is_relative_to(place) or text.startswith(f"{place}:")  # with a split behind it
