"""Operators that are compiled on first use: a killed build keeps nobody waiting, a living one is waited for aloud."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch.utils.cpp_extension
from torch.utils import file_baton

from jpo_dist.distributed import build_lock, waiting
from jpo_dist.distributed.build_lock import (
    BuildError,
    OwnedBaton,
    build_root,
    building,
    compile_below,
    is_shared,
)
from jpo_dist.distributed.waiting import telling

PYTHON = f"py{sys.version_info.major}{sys.version_info.minor}"
PLAIN = file_baton.FileBaton
OWNER = """
import sys
from jpo_dist.distributed.build_lock import OwnedBaton
baton = OwnedBaton(sys.argv[1])
baton.try_acquire()
print("mine", flush=True)
sys.stdin.readline()
baton.release()
"""
PLAIN_OWNER = """
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_EXCL)
print("mine", flush=True)
sys.stdin.readline()
os.remove(sys.argv[1])
"""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(OwnedBaton, "tell", staticmethod(heard.append))
    monkeypatch.setattr(torch.utils.cpp_extension, "FileBaton", PLAIN)
    monkeypatch.setattr(file_baton, "FileBaton", PLAIN)
    return heard


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    folder = tmp_path / "deepspeed_shm_comm"
    folder.mkdir()
    return folder / "lock"


@contextmanager
def owner(script: str, lock: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", script, str(lock)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def acquired(lock: Path, before: Callable[[], object] = lambda: None) -> OwnedBaton:
    """A baton, asked for in a thread; `before` happens once that waits."""
    baton, got = OwnedBaton(str(lock)), threading.Event()
    thread = threading.Thread(target=lambda: (baton.try_acquire(), got.set()), daemon=True)
    thread.start()
    assert before() is None or not got.is_set()
    assert got.wait(20), "waits for an owner that is gone"
    return baton


def test_the_lock_of_a_build_that_was_killed_is_broken_and_said(lock: Path, said: list[str]) -> None:
    with owner(OWNER, lock) as process:
        assert json.loads(lock.read_text())["pid"] == process.pid
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lock.exists(), "a kill leaves it behind: that is the trap"
        acquired(lock).release()
    assert [line for line in said if "its last build did not end" in line]
    assert not lock.exists()


def test_torchs_own_lock_that_was_left_behind_is_broken_too(lock: Path, said: list[str]) -> None:
    """Of an earlier version, or of another program: nothing is written in it."""
    with owner(PLAIN_OWNER, lock) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        acquired(lock).release()
    assert str(lock) in said[0]


@pytest.mark.parametrize("script", [OWNER, PLAIN_OWNER], ids=["ours", "torch's"])
def test_an_owner_that_lives_is_waited_for_and_named(
    lock: Path, said: list[str], script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_lock, "telling", lambda what, tell: telling(what, tell, first_s=0.01))
    with owner(script, lock) as process:

        def once_it_was_said() -> bool:
            until = time.monotonic() + 20
            while not said:
                assert time.monotonic() < until, "a silent wait"
                time.sleep(0.01)
            assert lock.exists()
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return False

        acquired(lock, once_it_was_said).release()
        named = f"process {process.pid} on host" if script is OWNER else f"another program, which has {lock}"
    assert named in said[0]
    assert "to compile operator deepspeed_shm_comm" in said[0]
    assert not [line for line in said if "did not end" in line]


def test_a_compiler_that_outlives_its_killed_parent_is_waited_for(lock: Path, said: list[str]) -> None:
    """Two of them would write one file."""
    lock.touch()
    compiler = subprocess.Popen(["sleep", "60"], cwd=lock.parent)
    try:
        assert build_lock.is_in_use(lock, lock.stat())
    finally:
        compiler.kill()
        compiler.wait()
    assert not build_lock.is_in_use(lock, lock.stat())


def test_on_a_disk_of_several_hosts_a_lock_without_owner_has_to_be_old(
    lock: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_lock, "is_shared", lambda path: True)
    lock.touch()
    got = threading.Event()
    baton = OwnedBaton(str(lock))
    thread = threading.Thread(target=lambda: (baton.try_acquire(), got.set()), daemon=True)
    thread.start()
    assert not got.wait(0.5)
    os.utime(lock, (0, 0))
    assert got.wait(20)
    baton.release()


def test_a_lock_of_tomorrow_is_waited_for_no_longer_than_any(
    lock: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a clock that was put back leaves it: by that clock it never gets old."""
    monkeypatch.setattr(build_lock, "is_shared", lambda path: True)
    monkeypatch.setattr(build_lock, "FOREIGN_S", 0.3)
    lock.touch()
    os.utime(lock, (time.time() + 86400,) * 2)
    acquired(lock).release()


