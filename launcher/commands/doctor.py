"""`jpo doctor`."""

from typing import Annotated

import typer

from launcher.arguments import AsJson
from launcher.console import FAILURE, explained, out, say_json


def command(
    build: Annotated[bool, typer.Option(help="Also compile what would otherwise be compiled at first use.")] = False,
    as_json: AsJson = False,
) -> None:
    """What this machine has, what is missing, and how to fix it."""
    with explained():
        from launcher.stages.doctor import examine, show

        found = examine(build=build)
        healthy = all(one.verdict != "missing" for one in found)
        if as_json:
            say_json({"ok": healthy, "findings": [one._asdict() for one in found]})
        else:
            show(found, out)
    raise typer.Exit(0 if healthy else FAILURE)
