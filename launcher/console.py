"""What every command shares: where it prints, and how it ends."""

import errno
import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from cluster.errors import is_input
from jpo_dist.distributed.stopping import Stopped
from jpo_dist.files import in_words
from jpo_dist.redact import redact, visible
from launcher.blamed import blamed
from launcher.disk import no_room


class _Screen(Console):
    """A console whose reader may leave (`jpo train … | head`): what is said from then on is lost, and nothing else."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Text with its controls shown: what rows, servers and file names hold is no command to the terminal."""
        return super().render_str(visible(text), **how)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())  # Python writes what it still has when it ends


out, err = _Screen(emoji=False), _Screen(stderr=True, emoji=False)  # FOLDER:train: is a split, not a tram

USAGE, FAILURE, TERMINATED = 2, 1, 143
ENDED = {TERMINATED: "terminated", 129: "the terminal is gone (SIGHUP)"}

_PATHS: dict[type[OSError], str] = {
    FileExistsError: "is there already, and is not what is needed; name another path",
    IsADirectoryError: "is a folder, where a file is needed; correct the path",
    NotADirectoryError: "leads through a file, or to one, where a folder is needed; correct the path",
    PermissionError: "may not be used by this user; change its permissions, or name another path",
    FileNotFoundError: "is not there; correct the path",
}
_NUMBERS = {
    errno.ENAMETOOLONG: "has a longer name than this system allows; correct the path, or name a shorter one",
    errno.ELOOP: "is a link that leads back to itself; correct the path",
    errno.EROFS: "is where nothing can be written; name another path",
}
"""The same for those of which Python has no class."""


@contextmanager
def explained(again: str = "the same command begins again") -> Iterator[None]:
    """Inside, an error that a person can act on ends the command in one sentence and an exit code, any other with its
    traceback.

    `again`: what becomes of work that somebody ends before its time, by Ctrl-C or a signal.

    Exit code 2: the command or config is wrong. 1: the run failed. `ray job submit` turns both into 1, so the last
    line says which it was, and why, whatever stands before it.
    """
    try:
        yield
    except (KeyboardInterrupt, typer.Abort):  # Abort: at a question
        fail(f"interrupted; {again}", 130)
    except SystemExit as end:  # of cluster/signals.py and distributed/stopping.py
        if end.code in ENDED:
            fail(f"{ENDED[end.code]}; {again}", end.code)
        raise
    except Stopped as end:
        fail(str(end), 128 + end.number)
    except typer.Exit:  # the command has said what there is to say
        raise
    except Exception as error:
        _fail_by(error)


def _fail_by(error: Exception) -> None:
    room = no_room(error)
    if room and not _is_ours(error):  # a commit that does not fit says more
        if os.environ.get("JPO_TRACEBACK"):
            err.print(traceback.format_exc().rstrip(), markup=False, highlight=False, soft_wrap=True)
        fail(room, FAILURE)
    code = exit_code(error)
    if code is None or os.environ.get("JPO_TRACEBACK"):
        err.print(traceback.format_exc().rstrip(), markup=False, highlight=False, soft_wrap=True)
    elif "\n" in str(error):
        err.print(str(redact(str(error))), markup=False, highlight=False, soft_wrap=True)
    fail(f"{type(error).__name__}: {_sentence(error)}", code or FAILURE)


def draws(console: Console) -> bool:
    """Whether a bar can be drawn there: on a terminal that can move its cursor, which one of TERM=dumb cannot."""
    return console.is_terminal and not console.is_dumb_terminal


def say(text: str) -> None:
    """Print a line as it is: `[x]` in a path is no markup, and a path is not broken where the terminal ends."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def say_json(value: Any) -> None:
    """Print one JSON value, for programs: with `--json` nothing else goes to standard output. A number that is not
    finite is null: JSON has no word for it, and Python's own, NaN, is refused by other readers."""
    finite = json.loads(json.dumps(value, default=float), parse_constant=lambda _: None)
    out.file.write(json.dumps(finite, ensure_ascii=False, allow_nan=False) + "\n")
    out.file.flush()


def exit_code(error: Exception) -> int | None:
    """The exit code for `error`; None for an error that nobody wrote for people: those keep their traceback."""
    if is_input(error) or _rule_of_path(error):
        return USAGE
    return FAILURE if _is_ours(error) else None


def _is_ours(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in ("jpo_dist", "cluster", "launcher")


def _rule_of_path(error: Exception) -> str | None:
    """What is wrong with the path in an error of the system, and the fix; None: no path is to blame.

    Here and not in `is_input`, by which a failed rank is tried again: there another host may see the path.
    """
    if not isinstance(error, OSError) or error.filename is None:
        return None
    rule = next((rule for kind, rule in _PATHS.items() if isinstance(error, kind)), None)
    return rule or (None if error.errno is None else _NUMBERS.get(error.errno))


def _sentence(error: Exception) -> str:
    rule = _rule_of_path(error)
    if isinstance(error, OSError) and rule:
        return f"{error.filename} {rule}"
    said, variable = in_words(error).strip().partition("\n")[0], blamed(error, os.environ)
    return str(redact(f"{said.rstrip('.')}; {variable}" if variable else said))


def fail(cause: str, code: int) -> None:
    """End the command with this code, and say so in its last line."""
    err.print(f"[bold red]error[/] (exit {code}): {escape(cause)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)
