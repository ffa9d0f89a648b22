"""What libraries print, out of the way of what the command says: their bars and remarks go to a file of the run.

They print by Python, by their own loggers, from C++ and from compilers that they start: what all of it has in common is
the numbers 1 and 2 of the process. So these lead to the file, and the command keeps copies for its own words.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from jpo_dist.run_dir import CHATTER
from launcher.console import err, out

_screen: list[TextIO] = []
"""Standard output and error of the command, where those of the process lead elsewhere."""


def for_children() -> dict[str, TextIO]:
    """Standard output and error for a command that this one starts: the screen, as subprocess takes them."""
    return dict(zip(("stdout", "stderr"), _screen, strict=True)) if _screen else {}


class Aside:
    """Takes what is printed, into a file without a name until one is known."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by `aside`
        self._numbers = (1, 2)
        self._lead(self._file.fileno())

    def keep_in(self, run_dir: Path, command: str) -> None:
        """From now on into `<run_dir>/log/<command>.log`, with what there is so far. A file that cannot be written
        changes nothing."""
        with suppress(OSError):
            (run_dir / CHATTER).mkdir(parents=True, exist_ok=True)
            kept = (run_dir / CHATTER / f"{command}.log").open("ab", buffering=0)
            sys.stdout.flush()
            sys.stderr.flush()
            self._file.seek(0)
            kept.write(self._file.read())
            self._file.close()
            self._file = kept  # type: ignore[assignment]
            self._lead(kept.fileno())

    def close(self) -> None:
        self._file.close()

    def _lead(self, target: int) -> None:
        for number in self._numbers:
            os.dup2(target, number)


@contextmanager
def aside(folder: str | Path | None = None, command: str = "") -> Iterator[Aside | None]:
    """Inside, standard output and error of libraries are out of sight, and `out`, `err` and logs stay on the screen.

    `folder`, `command`: where they are kept, if that folder is there already (`Aside.keep_in`).

    With JPO_LOG=DEBUG, and where this process has no output of its own, everything stays where it is: None.
    """
    if os.environ.get("JPO_LOG", "").strip().upper() == "DEBUG" or not _owns_its_output():
        yield None
        return
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(number) for number in (1, 2)]
    ours = [_stream(number) for number in saved]
    made = Aside()
    if folder is not None and Path(folder).is_dir():
        made.keep_in(Path(folder), command)
    out.file, err.file = ours
    _screen.extend(ours)
    try:
        yield made
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in ours:
            with suppress(OSError):
                stream.flush()
        _screen.clear()
        out.file = err.file = None  # type: ignore[assignment]  # they follow sys.stdout and sys.stderr again
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        made.close()


def _stream(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _owns_its_output() -> bool:
    try:
        return (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2)
    except (OSError, ValueError):
        return False
