"""How much of a file is looked at together, and whether it stayed the same while it was read."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO


@contextmanager
def unchanged(file: Path) -> Iterator[None]:
    """Inside, `file` is read. Raises ValueError at the end where somebody has written to it meanwhile: rows would be
    missing, or be of two versions."""
    before = _mark(file)
    yield
    if _mark(file) != before:
        raise ValueError("it was changed while it was read; read it again when nobody writes to it")


def _mark(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0, 0, 0
    return found.st_size, found.st_mtime_ns, found.st_ino


def lines(stream: BinaryIO, most: int) -> Iterator[bytes | None]:
    """The lines of a stream, with their ends. None: a line of more than `most` bytes, which is passed over."""
    is_inside = False
    for piece in iter(partial(stream.readline, most), b""):
        is_whole = len(piece) < most or piece.endswith(b"\n")
        if not is_inside:
            yield piece if is_whole else None
        is_inside = not is_whole
