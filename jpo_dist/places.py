"""Where rows are: files, folders, globs, hub data sets, ComparisonSet folders, files inside an installed package."""

import glob
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jpo_dist.formats import FORMATS, Columns, Rows, rows_of
from jpo_dist.paths import resolve
from jpo_dist.records import TEST, TRAIN, VALIDATION, ComparisonSet

# What `datasets` writes beside its tables: JSON, but not rows.
_NOT_DATA = frozenset({"dataset_info.json", "state.json", "dataset_dict.json"})
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")
ALL = "all"


class Table(NamedTuple):
    """Something with rows: `name` for errors, `label` for the `source` of a comparison (no folder: runs move)."""

    name: str
    label: str
    rows: Callable[[Columns], Rows]


def open_place(where: str, ignored: list[str]) -> list[Table | ComparisonSet]:
    path = Path(resolve(where))
    if path.is_dir():
        return _open_folder(path, ignored)
    if path.is_file():
        return [_open_file(path)]
    folder, _, split = where.rpartition(":")
    if split in (TRAIN, VALIDATION, TEST, ALL) and is_set(Path(resolve(folder))):
        return [_open_set(Path(resolve(folder)), split)]
    if re.search(r"[*?\[]", where):
        return _open_glob(str(path), ignored)
    if _HUB_ID.fullmatch(where) and path.suffix.lower() not in FORMATS:
        return [Table(where, where, lambda columns: _hub_rows(where))]
    raise FileNotFoundError(f"{where}: no such file or folder, seen from {Path.cwd()}; correct the path")


def _open_file(path: Path) -> Table:
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"{path}: extension {path.suffix!r} is none of {' '.join(FORMATS)}; convert or rename the file"
        )
    return Table(str(path), path.name, lambda columns: rows_of(path, columns))


def _open_folder(folder: Path, ignored: list[str]) -> list[Table | ComparisonSet]:
    if is_set(folder):
        return [_open_set(folder, None)]
    data = _data_files([path for path in sorted(folder.iterdir()) if not path.name.startswith(".")], ignored)
    if not data:
        raise FileNotFoundError(f"{folder}: no {' '.join(FORMATS)} files in this folder; name the folder they are in")
    return [_open_file(path) for path in data]


def is_set(folder: Path) -> bool:
    """Is this a ComparisonSet folder?"""
    return all((folder / name).is_file() for name in ("items.parquet", "comparisons.parquet"))


def _open_set(folder: Path, split: str | None) -> ComparisonSet:
    """Without a name, the training split of a set that has splits: the others are there to be held out."""
    found = ComparisonSet.read(folder)
    if split == ALL or (split is None and not found.splits):
        return found
    try:
        return found.split(split or TRAIN)
    except KeyError as error:
        raise ValueError(f"{folder}:{split}: {error.args[0]}; name one of them, or {ALL}") from error


def validation_of(where: str | list[str]) -> str | None:
    """The validation split that comes with training data, when it is one ComparisonSet folder that has one."""
    if not isinstance(where, str):
        return None
    folder = where.removesuffix(f":{TRAIN}")
    path = Path(resolve(folder))
    return f"{folder}:{VALIDATION}" if is_set(path) and VALIDATION in ComparisonSet.read(path).splits else None


def _open_glob(pattern: str, ignored: list[str]) -> list[Table | ComparisonSet]:
    matches = sorted(Path(match) for match in glob.glob(pattern, recursive=True))
    folders = [path for path in matches if (path / "items.parquet").is_file()]
    data = _data_files([path for path in matches if path not in folders], ignored)
    if not data and not folders:
        raise FileNotFoundError(f"{pattern}: no data file matches, seen from {Path.cwd()}; correct the pattern")
    return [part for folder in folders for part in _open_folder(folder, ignored)] + [_open_file(p) for p in data]


def _data_files(paths: list[Path], ignored: list[str]) -> list[Path]:
    data = [p for p in paths if p.is_file() and p.suffix.lower() in FORMATS and p.name not in _NOT_DATA]
    ignored.extend(str(path) for path in paths if path not in data)
    return data


def _hub_rows(where: str) -> Rows:
    import datasets  # seconds to import, and only hub ids need it

    name, _, split = where.partition(":")
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{where}: neither here (seen from {Path.cwd()}) nor readable on the hub: {error}; "
            "correct the name, or download the files and name them"
        ) from error
    yield from enumerate(rows, 1)
