"""Files that survive a kill: written aside and renamed, synced, appended to by one writer, read back torn or not."""

import codecs
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",  # before the others, which they begin like
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig",
}  # fmt: skip
LONGEST_MARK = max(map(len, _MARKS))


def coding_of(start: bytes) -> str:
    """The encoding that the first bytes of a text name by their mark, as programs of Windows write it; without one
    UTF-8."""
    return next((coding for mark, coding in _MARKS.items() if start.startswith(mark)), "utf-8")


def text_of(path: Path) -> str:
    """The text of a file that a person or another program wrote, without its byte order mark. Raises OSError, and
    UnicodeDecodeError where it is not in the encoding that it names."""
    with path.open("rb") as file:
        coding = coding_of(file.read(LONGEST_MARK))
    return path.read_text(encoding=coding)


_NUMBER = re.compile(r"\[Errno -?\d+\] ")


def in_words(error: BaseException | str) -> str:
    """What an error says, without the system's number for it: that is of no use in a sentence for people."""
    return _NUMBER.sub("", str(error))


def read_lines(path: Path, offset: int = 0, start: bytes = b"{") -> Iterator[tuple[dict[str, Any], int]]:
    """Yields the JSON objects of `path` from byte `offset`, each with the offset behind it. A missing file has none.

    `start`: only lines that begin so; the others are not even parsed.

    A last line without its newline is still being written, or was torn by a kill: it is not there yet. A damaged line
    is skipped.
    """
    for line in whole_lines(path, offset):
        offset += len(line)
        value = parsed(line) if line.startswith(start) else None
        if value is not None:
            yield value, offset


def whole_lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Yields the lines of `path` from byte `offset` up to the last newline. A missing file has none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if line.endswith(b"\n"):
                yield line


def in_a_line(value: Mapping[str, Any]) -> bytes:
    """JSON without spaces or a newline. Raises ValueError for NaN and infinities."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def parsed(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line; None where there is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class JsonLines:
    """A JSON-lines file with one writer: the newest process that opened it.

    Opening, and every cut, puts a copy in the file's place. A process of an older attempt that hangs and wakes up
    later still holds the file that was replaced: what it appends is lost and cannot mix with ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = -1
        self.offset = _complete_bytes(path)
        self.truncate(self.offset)

    def truncate(self, offset: int) -> None:
        """Keep the first `offset` bytes; a crash leaves the old file or the new one.

        Raises ValueError when there are fewer bytes, or when a line would be torn.
        """
        kept = self.path.read_bytes()[:offset] if self.path.exists() else b""
        if len(kept) < offset or (kept and not kept.endswith(b"\n")):
            raise ValueError(f"{self.path}: byte {offset} is not the end of a line of this file; cut by step instead")
        aside = _aside(self.path)
        # Not by `replace`: appending goes on in the file that was renamed, through this descriptor.
        fd = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            _write(fd, kept, aside)
            os.fsync(fd)
            os.replace(aside, self.path)
        except BaseException:
            os.close(fd)
            with suppress(OSError):
                aside.unlink()
            raise
        self.close()
        self._fd, self.offset = fd, offset
        sync_folder(self.path.parent)

    def append(self, value: Mapping[str, Any]) -> None:
        """Add a line; see `add`."""
        self.add(in_a_line(value))

    def add(self, text: bytes) -> None:
        """Add one line by one write to the system: a kill of the process leaves it, a crash of the machine may not."""
        line = text + b"\n"
        try:
            with naming(self.path):
                _write(self._fd, line, self.path)
        except OSError:
            os.ftruncate(self._fd, self.offset)  # a full disk takes half a line: the next one must not stick to it
            raise
        self.offset += len(line)

    def sync(self) -> None:
        """Return when every line is on the disk."""
        os.fsync(self._fd)

    @property
    def superseded(self) -> bool:
        """Another process has opened the file since: this one belongs to an attempt that is over."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return True
        mine = os.fstat(self._fd)
        return (mine.st_dev, mine.st_ino) != (now.st_dev, now.st_ino)

    def close(self) -> None:
        """Give the file back; lines that were appended stay."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _write(fd: int, data: bytes, path: Path) -> None:
    written = os.write(fd, data) if data else 0
    while written < len(data):
        more = os.write(fd, data[written:])
        if more == 0:
            raise OSError(f"{path}: only {written} of {len(data)} bytes could be written; is the disk full?")
        written += more


def _complete_bytes(path: Path) -> int:
    """How many bytes `path` has up to and with its last newline; 0 without a file."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def sync_folder(folder: Path) -> None:
    """Return when the names in `folder` (after a create or a rename) are on the disk."""
    sync_file(folder)


def read_json(path: Path) -> dict[str, Any]:
    """The object that `write_json` put into a file; {} when it is missing or was torn by a crash."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put `value` in the place of a small file; see `replace`."""
    replace(path, json.dumps(value, indent=1) + "\n", sync=True)


def replace(path: Path, data: str | bytes | Iterable[str], *, sync: bool) -> None:
    """Write `data` (text as UTF-8; an iterable: piece by piece) aside and rename it to `path`, whose folder must exist.

    Readers see the old contents or the new, never a part; of two writers at once, one wins whole. With `sync` that also
    holds for a machine that loses power, which may else keep the name without the contents (see also `sync_folder`).
    After an error `path` is as it was, and what was written aside is gone. The mode is that of any new file.
    """
    aside = _aside(path)
    pieces = [data] if isinstance(data, str | bytes) else data
    try:
        with naming(path), aside.open("xb") as file:
            for piece in pieces:
                file.write(piece.encode() if isinstance(piece, str) else piece)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Inside, an error of the system that names no file (one of a write never does) gets the name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def _aside(path: Path) -> Path:
    """A name in the same folder that nobody else writes to, and that no reader looks for."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def sha256(path: Path) -> str:
    """Digest of the contents, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Return when what this host wrote to `path` is on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
