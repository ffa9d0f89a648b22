"""The command of a stage as a process: signals of the terminal reach it once, by way of the one who waits for it."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from launcher.pipeline.process import alone_in, run_to_end
from tests.support.hosts import wait_until
from tests.support.signals import usual_signals

COUNTS = """
import signal
signals = {signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # with a handler, one just before a read blocks would wait for it
print("ready", flush=True)
while True:
    signal.sigwait(signals)
    print("told", flush=True)
    if input() == "end":
        break
print("once" if not signal.sigpending() else "more than once", flush=True)
"""


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    with usual_signals():
        yield


class Waiting(NamedTuple):
    """A process that waits for a stage: ids of both, what the stage reads, and what both say."""

    pid: int
    stage: int
    into: IO[str]
    out: IO[str]


@contextmanager
def waiting(code: str, before_known: Callable[[], None] = lambda: None) -> Iterator[Waiting]:
    """A fork of this process, in front of a terminal as it were, that waits for a stage; `before_known` is called there
    when the stage runs and is not known yet to the one who waits."""
    (stdin, into), (out, stdout) = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)

        def start() -> subprocess.Popen[bytes]:
            stage = subprocess.Popen([sys.executable, "-c", code], stdin=stdin, stdout=stdout, process_group=0)
            os.write(stdout, f"{stage.pid}\n".encode())
            before_known()
            return stage

        said = "failed\n"
        try:
            said = f"code {run_to_end(start)}\n"
        except KeyboardInterrupt:
            said = "interrupted\n"
        finally:
            os.write(stdout, said.encode())
            os._exit(0)
    os.close(stdin)
    os.close(stdout)
    with os.fdopen(into, "w") as given, os.fdopen(out) as told:
        stage_id = int(told.readline())
        try:
            yield Waiting(pid, stage_id, given, told)
        finally:
            for one in (stage_id, pid):
                with suppress(ProcessLookupError):
                    os.killpg(one, signal.SIGKILL)
            os.waitpid(pid, 0)


def state(pid: int) -> str:
    """T: stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_a_stage_is_told_once_of_each_ctrl_c_and_has_its_time() -> None:
    with waiting(COUNTS) as made:
        assert made.out.readline() == "ready\n"
        for answer in ("go on", "end"):
            os.killpg(made.pid, signal.SIGINT)  # as the terminal does, to the group in front
            assert made.out.readline() == "told\n"
            made.into.write(f"{answer}\n")
            made.into.flush()
        assert made.out.readline() == "once\n"
        assert made.out.readline() == "interrupted\n"


def test_a_ctrl_c_while_a_stage_starts_reaches_it_once() -> None:
    wait, go = os.pipe()

    def interrupt() -> None:
        os.read(wait, 1)
        signal.raise_signal(signal.SIGINT)

    with waiting(COUNTS, interrupt) as made, os.fdopen(go, "wb", buffering=0) as begin:
        assert made.out.readline() == "ready\n"
        begin.write(b".")
        assert made.out.readline() == "told\n"
        made.into.write("end\n")
        made.into.flush()
        assert made.out.readline() == "once\n"
        assert made.out.readline() == "interrupted\n"
    os.close(wait)


def test_ctrl_z_suspends_the_stage_too_and_fg_has_both_go_on() -> None:
    with waiting("print('ready', flush=True); input()") as made:
        assert made.out.readline() == "ready\n"
        os.killpg(made.pid, signal.SIGTSTP)
        wait_until(lambda: state(made.pid) == state(made.stage) == "T", 60, every_s=0.01)
        os.killpg(made.pid, signal.SIGCONT)
        wait_until(lambda: "T" not in (state(made.pid), state(made.stage)), 60, every_s=0.01)
        made.into.write("\n")
        made.into.flush()
        assert made.out.readline() == "code 0\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_on_a_disk_without_locks_a_pipeline_runs_as_a_training_does(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone_in(tmp_path) as lock:
        assert f'"pid": {os.getpid()}' in Path(lock.name).read_text()
