"""Arguments that several commands share, and the config that they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jpo_dist.home import find_config

if TYPE_CHECKING:
    from launcher.config.kinds import AnyRunConfig, RunConfig, SftRunConfig

ConfigPath = Annotated[Path, typer.Argument(help="A YAML file, for example configs/demo.yaml.", callback=find_config)]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings to change: objective.beta=0.2 …")]

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, for programs.")]


def read_config(config: Path, overrides: list[str] | None) -> "RunConfig":
    """The checked config of a run, its local paths absolute. Raises ConfigError."""
    from launcher.config.load import load
    from launcher.config.run_paths import absolute

    return absolute(load(config, overrides))


def read_any(config: Path, overrides: list[str] | None) -> "AnyRunConfig":
    """The same for a config of `jpo train` or of `jpo sft`, by its keys."""
    from launcher.config.detect import kind_of
    from launcher.config.kinds import SftRunConfig

    return read_sft(config, overrides) if kind_of(config) is SftRunConfig else read_config(config, overrides)


def read_sft(config: Path, overrides: list[str] | None) -> "SftRunConfig":
    """The same for a config of `jpo sft`."""
    from launcher.config.kinds import SftRunConfig
    from launcher.config.load import load_kind
    from launcher.config.run_paths import absolute

    return absolute(load_kind(SftRunConfig, config, overrides))
