"""A file that was damaged since its digest was taken is named."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import xxhash

from jpo_dist.digests import (
    DIGESTS,
    Damaged,
    digest_of_line,
    problem_with,
    read_digests,
    require,
    size_and_digest,
    sound_lines,
    write_digests,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(b"text")
    write_digests(tmp_path, ["a"])
    return tmp_path


def test_what_was_written_is_what_is_read(folder: Path) -> None:
    (about,) = read_digests(folder / DIGESTS, "").values()
    require(folder / "a", about, "")
    assert read_digests(folder / "nothing", "") == {}


@pytest.mark.parametrize("now", [b"texT", b"tex", b"text.", None])
def test_damage_is_named_with_the_fix(folder: Path, now: bytes | None) -> None:
    (about,) = read_digests(folder / DIGESTS, "").values()
    assert problem_with(folder / "a", about) is None
    (folder / "a").unlink()
    if now is not None:
        (folder / "a").write_bytes(now)
    with pytest.raises(Damaged, match=r"/a .*; make it again"):
        require(folder / "a", about, "make it again")


def test_a_folder_of_an_older_version_has_sha256(folder: Path) -> None:
    files = {"a": {"bytes": 4, "sha256": hashlib.sha256(b"text").hexdigest()}}
    total = hashlib.sha256(json.dumps(files, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    (folder / DIGESTS).write_text(json.dumps({"files": files, "sha256": total}))
    (about,) = read_digests(folder / DIGESTS, "").values()
    assert problem_with(folder / "a", about) is None
    (folder / "a").write_bytes(b"tex7")
    assert "is damaged" in str(problem_with(folder / "a", about))


def test_the_digest_is_that_of_xxhash_itself(folder: Path) -> None:
    """The published value of XXH3 of 128 bits for no input."""
    (folder / "none").write_bytes(b"")
    assert size_and_digest(folder / "none") == {"bytes": 0, "xxh3": "99aa06d3014798d86001c324468d497f"}
    assert size_and_digest(folder / "a")["xxh3"] == xxhash.xxh3_128_hexdigest(b"text")


def said_of(folder: Path) -> Any:
    try:
        return read_digests(folder / DIGESTS, "")
    except Damaged:
        return "damaged"


def test_any_byte_of_the_digests_themselves_counts(folder: Path) -> None:
    whole = (folder / DIGESTS).read_bytes()
    about = json.loads(whole)["files"]
    for at in range(len(whole)):
        for bit in (1, 32):
            (folder / DIGESTS).write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            assert said_of(folder) in (about, "damaged"), "equal: a space between the words"


def test_a_file_is_read_once_while_it_stays_the_same(folder: Path) -> None:
    (about,) = read_digests(folder / DIGESTS, "").values()
    assert problem_with(folder / "a", about) is None
    stat = (folder / "a").stat()
    with (folder / "a").open("r+b") as file:
        file.write(b"T")
    os.utime(folder / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert problem_with(folder / "a", about) is None, "looked at once a process, by name, size, time and inode"
    os.utime(folder / "a")
    assert problem_with(folder / "a", about) is not None


def test_a_line_that_has_lost_its_digest_is_no_line_of_an_older_version() -> None:
    """The fuzzer cut the digest out of a line together with the end of its text."""
    lines = [{"a": n} for n in range(3)]
    assert list(sound_lines(dict(line) for line in lines)) == lines
    kept = [{**line, "digest": digest_of_line(line)} for line in lines]
    assert list(sound_lines(dict(line) for line in kept)) == lines
    assert list(sound_lines([kept[0], {"a": 1}, {**kept[2], "a": 7}])) == [{"a": 0}, None, None]
