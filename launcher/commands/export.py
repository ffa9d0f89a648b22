"""`jpo export`."""

from typing import Annotated

import typer

from launcher.arguments import ConfigPath, Overrides, read_any
from launcher.console import explained, say


def command(
    config: ConfigPath,
    overrides: Overrides = None,
    commit: Annotated[
        str | None,
        typer.Option(help="newest, best, or a step; default: best where checkpoint.best is set, else newest."),
    ] = None,
) -> None:
    """Write a valid checkpoint of run.dir, the newest or the best, as one Hugging Face folder."""
    with explained():
        if commit is not None and commit not in ("newest", "best") and not commit.isdecimal():
            raise ValueError(f"--commit ({commit}) is newest, best, or the number of a step")
        resolved = read_any(config, overrides)
        from launcher.show.board import at_work

        with at_work(resolved.run.dir, "export"):
            from launcher.stages.export import export
            from launcher.stages.ranked import is_driver

            folder = export(resolved, commit)
            if is_driver():
                say(f"exported model: {folder}")
