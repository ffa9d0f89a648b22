"""A run that is told to end: the step at hand is committed, MLflow says KILLED, the same command goes on."""

import fcntl
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jpo_dist.distributed.stopping import SAME_S
from jpo_dist.run_dir import STOP
from tests.support.commands import (
    ROOT,
    Files,
    Warm,
    commits,
    environment,
    lines_of,
    numbers,
    tiny_files,
    torchrun,
    tracked,
    warm_commands,
)
from tests.support.signals import usual_signals

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

UNCOMMITTED = ["checkpoint.every=0"]
"""No commit but the one that a stop makes."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return tiny_files(tmp_path_factory.mktemp("stop"))


@pytest.fixture(scope="module", autouse=True)
def signals() -> Iterator[None]:
    with usual_signals():
        yield


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    with warm_commands(tmp_path_factory.mktemp("warm")) as commands:
        yield commands


def uninterrupted(tiny: Files, warm: Warm, ranks: int) -> list[tuple[int, dict[str, str]]]:
    run_dir = tiny.folder / f"whole-{ranks}" / "run"
    if not run_dir.exists():
        words = ["train", tiny.config, f"run.dir={run_dir}", "tracking.uri=none", *UNCOMMITTED]
        (warm(*words, "cluster.workers=0") if ranks == 1 else warm.ranks(ranks, *words)).check()
    return numbers(run_dir)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("terminate", 143),
        pytest.param("interrupt", 130, marks=pytest.mark.nightly),
        pytest.param("hangup", 129, marks=pytest.mark.nightly),
    ],
)
def test_one_process_ends_after_the_step_and_goes_on_as_if_it_had_not(
    tiny: Files, warm: Warm, tmp_path: Path, how: str, code: int
) -> None:
    run_dir = tmp_path / "run"
    words = ["train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", *UNCOMMITTED]
    stopped = warm(*words, env={"JPO_FAULT": f"train:step@0@4@{how}"}).check(code)
    assert "step 4 is committed, and the same command goes on from there" in stopped.said
    assert lines_of(run_dir)[-1]["step"] == 4
    assert commits(run_dir) == ["step-00000004"]
    assert not (run_dir / STOP).exists()
    assert not (run_dir / "export").exists()
    run_id, status = tracked(run_dir)
    assert status == "KILLED"
    assert "resumed at step 4" in warm(*words).check().said
    assert numbers(run_dir) == uninterrupted(tiny, warm, 1)
    assert tracked(run_dir) == (run_id, "FINISHED")


@pytest.mark.nightly
def test_a_stop_in_the_last_step_is_the_end_of_the_run(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    words = ["train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", *UNCOMMITTED]
    warm(*words, env={"JPO_FAULT": "train:step@0@6@terminate"}).check()
    assert tracked(run_dir)[1] == "FINISHED"
    assert (run_dir / "export").exists()


@pytest.mark.nightly
@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_of_torchrun_end_together_whichever_of_them_is_told(
    tiny: Files, warm: Warm, tmp_path: Path, rank: int
) -> None:
    run_dir = tmp_path / "run"
    words = ["train", tiny.config, f"run.dir={run_dir}", *UNCOMMITTED]
    assert torchrun(*words, env={"JPO_FAULT": f"train:step@{rank}@3@terminate"}).code != 0
    assert commits(run_dir) == ["step-00000003"]
    assert tracked(run_dir)[1] == "KILLED"
    torchrun(*words).check()
    assert numbers(run_dir) == uninterrupted(tiny, warm, 2)


class OnTerminal(NamedTuple):
    """A command in a session and on a terminal of its own."""

    process: subprocess.Popen[bytes]
    terminal: int


def started(words: list[str], fired: Path) -> OnTerminal:
    """`jpo`, whose rank 0 waits at the start of its fourth step for the file beside `fired`."""
    fault = {"JPO_FAULT": "train:step@0@4@wait", "JPO_FAULT_ONCE": str(fired)}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher", *words], env=environment(fault), cwd=ROOT,
        start_new_session=True, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(theirs)
    return OnTerminal(process, ours)


def take_terminal() -> None:
    """The terminal on standard input becomes the session's own, so that Ctrl-C in it is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_until(terminal: int, text: bytes) -> bytes:
    """What the terminal shows until `text` is in it, or until its end."""
    seen = b""
    while text not in seen:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        seen += piece
    return seen


@pytest.mark.nightly
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_on_a_terminal(tiny: Files, warm: Warm, tmp_path: Path, workers: int) -> None:
    """Ctrl-C reaches every process of the terminal at once."""
    run_dir, fired = tmp_path / "run", tmp_path / "fired"
    words = ["train", tiny.config, f"run.dir={run_dir}", f"cluster.workers={workers}", *UNCOMMITTED]
    fault = [f"cluster.env.JPO_FAULT_ONCE={fired}", "cluster.env.JPO_FAULT=train:step@0@4@wait"] if workers else []
    process, terminal = started([*words, *fault], fired)
    seen = read_until(terminal, b"3/6")
    os.write(terminal, b"\x03")
    seen += read_until(terminal, b"once more ends it at once")
    (tmp_path / "fired.go").touch()
    seen += read_until(terminal, b"\0 never")
    os.close(terminal)
    assert process.wait(60) == 130, seen.decode()
    assert commits(run_dir) == ["step-00000004"]
    assert tracked(run_dir)[1] == "KILLED"
    left = subprocess.run(["pgrep", "-s", str(process.pid)], capture_output=True, text=True, check=False).stdout
    assert not left, "processes are left"
    warm(*words).check()
    assert numbers(run_dir) == uninterrupted(tiny, warm, max(1, workers))


@pytest.mark.nightly
def test_a_second_ctrl_c_ends_at_once(tiny: Files, tmp_path: Path) -> None:
    run_dir, fired = tmp_path / "run", tmp_path / "fired"
    words = ["train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "checkpoint.every=2"]
    process, terminal = started(words, fired)
    read_until(terminal, b"3/6")
    os.write(terminal, b"\x03")
    read_until(terminal, b"once more ends it at once")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2 * SAME_S)  # it goes on, and what comes now is a second signal
    os.write(terminal, b"\x03")
    read_until(terminal, b"\0 never")
    os.close(terminal)
    assert process.wait(60) == 130
    assert commits(run_dir) == ["step-00000002"]
    assert tracked(run_dir)[1] == "KILLED"
