"""Arguments that several commands share, and the config that they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from launcher.config.kinds import RunConfig

ConfigPath = Annotated[Path, typer.Argument(help="A YAML file, for example configs/demo.yaml.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings to change: objective.beta=0.2 …")]


def read_config(config: Path, overrides: list[str] | None) -> "RunConfig":
    """The checked config of a run, its local paths absolute. Raises ConfigError."""
    from launcher.config.load import load
    from launcher.config.run_paths import absolute

    return absolute(load(config, overrides))
