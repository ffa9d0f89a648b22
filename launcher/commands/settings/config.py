"""`jpo config …`: what is set, and where."""

import json
import sys
from typing import Annotated

import typer

from launcher.arguments import ConfigPath, Overrides
from launcher.console import explained, out, say

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Configs: where each value comes from.")


@app.callback()
def options() -> None:
    """Configs: where each value comes from."""


@app.command()
def show(
    config: ConfigPath,
    overrides: Overrides = None,
    everything: Annotated[bool, typer.Option("--all", help="Settings with their defaults too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list instead of a table.")] = False,
) -> None:
    """Every setting that differs from its default: its value, and the line, command line or variable that says so."""
    with explained():
        from jpo_dist.config.load import load_as
        from launcher.config.detect import kind_of
        from launcher.config.origins import settings_of
        from launcher.show.settings import table

        resolved = load_as(kind_of(config), config, overrides)
        found = settings_of(resolved, config, overrides or [], everything=everything)
        if as_json:
            sys.stdout.write(json.dumps([one._asdict() for one in found], ensure_ascii=False) + "\n")
        elif found:
            out.print(table(found))
        else:
            say("every setting has its default")
