"""What `jpo init` asks, before anything heavy is loaded."""

import select
import sys
from pathlib import Path

import typer

from jpo_dist.config.explain import ConfigError

_LOOK_S = 0.1


def refuse_overwriting(file: Path, force: bool) -> None:
    """Raises ConfigError for a file that is there already, unless it may be overwritten."""
    if file.exists() and not force:
        raise ConfigError(f"{file} is there already, and would be overwritten; name another file, or add --force")


def asked(option: str, question: str, usual: str | None = None) -> str:
    """What a person answers; without a terminal `usual`. Raises ValueError where there is neither, and typer.Abort at
    the end of the input."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return _answer(f"{question} [{usual}]: " if usual else f"{question}: ") or usual or asked(option, question)
    if usual is None:
        raise ValueError(f"{option} is missing, and there is no terminal to ask on; add {option} …")
    return usual


def _answer(prompt: str) -> str:
    """The next line of the terminal, without its ends. A Ctrl-C just before a read blocks would be seen by nobody until
    the next key, so the read begins when there is a line."""
    print(prompt, end="", flush=True)  # noqa: T201
    while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        pass
    line = sys.stdin.readline()
    if not line:
        raise typer.Abort
    return line.strip()
