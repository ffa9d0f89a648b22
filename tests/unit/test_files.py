"""Small files that a kill, an error or a second writer leaves whole."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jpo_dist.files import JsonLines, in_words, read_json, replace, text_of, write_json

WRITES_UNTIL_KILLED = """
import sys
from pathlib import Path
from jpo_dist.files import replace
path = Path(sys.argv[1])
for letter in "ab" * 10**6:
    replace(path, (letter * 1000 for _ in range(100)), sync=False)
    print(letter, flush=True)
"""


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(
    ("data", "there"), [("grün\n", "grün\n".encode()), (b"\x00\xff", b"\x00\xff"), (["a", "é"], "aé".encode())]
)
def test_the_new_contents_are_in_the_place_of_the_old(
    tmp_path: Path, data: str | bytes | list[str], there: bytes, sync: bool
) -> None:
    path = tmp_path / "a.json"
    path.write_text("something longer than what comes next")
    replace(path, data, sync=sync)
    assert path.read_bytes() == there
    assert left_in(tmp_path) == ["a.json"]


def test_a_reader_that_has_the_old_file_open_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    replace(path, "old", sync=False)
    with path.open() as file:
        replace(path, "new", sync=False)
        assert file.read() == "old"
        assert path.read_text() == "new"


def test_contents_are_on_the_disk_before_they_get_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("sync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("rename"), rename(a, b)))
    replace(tmp_path / "a", "x", sync=True)
    replace(tmp_path / "b", "x", sync=False)
    assert done == ["sync", "rename", "rename"]


def breaks() -> Iterator[str]:
    yield "half of the new"
    raise RuntimeError("the second half is not to be had")


def test_an_error_in_the_middle_leaves_the_old_contents_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="second half"):
        replace(path, breaks(), sync=True)
    with pytest.raises(UnicodeEncodeError):
        replace(path, "\udc80", sync=False)
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["a.json"]


def test_a_full_disk_leaves_the_old_contents_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    lines = JsonLines(path)
    lines.append({"a": 1})

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (lambda: replace(path, "new", sync=True), lambda: write_json(path, {}), lambda: lines.truncate(0)):
        with pytest.raises(OSError, match="No space left"):
            write()
    assert path.read_text() == '{"a":1}\n'
    assert left_in(tmp_path) == ["a.jsonl"]
    lines.append({"a": 2})  # the writer still has its file
    assert path.read_text() == '{"a":1}\n{"a":2}\n'


def test_a_rename_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace(tmp_path / "a", "x", sync=False)
    assert left_in(tmp_path) == ["a"]
    assert left_in(tmp_path / "a") == []


def test_others_may_read_it_as_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace(tmp_path / "a", "x", sync=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_of_many_writers_at_once_each_replacement_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    replace(path, "a" * 50_000, sync=False)
    start, seen = threading.Barrier(5), set[str]()

    def write(letter: str) -> None:
        start.wait()
        for _ in range(30):
            replace(path, (letter * 100 for _ in range(500)), sync=False)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "bcde"]
    for thread in threads:
        thread.start()
    start.wait()
    while any(thread.is_alive() for thread in threads):
        seen.add(path.read_text())
    for thread in threads:
        thread.join()
    assert all(len(text) == 50_000 and len(set(text)) == 1 for text in seen | {path.read_text()})
    assert left_in(tmp_path) == ["a"]


def test_a_killed_writer_leaves_one_of_the_two(tmp_path: Path) -> None:
    path = tmp_path / "a"
    writer = subprocess.Popen([sys.executable, "-c", WRITES_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(50):
        writer.stdout.readline()
    writer.kill()
    writer.wait()
    assert path.read_text() in ("a" * 100_000, "b" * 100_000)


def test_an_object_comes_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"step": 3, "name": "grün"})
    assert read_json(tmp_path / "a.json") == {"step": 3, "name": "grün"}
    (tmp_path / "a.json").write_text('{"step": ')
    assert read_json(tmp_path / "a.json") == read_json(tmp_path / "missing.json") == {}


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_is_read_in_the_encoding_that_its_mark_names(tmp_path: Path, coding: str) -> None:
    (tmp_path / "a.txt").write_text("grün 🍐\n", encoding=coding)
    assert text_of(tmp_path / "a.txt") == "grün 🍐\n"
    (tmp_path / "a.txt").write_bytes(b"")
    assert text_of(tmp_path / "a.txt") == ""


def test_an_error_in_words_has_no_number_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        (tmp_path / "a").read_bytes()
    assert in_words(missing.value) == f"No such file or directory: '{tmp_path / 'a'}'"
    assert in_words(ValueError("twice: [Errno 2] no; [Errno -2] nobody")) == "twice: no; nobody"
