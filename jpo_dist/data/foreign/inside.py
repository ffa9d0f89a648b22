"""A folder of data names no files but its own, whatever its README says.

`datasets` takes `data_files` of a README's head as it stands there: `../private.jsonl` would be read in the place of
the folder, and an address would be asked.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

CARD = "README.md"
_KEYS = ("data_files", "data_dir", "path")


def require_inside(folder: Path) -> None:
    """Raises ValueError where the README of `folder` names data that are not in it: before anything is fetched."""
    refuse_outside(folder, _texts(_configs(folder), named=False))


def names_files(folder: Path) -> bool:
    """Whether the README of `folder` says which files are its data."""
    return any(True for _ in _texts(_configs(folder), named=False))


def _configs(folder: Path) -> Any:
    """`configs` in the head of a README; None without."""
    try:
        with (folder / CARD).open(encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 20)
    except OSError:
        return None
    if not text.startswith("---"):
        return None
    try:
        head = yaml.safe_load(text.split("---", 2)[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        return None  # datasets says what is wrong with it
    return head.get("configs") if isinstance(head, dict) else None


def _texts(value: Any, named: bool) -> Iterator[str]:
    """Every text under one of the keys that name files."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, named or key in _KEYS)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, named)
    elif isinstance(value, str) and named:
        yield value


def refuse_outside(folder: Path, names: Iterable[str]) -> None:
    """Raises ValueError for the first of `names` that is an address or leads out of `folder`."""
    root = os.path.abspath(folder)
    for name in names:
        place = os.path.normpath(os.path.join(root, name))
        if "://" in name or "::" in name or not (place == root or place.startswith(root + os.sep)):
            raise ValueError(
                f"{folder}: its {CARD} names data that are not in the folder ({name[:200]}); correct data_files there, "
                "or name those data themselves"
            )
