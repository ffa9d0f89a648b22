"""Where rows are: files, folders, globs, hub data sets, ComparisonSet folders, files inside an installed package."""

import glob
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.data.file_formats import FORMATS, Columns, Rows, format_of, rows_of
from jpo_dist.data.foreign.globbing import matches
from jpo_dist.data.foreign.inside import names_files, refuse_outside, require_inside
from jpo_dist.digests import DIGESTS, Damaged, read_digests, require
from jpo_dist.paths import resolve
from jpo_dist.proxies import no_answer_of_hub
from jpo_dist.records.comparisons import TRAIN, VALIDATION, ComparisonSet
from jpo_dist.records.folder import COMPARISONS, ITEMS, is_set, read_set, split_names
from jpo_dist.records.split import part_of, splits_in

# What `datasets` writes beside its tables: JSON, but not rows.
_NOT_DATA = frozenset({"dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json", DIGESTS})
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")
ALL = "all"
ANSWERS_FIX = f"make the answers again (if you changed them yourself: remove {DIGESTS})"
ANSWERS, ASKED = "part-*.jsonl", "prompts.jsonl"
"""Answers in a folder of `jpo generate`, and the file of what was asked, which tells such a folder and is no data."""
_WORDS = {"train": "train|training", "validation": "validation|valid|val|dev", "test": "test|testing|eval|evaluation"}
_NAMES = {split: re.compile(rf"(.*[-._ 0-9])?({words})[-._ 0-9].*", re.DOTALL) for split, words in _WORDS.items()}
"""Names of files that are of a split, as `datasets` knows them."""


class NotOnHub(FileNotFoundError):
    """A hub data set that cannot be read from here."""


class Table(NamedTuple):
    """A file or hub data set: `name` is for errors, `label` for the `source` of a comparison (no folder: runs move)."""

    name: str
    label: str
    rows: Callable[[Columns], Rows]


def open_place(where: str, ignored: list[str]) -> list[Table | ComparisonSet]:
    """Find what `where` names: a file, folder, FOLDER:SPLIT, glob, hub id, or `package:MODULE/FILE`.

    Returns one Table for each file, in the order of their names, whose rows are not read yet, and a ComparisonSet for
    each set folder. Files in folders and globs that are no data are added to `ignored`. Raises FileNotFoundError when
    nothing is there, and ValueError for a file of an unknown format and for a split that a set lacks. A hub id that
    cannot be read raises FileNotFoundError when its rows are.
    """
    path = Path(resolve(where))
    if path.is_dir():
        return _open_folder(path, None, ignored)
    if path.is_file():
        return [_open_file(path)]
    folder, _, split = where.rpartition(":")
    if folder and Path(resolve(folder)).is_dir():
        return _open_folder(Path(resolve(folder)), split, ignored)
    if re.search(r"[*?\[]", where):
        return _open_glob(str(path), ignored)
    # `sets/mine` beside a folder `sets` is a slip of the pen, and the hub would be asked for it for half a minute.
    if _HUB_ID.fullmatch(where) and format_of(path) is None and not Path(where).parent.is_dir():
        return [Table(where, where, lambda columns: _hub_rows(where))]
    raise FileNotFoundError(f"{where}: no such file or folder, seen from {Path.cwd()}; correct the path")


def source_files(where: str, ignored: list[str]) -> list[Path] | None:
    """The files that `open_place` would read, in order, without reading them; None where it cannot be told beforehand:
    hub data sets, and folders of sets that a pattern matches. Raises what `open_place` raises."""
    for folder in (where, where.rpartition(":")[0]):
        if folder and is_set(Path(resolve(folder))):
            return [Path(resolve(folder)) / name for name in (ITEMS, COMPARISONS)]
    if re.search(r"[*?\[]", where) and any(is_set(match) for match in matches(resolve(where))):
        return None
    files = [Path(place.name) for place in open_place(where, ignored) if isinstance(place, Table)]
    return files if all(file.is_file() for file in files) else None


