"""What was found as a YAML file: few settings, each with the reason for its value beside it."""

import re
from pathlib import Path
from typing import Any

import yaml

from jpo_dist.config.load import parse_as
from jpo_dist.config.sections import OptimConfig
from jpo_dist.config.sft import SftOptimConfig
from jpo_dist.files import replace
from launcher.config.kinds import RunConfig
from launcher.config.schema import first_line
from launcher.init.found import Found
from launcher.init.machine import Machine

WIDTH = 120
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What run.name may be."""
EVERYDAY: dict[str, str] = {
    "optim.lr": "the default; higher for small models and for adapters (model.lora.rank)",
    "train.epochs": "times through the training comparisons; or train.max_steps",
}
"""Settings that people change first, written with their defaults; with words on them."""


def as_config(found: Found, place: Machine, run_dir: str, name: str) -> Found:
    """All sections of a config in their order: what was found, what people change first, the machine, and the run."""
    usual = OptimConfig() if found.kind is RunConfig else SftOptimConfig()
    named = {"name": name} if re.fullmatch(NAME, name) else {}
    train = {"epochs": 1} | found.settings.get("train", {})
    more = {"optim": {"lr": usual.lr}, "train": train, "cluster": place.settings, "run": {"dir": run_dir} | named}
    sections = found.settings | more
    ordered = {key: sections[key] for key in found.kind.model_fields if key in sections}
    return found._replace(settings=ordered, why=EVERYDAY | found.why | {"cluster": place.why})


def write(file: Path, found: Found) -> None:
    """Write the config of a run. Raises ConfigError where it would not be one."""
    parse_as(found.kind, found.settings, str(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    replace(file, text(file, found), sync=False)


def text(file: Path, found: Found) -> str:
    """The file, its comments too."""
    command = "train" if found.kind is RunConfig else "sft"
    head = [
        first_line(found.kind, file.parent),
        f"# jpo {command} {file}        after: jpo check {file}",
        f"# What is not here has its default: jpo config show {file} --all",
    ]
    parts = [line for name, section in found.settings.items() for line in _section(name, section, found.why)]
    return "\n".join([*head, *parts]) + "\n"


def _section(name: str, section: dict[str, Any], why: dict[str, str]) -> list[str]:
    lines = [f"# {why[name]}"] if name in why else []
    if not section:
        return [*lines, f"{name}: {{}}"]
    lines.append(f"{name}:")
    for key, value in section.items():
        lines += _setting(f"  {key}: {_as_yaml(value)}", why.get(f"{name}.{key}"))
    return lines


def _setting(line: str, why: str | None) -> list[str]:
    if why is None:
        return [line]
    words = " ".join(why.split())
    beside = f"{line}   # {words}"
    return [beside] if len(beside) <= WIDTH else [f"  # {words}", line]


def _as_yaml(value: Any) -> str:
    style = '"' if isinstance(value, str) and "\n" in value else None
    shown = yaml.safe_dump(
        value, default_flow_style=True, width=10_000, allow_unicode=True, default_style=style, sort_keys=False
    )
    return shown.removesuffix("\n").removesuffix("\n...").replace("\n", " ")
