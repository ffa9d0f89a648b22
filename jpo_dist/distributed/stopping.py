"""Stopping: a run that is told to end does the step at hand, commits it, and goes on from there when it is started
again.

Who is told, by Ctrl-C, SIGTERM or SIGHUP, is the process that a person started; the ranks may be on other hosts. It
writes `<run.dir>/stop`, and every rank looks for that file after each step. A rank that has obeyed adds the step.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from jpo_dist.distributed.notices import notify
from jpo_dist.files import read_json, write_json
from jpo_dist.run_dir import PLAN, STOP

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SAME_S = 1.0
"""Signals this soon after the first are the same one: a terminal sends Ctrl-C to a command and to what it started,
and the command passes it on."""


class Stopped(Exception):
    """The run was told to end, and has; what it had done is committed."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
        """Of the signal that asked for it."""


def asked(run_dir: Path) -> bool:
    """Whether the run of this folder has been told to end."""
    return (run_dir / STOP).exists()


def obeyed(run_dir: Path, step: int) -> None:
    """Note that the run has ended after `step` because it was told to. For rank 0."""
    write_json(run_dir / STOP, {**read_json(run_dir / STOP), "step": step})


@contextmanager
def stoppable(run_dir: Path, grace_s: float, *, is_driver: bool = True) -> Iterator[None]:
    """Inside, the first Ctrl-C, SIGTERM or SIGHUP lets the ranks of `run_dir` end after the step at hand.

    A second one, or the end of `grace_s` seconds, ends this process at once; so does the first while no step is being
    done yet, when there is nothing to commit. Raises Stopped behind a run that has obeyed; KeyboardInterrupt or
    SystemExit (128 + the signal's number) for one that has ended at once. Outside the main thread signals stay as they
    are. `is_driver`: false for a rank of torchrun that is not the first; it is told of a stop as the others
    are, and ends as if its work were done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if is_driver:
        (run_dir / STOP).unlink(missing_ok=True)  # of an earlier start
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taker = _Taker(run_dir, grace_s)
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, taker.take)
    try:
        yield
        if is_driver:
            _raise_if_obeyed(run_dir)
    except (KeyboardInterrupt, SystemExit):
        if taker.number is None:
            raise
        raise _end_of(taker.number) from None  # on its way through Ray its code becomes 1
    finally:
        taker.over.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_if_obeyed(run_dir: Path) -> None:
    said = read_json(run_dir / STOP)
    (run_dir / STOP).unlink(missing_ok=True)
    if "step" in said:  # else the run was at its end when it was told
        raise Stopped(
            f"stopped by {signal.Signals(said['signal']).name}; step {said['step']} is committed, and the same command "
            "goes on from there",
            said["signal"],
        )


def _end_of(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


class _Taker:
    """What a signal does: the first asks the ranks to end, the next ends this process."""

    def __init__(self, run_dir: Path, grace_s: float) -> None:
        self.run_dir, self.grace_s = run_dir, grace_s
        self.number: int | None = None
        self.over = threading.Event()
        self._at, self._plan = 0.0, _mark(run_dir / PLAN)

    def take(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if self.number is None and _mark(self.run_dir / PLAN) != self._plan:
            self.number, self._at = number, time.monotonic()
            try:
                write_json(self.run_dir / STOP, {"signal": number})
            except OSError:  # no room for a sentence, so none for a commit
                raise _end_of(number) from None
            notify(
                self.run_dir,
                f"{signal.Signals(number).name}: the run ends after the step at hand, which is committed "
                f"({self.grace_s:.0f} s at most); once more ends it at once",
            )
            threading.Thread(target=self._wait, name="grace", daemon=True).start()
        elif self.number is None or time.monotonic() - self._at > SAME_S:
            self.number = number
            raise _end_of(number)

    def _wait(self) -> None:
        """Ends the process when the time is over, as a second signal would."""
        if not self.over.wait(max(self.grace_s, 2 * SAME_S)) and self.number is not None:
            os.kill(os.getpid(), self.number)


def _mark(path: Path) -> tuple[int, int] | None:
    """Changes when the file is written anew: rank 0 writes its plan before its first step."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