def _open_file(path: Path) -> Table:
    if format_of(path) is None:
        raise ValueError(
            f"{path}: extension {path.suffix!r} is none of {' '.join(FORMATS)}; convert or rename the file"
        )
    return Table(str(path), path.name, lambda columns: rows_of(path, columns))


def _open_folder(folder: Path, split: str | None, ignored: list[str]) -> list[Table | ComparisonSet]:
    if is_set(folder):
        return [_open_set(folder, split)]
    if split is None and (answers := _answers_in(folder)):
        return [_open_file(path) for path in answers]
    beside: list[str] = []  # what is left of other places is none of this one's
    files = None if split else _files_in(folder, beside)
    if files is None:
        files = _files_of_split(folder, split, beside)
    ignored += beside
    return [_open_file(path) for path in files]


def _files_in(folder: Path, ignored: list[str]) -> list[Path] | None:
    """The data files directly in a folder, and of a copy of a hub data set those for training; None where there are
    none, or its README says which is of which split. Raises FileNotFoundError where all are of other splits."""
    data = _data_files([path for path in sorted(folder.iterdir()) if not path.name.startswith(".")], ignored)
    told = _num_told(folder, data) if data and names_files(folder) else 0
    if told:
        return data if told == 1 else None
    splits = _splits_by_name(data)
    if len(splits) < 2:
        return data or None
    if TRAIN not in splits:
        raise FileNotFoundError(_no_split(folder, TRAIN, splits))
    ignored += [str(path) for path in data if path not in splits[TRAIN]]
    return splits[TRAIN]


def _num_told(folder: Path, files: list[Path]) -> int:
    """The number of splits that these files are of, as the README of their folder says; 0 where it says nothing."""
    here = {path.resolve() for path in files}
    try:
        told = _splits_told(folder) or {}
    except ValueError:  # it names data that are elsewhere: those are not read
        return 0
    return sum(any(Path(file).resolve() in here for file in of_split) for of_split in told.values())


def _splits_by_name(files: list[Path]) -> dict[str, list[Path]]:
    found = {split: [path for path in files if name.fullmatch(path.name)] for split, name in _NAMES.items()}
    return {split: of_split for split, of_split in found.items() if of_split}


def _answers_in(folder: Path) -> list[Path]:
    """The parts of a folder of `jpo generate`; [] for another folder. Raises Damaged, where one is not as it was
    written or is gone."""
    parts, asked = sorted(folder.glob(ANSWERS)), (folder / ASKED).is_file()
    known: dict[str, Any] = {}
    if parts or asked:
        try:
            known = read_digests(folder / DIGESTS, ANSWERS_FIX)
        except Damaged:
            if asked:
                raise  # else it may be another program's file of that name
    for name, about in known.items():
        require(folder / name, about, ANSWERS_FIX)
    return parts if known or asked else []


def _no_split(folder: Path, split: str, there: Iterable[str]) -> str:
    names = ", ".join(map(str, there))
    return f"{folder}: no split {split!r}; there are: {names}; name one ({folder}:SPLIT), or {folder}:{ALL}"


def _splits_told(folder: Path) -> Mapping[str, Sequence[str | Path]] | None:
    """The files of each split, as `datasets` knows them; None where it does not. Raises ValueError for a README that
    names data outside of the folder."""
    import datasets

    require_inside(folder)
    try:
        found = datasets.load_dataset_builder(str(folder)).config.data_files or {}
    except (OSError, ValueError, datasets.exceptions.DatasetsError):
        return None
    refuse_outside(folder, [str(file) for files in found.values() for file in files])
    return {str(split): files for split, files in found.items()}


