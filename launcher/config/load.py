"""Run configs: a YAML file plus dotted overrides, into one closed, frozen, checked object.

load("configs/demo.yaml", ["objective.beta=0.2", "cluster.workers=4"])
"""

from pathlib import Path
from typing import Any

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import load_as, parse_as
from launcher.config.detect import kind_of
from launcher.config.kinds import AnyRunConfig, RunConfig, SftRunConfig


def load(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """The config in a file, with overrides, checked. Relative paths stay relative to where the command runs. Raises
    ConfigError."""
    if kind_of(Path(path)) is SftRunConfig:
        raise ConfigError(f"{path}: the key sft makes it a config of jpo sft; use that, or drop sft")
    return load_as(RunConfig, path, overrides)


def parse(values: dict[str, Any], source: str = "config") -> RunConfig:
    """The config in a plain mapping, checked. Raises ConfigError naming every bad key."""
    return parse_as(RunConfig, values, source)


def parse_any(values: dict[str, Any], source: str = "config") -> AnyRunConfig:
    """The same for a config of `jpo train` or of `jpo sft`, by its keys."""
    return parse_as(SftRunConfig, values, source) if "sft" in values else parse(values, source)
