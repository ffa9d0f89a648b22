"""Digests of what a stage reads, by content: a file that was touched is the same file, one that was edited is not."""

import glob
from pathlib import Path
from typing import Any

from jpo_dist.files import read_json, sha256, write_json
from jpo_dist.paths import resolve
from jpo_dist.records.comparisons import SPLITS, digest


class Contents:
    """Digests of files and folders. `memory` keeps them by size and time of change: weights are not read each time."""

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        self._known: dict[str, Any] = read_json(memory)
        self._before = dict(self._known)

    def of(self, path: Path) -> str:
        """The digest of a file, or of all files in a folder under their names."""
        if not path.is_dir():
            return self._file(path)
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        return digest([[file.relative_to(path).as_posix(), self._file(file)] for file in files])

    def _file(self, file: Path) -> str:
        stat = file.stat()
        mark = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(str(file.resolve()))
        if known is None or known[:2] != mark:
            known = [*mark, sha256(file)]
            self._known[str(file.resolve())] = known
        return str(known[2])

    def keep(self) -> None:
        """Write what was read to `memory`."""
        if self._known != self._before:
            write_json(self.memory, self._known)


NO_PATHS = frozenset({"name", "experiment", "template", "key_env", "uri"})
"""Settings whose text is never a path."""


def inputs(settings: dict[str, Any], pipeline: Path) -> dict[str, list[Path]]:
    """Every text in `settings` that names files or folders which are here, and these: data, models, prompts, programs.

    What is not here (a hub id, an address) stands for itself: its name is in the settings. A folder that holds the
    `pipeline` is no input, but a word that means something else.
    """
    found: dict[str, list[Path]] = {}
    for text in _texts(settings):
        paths = [path for path in _named(text) if not pipeline.resolve().is_relative_to(path.resolve())]
        if paths:
            found[text] = paths
    return found


def without_split(text: str) -> str:
    """`FOLDER:SPLIT` without its split; any other text as it is."""
    folder, _, split = text.rpartition(":")
    return folder if folder and split in SPLITS else text


def _texts(value: Any, key: str = "") -> list[str]:
    if isinstance(value, dict):
        return [text for name, one in value.items() for text in _texts(one, name)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one, key)]
    return [value] if isinstance(value, str) and key not in NO_PATHS else []


def _named(text: str) -> list[Path]:
    if not text or "\n" in text or len(text) > 4096:
        return []
    try:
        where = Path(resolve(without_split(text)))
    except (ValueError, FileNotFoundError):  # the stage's own command says what is wrong with it
        return []
    if where.exists():
        return [where]
    return sorted(Path(path) for path in glob.glob(str(where), recursive=True)) if glob.has_magic(text) else []
