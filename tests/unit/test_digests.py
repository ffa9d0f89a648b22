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
    problem_in_cache,
    problem_with,
    read_digests,
    require,
    size_and_digests,
    sound_lines,
    with_digest,
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


def test_a_cache_of_a_newer_version_is_made_again(folder: Path) -> None:
    assert "no digest that this version knows" in str(problem_in_cache(folder, {"a": {"bytes": 4, "blake9": "0"}}))


def test_the_digest_is_that_of_xxhash_itself(folder: Path) -> None:
    """The published value of XXH3 of 128 bits for no input."""
    (folder / "none").write_bytes(b"")
    assert size_and_digests(folder / "none") == {"bytes": 0, "xxh3": "99aa06d3014798d86001c324468d497f"}
    assert size_and_digests(folder / "a")["xxh3"] == xxhash.xxh3_128_hexdigest(b"text")


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


LINES: list[dict[str, Any]] = [{"a": n, "text": 'é "b"\n', "digests": ["digest"]} for n in range(3)]


def read_back(folder: Path, *lines: bytes) -> list[Any]:
    (folder / "a.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return list(sound_lines(folder / "a.jsonl"))


def test_a_line_that_has_lost_its_digest_is_no_line_of_an_older_version(tmp_path: Path) -> None:
    """The fuzzer cut the digest out of a line together with the end of its text."""
    bare = [json.dumps(line).encode() for line in LINES]
    assert read_back(tmp_path, *bare) == LINES
    kept = [with_digest(line) for line in LINES]
    assert read_back(tmp_path, *kept) == LINES
    assert read_back(tmp_path, kept[0], bare[1], kept[2].replace(b'"a":2', b'"a":7'), b"no JSON") == [
        LINES[0], None, None, None
    ]  # fmt: skip


def test_a_line_that_another_program_wrote_again_is_the_same_line(tmp_path: Path) -> None:
    again = [json.dumps(json.loads(with_digest(line)), ensure_ascii=False, indent=None).encode() for line in LINES]
    assert b", " in again[0]
    assert read_back(tmp_path, *again) == LINES


def test_a_line_of_an_older_version_has_the_digest_of_its_meaning(tmp_path: Path) -> None:
    old = [json.dumps({**line, "digest": digest_of_line(line)}).encode() for line in LINES]
    assert read_back(tmp_path, *old) == LINES
    assert read_back(tmp_path, old[0].replace(b'"a": 0', b'"a": 1'), with_digest(LINES[1])) == [None, LINES[1]]


def test_any_byte_of_a_line_counts(tmp_path: Path) -> None:
    line = with_digest(LINES[0])
    for at in range(len(line)):
        for bit in (1, 2, 32):
            (found, other) = read_back(tmp_path, line[:at] + bytes([line[at] ^ bit]) + line[at + 1 :], line)
            assert found in (None, LINES[0])
            assert other == LINES[0]
