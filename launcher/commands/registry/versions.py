"""`jpo register`, `jpo promote` and `jpo rollback`."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.arguments import AsJson, ConfigPath, Overrides, read_any
from launcher.console import explained, say, say_json

WinRates = Annotated[list[Path] | None, typer.Option(help="Folders of `jpo winrate`; their figures come too.")]
Name = Annotated[str | None, typer.Option("--name", help="The registered model; run.name without it.")]


def register(
    config: ConfigPath,
    overrides: Overrides = None,
    name: Name = None,
    winrate: WinRates = None,
    as_json: AsJson = False,
) -> None:
    """Make the trained model a version in MLflow's registry, with its data and figures: the candidate."""
    with explained():
        resolved = read_any(config, overrides)
        from launcher.stages.registry.versions import register as make

        of, version = make(resolved, name, winrate or [])
        if as_json:
            say_json({"model": of, "version": version.number, "is_new": version.is_new, "alias": "candidate"})
            return
        say(f"{of} version {version.number}{'' if version.is_new else ' (known before)'}: candidate")


def promote(
    config: ConfigPath,
    gate: Annotated[Path, typer.Argument(help="YAML with bounds of figures: winrate/low: {at_least: 0.5}")],
    overrides: Overrides = None,
    name: Name = None,
) -> None:
    """Make the candidate the champion where its figures pass a gate; else say why not, with exit code 2."""
    with explained():
        resolved = read_any(config, overrides)
        from launcher.stages.registry.versions import promote as move

        of, version = move(resolved, gate, name)
        say(f"{of} version {version}: champion")


def rollback(config: ConfigPath, overrides: Overrides = None, name: Name = None) -> None:
    """Make the version the champion again that was it before."""
    with explained():
        resolved = read_any(config, overrides)
        from launcher.stages.registry.versions import rollback as back

        of, left, version = back(resolved, name)
        say(f"{of} version {version}: champion again, instead of {left}")
