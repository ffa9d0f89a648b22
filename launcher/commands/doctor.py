"""`jpo doctor`."""

from typing import Annotated

import typer

from launcher.console import FAILURE, explained, out


def command(
    build: Annotated[bool, typer.Option(help="Also compile what would otherwise be compiled at first use.")] = False,
) -> None:
    """What this machine has, what is missing, and how to fix it."""
    with explained():
        from launcher.stages.doctor import examine

        healthy = examine(out, build=build)
    raise typer.Exit(0 if healthy else FAILURE)