def _files_of_split(folder: Path, split: str | None, ignored: list[str]) -> list[Path]:
    """A copy of a hub data set, or what save_to_disk wrote for several splits: `datasets` knows which files are of
    which split; they are read here, row by row. Without a name those for training, and all others are `ignored`."""
    told = _splits_told(folder)
    found = _splits_by_name(_data_files(sorted(folder.iterdir()), [])) if told is None else told
    nothing = FileNotFoundError(f"{folder}: no {' '.join(FORMATS)} files in this folder; name the folder they are in")
    if told is None and len(found) < 2:
        raise nothing
    wanted = split or TRAIN
    if wanted not in (*found, ALL):
        raise FileNotFoundError(_no_split(folder, wanted, found))
    known = {Path(file).resolve() for name in ([wanted] if split is None else found) for file in found[name]}
    others = [p for p in sorted(folder.rglob("*")) if format_of(p) and p.resolve() not in known]
    ignored[:] = [name for name in ignored if Path(name).is_file()]  # its folders were looked into after all
    ignored += [str(path) for path in others if path.name not in _NOT_DATA and str(path) not in ignored]
    data = _data_files([Path(file) for name in (found if wanted == ALL else [wanted]) for file in found[name]], ignored)
    if not data:
        raise nothing
    return data


def _open_set(folder: Path, split: str | None) -> ComparisonSet:
    """Without a name, the training split of a set that has splits: the others are there to be held out."""
    found = read_set(folder)
    if split == ALL or (split is None and not splits_in(found)):
        return found
    if not splits_in(found):
        raise ValueError(
            f"{folder}:{split}: this set has no splits; name the folder alone, or build one: jpo data build"
        )
    try:
        return part_of(found, split or TRAIN)
    except KeyError as error:
        raise ValueError(f"{folder}:{split}: {error.args[0]}; name one of them, or {ALL}") from error


def validation_of(where: str | list[str]) -> str | None:
    """FOLDER:validation of the ComparisonSet folder that training data are; None when they are no set, or lack it."""
    if not isinstance(where, str):
        return None
    folder = where.removesuffix(f":{TRAIN}")
    path = Path(resolve(folder))
    return f"{folder}:{VALIDATION}" if is_set(path) and VALIDATION in split_names(path) else None


def _open_glob(pattern: str, ignored: list[str]) -> list[Table | ComparisonSet]:
    found = sorted(matches(_folders_as_they_are(pattern)))
    folders = [path for path in found if is_set(path)]
    data = _data_files([path for path in found if path not in folders], ignored)
    if not data and not folders:
        raise FileNotFoundError(f"{pattern}: no data file matches, seen from {Path.cwd()}; correct the pattern")
    return [part for folder in folders for part in _open_folder(folder, None, ignored)] + [_open_file(p) for p in data]


def _folders_as_they_are(pattern: str) -> str:
    """The pattern with the folders that it begins with taken by their names, which may have a `[` or `?` in them."""
    whole = Path(pattern)
    there = next((folder for folder in whole.parents if folder.is_dir()), None)
    if there is None or there == Path("."):
        return pattern
    return str(Path(glob.escape(str(there))) / whole.relative_to(there))


def _data_files(paths: list[Path], ignored: list[str]) -> list[Path]:
    data = [p for p in paths if p.is_file() and format_of(p) and p.name not in _NOT_DATA]
    ignored.extend(str(path) for path in paths if path not in data)
    return data


def _hub_rows(where: str) -> Rows:
    name, _, split = where.partition(":")
    silent = no_answer_of_hub()
    if silent and not _was_fetched(name):  # its library would try for half a minute
        raise NotOnHub(f"{where}: not here (seen from {Path.cwd()}), and not to be read from the hub: {silent}")
    import datasets  # seconds to import, and only hub ids need it

    try:
        rows = datasets.load_dataset(name, split=split or TRAIN)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise NotOnHub(
            f"{where}: neither here (seen from {Path.cwd()}) nor readable on the hub: {error}; correct the name, or "
            f"get the files and name their folder (one bad line does not stop them there): hf download {name} "
            "--repo-type dataset --local-dir FOLDER"
        ) from error
    yield from enumerate(rows, 1)


def _was_fetched(name: str) -> bool:
    """Whether files of a hub data set, or tables made of them, are in a cache."""
    from huggingface_hub import constants

    root = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    copied = Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}"
    return (root / name.replace("/", "___")).is_dir() or copied.is_dir()
