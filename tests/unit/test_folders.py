"""Outputs of several files are all new or all old, wherever a kill or an error ends the command."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jpo_dist import folders
from jpo_dist.folders import PLACING, placed, recover, replacing, settle, together

NAMES = ("a.txt", "b.txt", "c.txt")


def put(folder: Path, said: str) -> None:
    with together(folder) as files:
        for name in NAMES:
            files.write(name, said)


def seen(folder: Path) -> set[str]:
    return {placed(folder, name).read_text() for name in NAMES}


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in NAMES)


def test_files_are_put_in_their_places_beside_others(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    put(tmp_path, "one")
    put(tmp_path, "two")
    assert seen(tmp_path) == {"two"}
    assert left(tmp_path) == ["mine.txt"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    put(tmp_path, "one")
    with pytest.raises(RuntimeError), together(tmp_path) as files:
        raise RuntimeError(files.write("a.txt", "two"))
    assert seen(tmp_path) == {"one"}
    assert left(tmp_path) == []


def test_a_file_of_an_earlier_output_goes_with_it(tmp_path: Path) -> None:
    put(tmp_path, "one")
    with together(tmp_path) as files:
        files.write("a.txt", "two")
        files.write("b.txt", "two")
        files.without("c.txt")
        files.without("b.txt")
        files.without("never.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


WRITER = """
import os, signal, sys
from pathlib import Path
from jpo_dist import folders
folder, at = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def counted(function):
    def call(*args, **settings):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **settings)
    return call
for name in ("rename", "replace", "fsync", "mkdir", "rmdir"):
    setattr(os, name, counted(getattr(os, name)))
with folders.together(folder) as files:
    for name in ("a.txt", "b.txt", "c.txt"):
        files.write(name, "two")
print(calls)
"""


def killed_at(folder: Path, call: int) -> int:
    return subprocess.run([sys.executable, "-c", WRITER, folder, str(call)], check=False).returncode


def test_a_kill_at_any_step_leaves_all_old_or_all_new(tmp_path: Path) -> None:
    """The writer is killed before each call that changes the disk, in turn, until it is through."""
    outcomes = []
    for call in range(1, 40):
        folder = tmp_path / str(call)
        put(folder, "one")
        code = killed_at(folder, call)
        (said,) = seen(folder)
        outcomes.append(said)
        put(folder, "three")
        assert seen(folder) == {"three"}
        assert left(folder) == [], "what the killed one left is swept"
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert outcomes == sorted(outcomes), "first the old ones, then the new"
    assert {"one", "two"} == set(outcomes)


def test_a_reader_without_the_right_to_write_reads_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "one")
    (tmp_path / PLACING).mkdir()
    for name in NAMES[:2]:
        (tmp_path / PLACING / name).write_text("two")
    (tmp_path / "c.txt").write_text("two")  # placed already

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        assert seen(tmp_path) == {"two"}
    settle(tmp_path)
    assert seen(tmp_path) == {"two"}
    assert left(tmp_path) == []


def test_a_full_disk_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, together(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path)


def make(target: Path, said: str) -> None:
    with replacing(target) as aside:
        (aside / "in").mkdir()
        (aside / "in" / "file").write_text(said)


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool) -> None:
    if not exchanges:
        monkeypatch.setattr(folders, "exchange", lambda one, other: False)
    target = tmp_path / "model"
    make(target, "one")
    (target / "old").touch()
    make(target, "two")
    assert [path.name for path in target.iterdir()] == ["in"]
    assert (target / "in" / "file").read_text() == "two"
    with pytest.raises(RuntimeError), replacing(target):
        raise RuntimeError
    assert (target / "in" / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_old_folder_comes_back_where_names_cannot_be_exchanged(tmp_path: Path) -> None:
    (tmp_path / ".model.old").mkdir()
    recover(tmp_path / "model")
    assert (tmp_path / "model").is_dir()
    (tmp_path / ".model.old").mkdir()
    recover(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "disk")
    make(tmp_path / "model", "one")
    assert (tmp_path / "model").is_symlink()
    assert (tmp_path / "disk" / "in" / "file").read_text() == "one"


def test_names_are_exchanged_here(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not folders.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system exchanges no names")
    assert (tmp_path / "a" / "b").exists()