def test_every_operator_that_torch_compiles_has_an_owner(tmp_path: Path, said: list[str]) -> None:
    with building(said.append, lambda: True):
        assert torch.utils.cpp_extension.FileBaton is OwnedBaton
    assert file_baton.FileBaton is OwnedBaton


def test_a_compiler_that_fails_is_one_sentence(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    with pytest.raises(BuildError, match=r"cannot be compiled by CXX=no-such-compiler: Error building .*--build`"), \
            building(said.append, lambda: False):  # fmt: skip
        raise RuntimeError("Error building extension 'deepspeed_shm_comm'\nand a page more")
    with pytest.raises(RuntimeError, match="something else"), building(said.append, lambda: True):
        raise RuntimeError("something else")


def test_a_place_to_compile_in_that_cannot_be_written_to_is_named(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "file"
    place.touch()
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(place))
    said_of = rf"^TORCH_EXTENSIONS_DIR \({place}\) cannot be written to: Not a directory; "
    with pytest.raises(ValueError, match=said_of), building(said.append, lambda: False):
        (place / "operator").mkdir()


def test_the_disk_of_this_test_is_no_networks(tmp_path: Path) -> None:
    assert not is_shared(tmp_path)


def test_no_wait_is_silent_for_half_a_minute() -> None:
    assert waiting.FIRST_S <= 30
    assert waiting.EVERY_S <= 30


def compiled(cache: Path, *packages: str, name: str = f"{PYTHON}_cpu") -> None:
    """What torch leaves in its folder of an operator, for an environment with these packages."""
    folder = cache / "torch_extensions" / name / "deepspeed_shm_comm"
    folder.mkdir(parents=True, exist_ok=True)
    text = " ".join(f"-isystem {place}/include" for place in packages)
    (folder / "build.ninja").write_text(f"cflags = -O2 {text} -fPIC\n")


def test_each_environment_compiles_in_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the one that has compiled in torch's folder already, and where TORCH_EXTENSIONS_DIR says where."""
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    usual = tmp_path / "torch_extensions"
    mine, other = ("/a/site/torch", "/a/site/deepspeed"), ("/b/site/torch", "/b/site/deepspeed")
    own = build_root(mine, "2.13 0.19")
    assert own.parent == usual, "a folder below torch's"
    assert own == build_root(mine, "2.13 0.19"), "the same for each process"
    assert len({own, build_root(other, "2.13 0.19"), build_root(mine, "2.14 0.19"), usual}) == 4
    compiled(tmp_path, *other, name="py27_cpu")
    compiled(tmp_path, *mine)
    assert build_root(mine, "2.13 0.19") == usual, "what is compiled there already is found"
    assert build_root(other, "2.13 0.19") != usual
    compiled(tmp_path, *other)
    assert build_root(mine, "2.13 0.19") == own
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "given"))
    assert build_root(mine, "2.13 0.19") == tmp_path / "given"


def test_torch_compiles_in_the_place_that_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's own function; the environment, which Ray's workers on other hosts get, says nothing of it."""
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setattr(torch.utils.cpp_extension, "get_default_build_root", lambda: "elsewhere")
    before = dict(os.environ)
    compile_below(tmp_path / "jpo-1")
    found = torch.utils.cpp_extension._get_build_directory("deepspeed_shm_comm", False)
    assert Path(found).is_relative_to(tmp_path / "jpo-1")
    assert Path(found).parent.name.startswith(PYTHON), "as build_root looks for it"
    assert dict(os.environ) == before
