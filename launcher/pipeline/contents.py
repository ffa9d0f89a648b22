"""Digests of what a stage reads, by content: a file that was touched is the same file, one that was edited is not."""

import ast
import glob
import sys
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from jpo_dist.data.file_formats import format_of
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


NO_PATHS = frozenset({"name", "experiment", "template", "key_env", "key_file", "uri"})
"""Settings whose text is never a path, or one to a file that decides nothing."""
PROGRAMS = frozenset({"checker", "function"})
"""Settings whose text is MODULE:FUNCTION."""


def inputs(settings: dict[str, Any], pipeline: Path) -> dict[str, list[Path]]:
    """Every text in `settings` that names files or folders which are here, and these: data, models, prompts, programs.

    What is not here (a hub id, an address) stands for itself: its name is in the settings. Of a folder that holds the
    `pipeline` the data files in it are inputs, which is what is read of it, and the folders are not.
    """
    found: dict[str, list[Path]] = {}
    for key, text in _texts(settings):
        paths = program_files(text) if key in PROGRAMS else []
        paths = paths or [read for path in _named(text) for read in _read_of(path, pipeline)]
        if paths:
            found[text] = paths
    return found


def program_files(function: str) -> list[Path]:
    """The files of the module in MODULE:FUNCTION, of a package all of its, and of what these import as far as that is
    not installed; [] where the module is not here, or part of jpo_dist, whose own code is in no key. They are found and
    not imported."""
    found: dict[str, list[Path]] = {}
    wanted = [function.partition(":")[0].partition(".")[0]]
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = _files_of(name, also_installed=not found)
            wanted += [one for file in found[name] if not _is_installed(file) for one in _imported(file)]
    first, *others = found.values()
    return first + sorted(file for files in others for file in files)


def _files_of(module: str, also_installed: bool) -> list[Path]:
    if not module.isidentifier() or module == "jpo_dist":
        return []
    spec = PathFinder.find_spec(module, [*sys.path, str(Path.cwd())])  # stages are started where this process is
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]  # also without __init__.py
    places = folders or [Path(str(spec.origin))]
    if not also_installed and any(map(_is_installed, places)):
        return []
    if spec.submodule_search_locations is not None:
        return sorted(file for folder in folders for file in folder.rglob("*.py"))
    return [file for file in places if file.is_file()]


def _is_installed(file: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(file.parts)


def _imported(file: Path) -> frozenset[str]:
    """First names of the modules that a file of Python imports, wherever in it, by their whole names."""
    stat = file.stat()
    return _imported_then(file, stat.st_size, stat.st_mtime_ns)


@cache  # a study asks for each of its cells
def _imported_then(file: Path, size: int, changed_ns: int) -> frozenset[str]:
    """What a file imports as long as it has this size and time of change."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # whoever imports it says so
        return frozenset()
    names = [one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    return frozenset(name.partition(".")[0] for name in names) - sys.stdlib_module_names


def without_split(text: str) -> str:
    """`FOLDER:SPLIT` without its split, as `open_place` takes it; any other text as it is."""
    folder, _, split = text.rpartition(":")
    if not folder or _is_there(text):
        return text
    return folder if split in SPLITS or _is_there(folder) else text


def _texts(value: Any, key: str = "") -> list[tuple[str, str]]:
    """(key, text) of each text."""
    if isinstance(value, dict):
        return [found for name, one in value.items() for found in _texts(one, name)]
    if isinstance(value, list):
        return [found for one in value for found in _texts(one, key)]
    return [(key, value)] if isinstance(value, str) and key not in NO_PATHS else []


def _is_there(text: str) -> bool:
    try:
        return Path(resolve(text)).exists()
    except (ValueError, OSError):  # the stage's own command says what is wrong with it
        return False


def _read_of(path: Path, pipeline: Path) -> list[Path]:
    if not pipeline.resolve().is_relative_to(path.resolve()):
        return [path]
    visible = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    return sorted(file for file in visible if format_of(file))


def _named(text: str) -> list[Path]:
    if not text or "\n" in text or len(text) > 4096:
        return []
    text = without_split(text)
    if _is_there(text):
        return [Path(resolve(text))]
    try:
        where = resolve(text)
    except (ValueError, FileNotFoundError):
        return []
    return sorted(Path(path) for path in glob.glob(str(where), recursive=True)) if glob.has_magic(text) else []
