"""What every command shares: where it prints, and how it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from cluster.errors import is_input

out, err = Console(), Console(stderr=True)

USAGE, FAILURE = 2, 1


@contextmanager
def explained() -> Iterator[None]:
    """Errors a person can act on end in one sentence and an exit code, others with their traceback.

    Exit code 2: the command or config is wrong. 1: the run failed. `ray job submit` turns both into 1, so the last
    line of the log says which it was.
    """
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:
        code = exit_code(error)
        if code is None or os.environ.get("JPO_TRACEBACK"):
            raise
        _fail(f"{type(error).__name__}: {error}", code)


def exit_code(error: Exception) -> int | None:
    """None for an error that nobody wrote for people: those keep their traceback."""
    if is_input(error):
        return USAGE
    ours = type(error).__module__.split(".")[0] in ("jpo_dist", "cluster", "launcher")
    return FAILURE if ours else None


def _fail(cause: str, code: int) -> None:
    err.print(f"[bold red]error[/] (exit {code})", highlight=False)
    err.print(cause, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
