"""The command of a stage as a process of its own: started, ended with its parent, and noted when it is done."""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

from jpo_dist.files import read_json, replace, write_json
from jpo_dist.locks import InUse, note_owner, owner_of
from jpo_dist.tracking.writer import TAGS, tags_of_environment
from launcher.chatter import for_children
from launcher.console import say
from launcher.pipeline.resolve import Stage
from launcher.provenance import code

LOCK = ".lock"
LOOK_S = 1.0
"""How long a signal may go unnoticed while a stage is waited for."""
WAIT_S = 60.0
"""How long the process of a stage whose pipeline was killed may take to end."""


def is_done(stage: Stage) -> bool:
    """Whether the stage has been done, and what it made is still there."""
    return was_done(stage) and stage.made.exists()


def was_done(stage: Stage) -> bool:
    """Whether the stage has been done, whatever became of what it made."""
    return bool(read_json(stage.done_file).get("key") == stage.key)


def start_stage(
    stage: Stage, tags: Mapping[str, Any], lock: IO[str], log: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start the command of a stage; what it says goes to `log`, else to the screen.

    The process inherits the lock, and ends when this one does, kill -9 included.
    """
    return start_command(arguments_of(stage), tags, [lock.fileno()], log)


def arguments_of(stage: Stage) -> list[str]:
    """What follows `jpo` to run the stage; its config is written for it."""
    replace(stage.config_file, json.dumps(stage.settings, indent=1, ensure_ascii=False) + "\n", sync=False)
    return [*stage.kind.command, str(stage.config_file)]


def start_command(
    arguments: Sequence[str], tags: Mapping[str, Any], keep: Sequence[int] = (), log: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start `jpo ARGUMENTS` as a process that ends when this one does; it keeps the files `keep` open, and has `tags`
    beside those of the environment.

    It has a process group of its own: a key on the terminal is a signal to this process alone, which passes it on. From
    both it would come twice, and a second Ctrl-C means that the step at hand is not waited for.
    """
    screen: dict[str, Any] = {"stdout": log, "stderr": subprocess.STDOUT} if log else {**for_children()}
    return subprocess.Popen(
        [sys.executable, "-m", "jpo_dist", *arguments],
        env={**os.environ, TAGS: json.dumps({**tags_of_environment(), **tags})},
        pass_fds=list(keep),
        preexec_fn=_end_with_parent,
        process_group=0,
        **screen,
    )


def run_to_end(start: Callable[[], subprocess.Popen[bytes]]) -> int:
    """Start a command and wait; its exit code, as shells say it.

    What ends this process meanwhile (Ctrl-C, SIGTERM) is passed on, each time that it comes, and raised when the
    command has tidied up and ended.
    """
    children: list[subprocess.Popen[bytes]] = []
    with suspended_with(lambda: children), _passed_on_to(children) as passing:
        children.append(start())
        passing.tell()
        while True:
            with suppress(subprocess.TimeoutExpired):  # a signal that another thread was given is taken between two
                return shell_code(children[0].wait(LOOK_S))


class _Passing:
    """Signals on their way to a command: those that come while it starts wait for it."""

    def __init__(self, children: Sequence[subprocess.Popen[bytes]]) -> None:
        self.children = children
        self.came: list[int] = []
        self.untold: deque[int] = deque()

    def take(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)
        self.untold.append(number)
        self.tell()

    def tell(self) -> None:
        """Each signal once, though `take` may interrupt this very function."""
        with suppress(IndexError):
            while self.children:
                number = self.untold.popleft()
                self.children[0].send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


@contextmanager
def _passed_on_to(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[_Passing]:
    """Inside, no signal is an exception, which a second one could meet half way: each goes to the command, from its
    first moment on. At the end the first one is what it would have been."""
    passing = _Passing(children)
    if threading.current_thread() is not threading.main_thread():
        yield passing
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    taken = {number: handler for number, handler in before.items() if callable(handler)}
    for number in taken:
        signal.signal(number, passing.take)
    try:
        yield passing
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
    if passing.came:
        taken[signal.Signals(passing.came[0])](passing.came[0], None)


@contextmanager
def suspended_with(children: Callable[[], Iterable[subprocess.Popen[bytes]]]) -> Iterator[None]:
    """Inside, Ctrl-Z suspends the commands too, and `fg` has them go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def tell(number: int) -> None:
        for child in children():
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)

    def suspend(number: int, frame: FrameType | None) -> None:
        tell(number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # it goes on here after `fg`
        signal.signal(number, suspend)
        tell(signal.SIGCONT)

    before = signal.getsignal(signal.SIGTSTP)
    if before == signal.SIG_DFL:
        signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


def note_done(stage: Stage, seconds: float, by: str | None = None) -> None:
    """Write that the stage is done: only after its command has ended well. `by`: other code than this has done it."""
    about = {
        "key": stage.key,
        "made": str(stage.made),
        "seconds": round(seconds, 1),
        "code": code() if by is None else by,
    }
    write_json(stage.done_file, about)


def shell_code(code: int) -> int:
    """The exit code as shells say it: 128 and its number for a signal."""
    return 128 - code if code < 0 else code


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG: as `ray job stop` would end it


@contextmanager
def alone_in(folder: Path) -> Iterator[IO[str]]:
    """Two pipelines in one folder would run one stage twice. The lock goes with its last process, kill -9 included.

    Raises InUse when another holds it for longer than a killed one's stage takes to end. On a disk that has no locks
    there is none.
    """
    with (folder / LOCK).open("a+", encoding="utf-8") as lock:
        until = time.monotonic() + WAIT_S
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    whom = owner_of(folder / LOCK)
                    by = f" by {whom}" if whom else ""
                    raise InUse(f"dir ({folder}) is in use{by}; wait for the end, or name another folder") from None
                if not told:
                    by = owner_of(folder / LOCK) or "what runs there"
                    say(f"{folder} is in use: waiting for the end of {by}, {WAIT_S:.0f} s at most")
                    told = True
                time.sleep(0.2)
            except OSError:
                break
        with suppress(OSError):
            note_owner(lock)
        yield lock
