"""Two commands at once on one output, run folder or cache: the loser is told who holds the place, or both are right.

The first is frozen while it holds the place, so that nothing depends on which of them is faster.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from jpo_dist.locks import LOCK, alone_in, owner_of
from jpo_dist.run_dir import EXPORT
from tests.support.attacks import record
from tests.support.commands import ROOT, Files, Warm, environment, operator
from tests.support.hosts import wait_until
from tests.support.writing import ALONE, COMMANDS, Writing, exported, prepare, train

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3000)]

TOLD = {"loser told who holds the place": 1}
OTHERS = {
    "judge beside build": ("build", "judge", "output={}"),
    "build beside judge": ("judge", "build", "output={}"),
    "winrate beside generate": ("generate", "winrate", "output={}"),
    "generate beside build": ("build", "generate", "output={}"),
    "sft beside train": ("train", "sft", "run.dir={}"),
    "score beside generate": ("generate", "score", "score.output={}"),
    "study beside run": ("run", "study", "dir={}"),
}
"""The first, which holds the place, the second, and the override with which the second has the same output."""


@contextmanager
def frozen(words: tuple[str, ...], at: Callable[[int], bool]) -> Iterator[subprocess.Popen[bytes]]:
    """The command, stopped where `at`, given its process, says so. It goes on at the end, and ends well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher", *words], cwd=ROOT, env=environment(operator()), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: at(process.pid) or process.poll() is not None, 240, every_s=0.002)
        os.killpg(process.pid, signal.SIGSTOP)
        assert at(process.pid), "it was through before it could be stopped"
        yield process
        os.killpg(process.pid, signal.SIGCONT)
        assert process.wait(300) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def held_by(lock: Path) -> Callable[[int], bool]:
    """Whether a process has written into the lock that it holds it."""
    return lambda pid: owner_of(lock).startswith(f"process {pid} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_command_twice(name: str, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    """While somebody holds the place: this process does what the first of two commands does."""
    made = prepare(name, tmp_path / "out", tiny, warm)
    before = made.state(made.output)
    with alone_in(made.output / made.lock[0], lock=made.lock[1]):
        done = warm(*made.words)
    assert done.code == 1, done.said
    assert "is in use by" in done.said, done.said
    assert f"process {os.getpid()} on host" in done.said
    assert made.state(made.output) == before
    record("clash", name, 1, TOLD)


@pytest.mark.parametrize("pair", OTHERS)
def test_different_commands_on_one_output(pair: str, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    one, other, override = OTHERS[pair]
    first, second = (prepare(name, tmp_path / name, tiny, warm) for name in (one, other))
    with frozen(first.words, held_by(first.output / LOCK)) as process:
        done = warm(*second.words, override.format(first.output))
        assert done.code == 1, done.said
        assert "is in use by" in done.said, done.said
        assert f"process {process.pid} on host" in done.said
    assert first.state(first.output) is not None
    record("clash-others", pair, 1, TOLD)


def midway(folder: Path, tiny: Files) -> tuple[Writing, Callable[[int], bool]]:
    """A training, and whether it has committed and still goes on."""
    folder.mkdir()
    made = train(folder, tiny)
    manifest = made.output / "checkpoints" / "step-00000002" / "manifest.json"
    return made, lambda pid: manifest.exists() and exported(made.output) is None


def test_an_export_beside_a_training_writes_its_commit_and_both_are_right(
    tiny: Files, warm: Warm, alone: Path, tmp_path: Path
) -> None:
    made, at = midway(tmp_path / "run", tiny)
    with frozen(made.words, at):
        warm("export", tiny.config, f"run.dir={made.output}", *ALONE, "--commit", "2").check()
        early = exported(made.output)
        assert early not in (None, exported(alone))
    assert exported(made.output) == exported(alone)
    record("clash-others", "export beside train", 1, {"both right": 1})


def test_a_training_at_its_end_waits_for_another_export(tiny: Files, alone: Path, tmp_path: Path) -> None:
    made, log = train(tmp_path, tiny), tmp_path / "log"
    with ExitStack() as held, log.open("wb") as said:
        held.enter_context(alone_in(made.output, lock=f".{EXPORT}.lock"))
        process = subprocess.Popen(
            [sys.executable, "-m", "launcher", *made.words], cwd=ROOT, env=environment(operator()),
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
        try:
            waits = f"waiting for another export, process {os.getpid()} on host"
            wait_until(lambda: waits in log.read_text() or process.poll() is not None, 240)
            assert process.poll() is None, log.read_text()
            held.close()
            assert process.wait(300) == 0, log.read_text()
        finally:
            process.kill()
    assert exported(made.output) == exported(alone)


def test_an_evaluation_beside_a_training_and_both_are_right(
    tiny: Files, warm: Warm, alone: Path, tmp_path: Path
) -> None:
    made, at = midway(tmp_path / "run", tiny)
    with frozen(made.words, at):
        warm("evaluate", tiny.config, f"run.dir={made.output}", *ALONE, f"evaluate.policy={alone}/export").check()
        found = json.loads((made.output / "evaluation.json").read_text())
    assert exported(made.output) == exported(alone)
    other = prepare("evaluate", tmp_path / "other", tiny, warm)
    warm(*other.words).check()
    assert found["comparisons"] == other.state(other.output)
    record("clash-others", "evaluate beside train", 1, {"both right": 1})


def test_a_registration_beside_a_training_is_told(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    """In one MLflow run: both send what they have by the same files."""
    words = (tiny.config, f"run.dir={tmp_path / 'run'}", "cluster.workers=0")
    warm("train", *words).check()
    with frozen(("train", *words), held_by(tmp_path / "run" / LOCK)) as process:
        done = warm("register", *words, "--name", "tiny")
        assert done.code == 1, done.said
        assert f"process {process.pid} on host" in done.said
    assert "version 1: candidate" in warm("register", *words, "--name", "tiny").check().out
    record("clash-others", "register beside train", 1, TOLD)


def test_two_trainings_on_one_cache_are_both_right(tiny: Files, warm: Warm, alone: Path, tmp_path: Path) -> None:
    env = {"JPO_CACHE": str(tmp_path / "cache"), **operator()}
    words = [("train", tiny.config, f"run.dir={tmp_path / name}", *ALONE) for name in ("one", "other")]
    both = [subprocess.Popen(
        [sys.executable, "-m", "launcher", *of], cwd=ROOT, env=environment(env), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) for of in words]  # fmt: skip
    try:
        assert [process.wait(400) for process in both] == [0, 0]
    finally:
        for process in both:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert exported(tmp_path / "one") == exported(tmp_path / "other") == exported(alone)
    record("clash-others", "train beside train on one cache", 1, {"both right": 1})
