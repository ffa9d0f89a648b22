"""Digests of the files of a folder, kept beside them: what was damaged since it was written is noticed, and named.

`digests.json`: {"files": {name: {"bytes", "xxh3"}}, "sha256"}, the last one over names and digests. It proves that
files are what was written, not who wrote them. So XXH3 of 128 bits will do, which takes as long as reading the file
does, a sixth of SHA-256; older versions wrote "sha256" in its place, and that is read too.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import xxhash

from jpo_dist.files import in_a_line, parsed, read_json, whole_lines, write_json
from jpo_dist.locks import boot

DIGESTS = "digests.json"
WEIGHTS = (".safetensors", ".bin")
"""How names of files of weights end."""
SAMPLES, SAMPLE_BYTES = 64, 16_384
"""How many samples of a file of weights, of so many bytes each, tell it from another."""
_LOOKED, _LOOKED_S = ".looked-at.json", 3600.0
"""A mark in a cache of files that were found whole, and for how long it counts: the ranks of one host start together,
and one of them reads many gigabytes for all."""


_KINDS: dict[str, Any] = {"xxh3": xxhash.xxh3_128, "sha256": hashlib.sha256}
_PIECE = 1 << 18
"""Bytes of a file that are read at once: they stay in the cache of a core."""


class Damaged(ValueError):
    """A file is not what was written."""


def size_and_digests(file: Path, *kinds: str) -> dict[str, Any]:
    """Size and digests of a file, which is read once: {"bytes": int, "xxh3": 32 hex digits, "sha256": 64}, of these the
    `kinds`; without any "xxh3"."""
    return {"bytes": file.stat().st_size, **_hashed(file, *(kinds or ("xxh3",)))}


def is_as_written(file: Path, about: Mapping[str, Any]) -> bool:
    """Whether the contents of `file` have the digest that `about` says. Raises Damaged where that has none that this
    version knows, OSError."""
    kind = kind_of(about)
    return bool(_hashed(file, kind)[kind] == about[kind])


def kind_of(about: Mapping[str, Any]) -> str:
    """Which digest a file was given, "xxh3" or "sha256". Raises Damaged where it is another."""
    kind = next((kind for kind in _KINDS if kind in about), None)
    if kind is None:
        raise Damaged("has no digest that this version knows, and may be of a newer one")
    return kind


def _hashed(file: Path, *kinds: str) -> dict[str, str]:
    hashes = {kind: _KINDS[kind]() for kind in kinds}
    with file.open("rb", buffering=0) as stream:
        while piece := stream.read(_PIECE):
            for one in hashes.values():
                one.update(piece)
    return {kind: one.hexdigest() for kind, one in hashes.items()}


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """What `digests.json` says of files."""
    files = {name: size_and_digests(folder / name) for name in sorted(names)}
    return {"files": files, "sha256": _of(files)}


def write_digests(folder: Path, names: Iterable[str]) -> None:
    """Write `digests.json` of these files of `folder` into it."""
    write_json(folder / DIGESTS, digests_of(folder, names))


def read_digests(file: Path, fix: str) -> dict[str, dict[str, Any]]:
    """What a `digests.json` says of each file by name; {} where there is none: an older version wrote the folder.

    Raises Damaged, with the `fix`, when it is damaged itself.
    """
    try:
        found = json.loads(file.read_bytes())
        files, total = found["files"], found["sha256"]
        known = {str(name): (int(about["bytes"]), str(about[kind_of(about)])) for name, about in files.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged(f"{file} is damaged; {fix}") from None
    if total != _of(files) or not known:
        raise Damaged(f"{file} is damaged: its own digest is another; {fix}")
    return dict(files)


def require(file: Path, about: dict[str, Any], fix: str) -> None:
    """Raises Damaged, which names the file and ends in the `fix`, unless `file` is as `read_digests` says."""
    problem = problem_with(file, about)
    if problem:
        raise Damaged(f"{file} {problem}; {fix}")


def problem_with(file: Path, about: dict[str, Any]) -> str | None:
    """What is wrong with a file, or None. A file that this process has looked at is not read again while it is the
    same by its name, size, time of change and inode."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return "is missing"
    if found.st_size != about["bytes"]:
        return f"has {found.st_size} bytes, {about['bytes']} were written"
    try:
        kind = kind_of(about)
    except Damaged as error:
        return str(error)
    if _digest(str(file), kind, found.st_size, found.st_mtime_ns, found.st_ino) != about[kind]:
        return "is damaged or was changed: its digest is another than when it was written"
    return None


@lru_cache(maxsize=1024)
def _digest(file: str, kind: str, size: int, changed: int, inode: int) -> str:
    return _hashed(Path(file), kind)[kind]


def _of(files: Any) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def folder_mark(folder: Path) -> str:
    """A mark that tells the weights in two folders apart, of models or of adapters, 32 hex digits: SHA-256 of samples
    from all over their files, so that none is read whole."""
    total = hashlib.sha256()
    for file in sorted(file for weights in WEIGHTS for file in folder.glob(f"*{weights}")):
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            for sample in range(SAMPLES):
                stream.seek(max(0, size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
                total.update(stream.read(SAMPLE_BYTES))
            total.update(str(size).encode())
    return total.hexdigest()[:32]


def with_digest(value: Mapping[str, Any]) -> bytes:
    """A line of JSON that ends in its `digest`."""
    text = in_a_line(value)
    return b'%b,"digest":"%b"}' % (text[:-1], _of_text(text))


def sound_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """The lines of a file without their `digest`; None for one that is not as it was written.

    An older version wrote no digests. In a file that has one somewhere, a line without it has lost it.
    """
    has_digests = any(b'"digest"' in line and "digest" in (parsed(line) or ()) for line in whole_lines(path))
    for line in whole_lines(path):
        value = parsed(line)
        known = value.pop("digest", None) if value is not None else None
        yield value if value is not None and (not has_digests or _is_its(known, line, value)) else None


def _is_its(known: Any, line: bytes, value: dict[str, Any]) -> bool:
    """Whether a digest is that of its line: of the bytes before it; or, where the line was written by another program
    or an older version, of what they mean."""
    text, end = line[: -len(_END)], line[-len(_END) :]
    if known == _of_text(text + b"}").decode() and end == b',"digest":"%b"}\n' % known.encode():
        return True
    return known in (_of_text(in_a_line(value)).decode(), digest_of_line(value))


_END = b',"digest":"0123456789abcdef"}\n'


def _of_text(text: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(text).encode()


_CANONICAL = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def digest_of_line(value: Any) -> str:
    """A short digest of what a line of JSON means, whatever the order of its keys."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()[:16]


def problem_in_cache(folder: Path, known: Mapping[str, dict[str, Any]]) -> str | None:
    """What is wrong with one of the files of a cache, with its name, or None. Another process of this host that has
    looked within the last hour has looked for this one too. Whoever calls holds the lock of the cache."""
    marks: dict[str, list[Any]] = {}
    for name in known:
        with suppress(OSError):
            found = (folder / name).stat()
            marks[name] = [found.st_size, found.st_mtime_ns, found.st_ino, known[name]]
    before = read_json(folder / _LOOKED)
    if before.get("files") == marks and before.get("boot") == boot() and 0 <= time.time() - before["at"] < _LOOKED_S:
        return None
    for name, about in known.items():
        problem = problem_with(folder / name, about)
        if problem:
            return f"{folder / name} {problem}"
    with suppress(OSError):
        write_json(folder / _LOOKED, {"boot": boot(), "at": time.time(), "files": marks})
    return None
