"""A command in this process, on a screen that breaks no line."""

from click.testing import Result
from typer import Typer
from typer.testing import CliRunner

from launcher.console import out


def invoked(app: Typer, words: list[str]) -> Result:
    """What `app` came to. rich may have taken the width of its screen from COLUMNS before, which xdist sets."""
    before, out.width = out.width, 600
    try:
        return CliRunner().invoke(app, words)
    finally:
        out.width = before
