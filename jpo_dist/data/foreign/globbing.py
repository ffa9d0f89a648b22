"""The files that a pattern means. Links to folders are followed, each folder is looked into once."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

DEEPEST = 64
"""Folders below the one that a pattern begins with; what lies deeper is not looked for."""
_NOT_FILES = ("/proc", "/sys", "/dev")
"""What the kernel shows there has no end."""


def matches(pattern: str) -> list[Path]:
    """The files and folders that `pattern` matches, as `glob.glob(pattern, recursive=True)` finds them, in any order.

    A folder that `**` comes to twice, through a link to it or above it, is looked into once: else each of its rows
    would be read many times, or there would be no end.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        return [Path(match) for match in glob.glob(pattern)]
    first = next(n for n, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:first])
    wanted = parts[first:]
    own = [base] if set(wanted) == {"**"} and base.is_dir() else []
    files = (*wanted, "*") if wanted[-1] == "**" else wanted  # `**` at the end: files below it, but not a file itself
    return own + [
        base / found
        for found in _below(base, Path(), set(), 0)
        if _fits(found.parts, files if files == wanted or not (base / found).is_dir() else wanted)
    ]


def _below(base: Path, inside: Path, seen: set[tuple[int, int]], depth: int) -> Iterator[Path]:
    folder = base / inside
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # may not be looked into, or is gone
        return
    if (status.st_dev, status.st_ino) in seen or os.path.realpath(folder).startswith(_NOT_FILES):
        return
    seen.add((status.st_dev, status.st_ino))
    folders = []
    for entry in entries:
        yield inside / entry.name
        if depth < DEEPEST and _is_folder(entry):
            folders.append((entry.is_symlink(), entry.name))
    for _, name in sorted(folders):  # what is really there before what a link leads to
        yield from _below(base, inside / name, seen, depth + 1)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _fits(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        if _fits(parts, wanted[1:]):
            return True
        return bool(parts) and not parts[0].startswith(".") and _fits(parts[1:], wanted)
    if not parts or (parts[0].startswith(".") and not wanted[0].startswith(".")):
        return False
    return re.match(fnmatch.translate(wanted[0]), parts[0]) is not None and _fits(parts[1:], wanted[1:])
