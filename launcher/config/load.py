"""Run configs: a YAML file plus dotted overrides, into one closed, frozen, checked object.

load("configs/demo.yaml", ["objective.beta=0.2", "cluster.workers=4"])
"""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import load_as, parse_as
from jpo_dist.files import text_of
from launcher.config.detect import COMMANDS, kind_of
from launcher.config.kinds import AnyRunConfig, RunConfig, SftRunConfig

Config = TypeVar("Config", bound=BaseModel)


def load(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """The config in a file, with overrides, checked. Relative paths stay relative to where the command runs. Raises
    ConfigError."""
    return load_kind(RunConfig, path, overrides)


def load_kind(kind: type[Config], path: str | Path, overrides: list[str] | None = None) -> Config:
    """The config of this kind in a file, with overrides, checked. Raises ConfigError, which names the command where the
    keys of the file are those of another one."""
    found = kind_of(Path(path))
    if found is not kind and not (found is RunConfig and not _is_of_a_run(Path(path))):
        raise ConfigError(f"{path} is a config of {COMMANDS[found]}, not of {COMMANDS[kind]}; use that command")
    return load_as(kind, path, overrides)


def _is_of_a_run(path: Path) -> bool:
    """Whether a file has what every config of `jpo train` has: `kind_of` takes it for one where it knows no better."""
    try:
        found = yaml.safe_load(text_of(path))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(found, dict) and {"data", "model", "run"} <= found.keys()


def parse(values: dict[str, Any], source: str = "config") -> RunConfig:
    """The config in a plain mapping, checked. Raises ConfigError naming every bad key."""
    return parse_as(RunConfig, values, source)


def parse_any(values: dict[str, Any], source: str = "config") -> AnyRunConfig:
    """The same for a config of `jpo train` or of `jpo sft`, by its keys."""
    return parse_as(SftRunConfig, values, source) if "sft" in values else parse(values, source)
