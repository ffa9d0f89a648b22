"""What the sets hold that a study trains on, where on its grid each serves, and what the instruction alone tells."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jpo_dist.study.tables import SEED, point_of
from launcher.study.cells import Cell, unique
from launcher.study.report.told import Published, told_of


def sets(done: Sequence[Cell], planned: Sequence[Cell], published: Published) -> list[dict[str, Any]]:
    """What each set that the cells which are done train on holds, and how well the instruction alone tells its winners.

    `point`: the places of the grid at which it serves, by those values alone that reach it; empty: everywhere. They are
    told by `planned`, all cells of the study.
    """
    made = []
    for stage in unique(done).values():
        report = told_of(stage, published).get("set") if stage.kind.command == ("data", "build") else None
        if report:
            name, point = _served(stage.name, stage.folder, planned)
            flips = report.get("flips", {}).get("flipped", 0)
            of_set = {"set": name, "key": stage.key, "point": point, "flipped": flips,
                      "for_training": report["splits"]["train"]}  # fmt: skip
            made += [{**of_set, **_pairs(pairs)} for pairs in report["pairs"]]
    return made


def _served(name: str, folder: Path, planned: Sequence[Cell]) -> tuple[str, str]:
    """(what a set is called, the points at which it serves). Arms with different sets of one name are named with it."""
    by_place, has = defaultdict(set), []
    for cell in planned:
        own = _folder(cell, name)
        if own is not None:
            by_place[json.dumps(cell.values, sort_keys=True)].add(own)
        if own == folder:
            has.append(cell)
    axes = {cell.arm: _axes(name, [one for one in planned if one.arm == cell.arm]) for cell in has}
    points = [point_of({axis: cell.values[axis] for axis in axes[cell.arm]}) for cell in has]
    arms = ", ".join(dict.fromkeys(cell.arm for cell in has))
    differ = any(len(folders) > 1 for folders in by_place.values())
    return f"{name} of {arms}" if differ else name, " and ".join(dict.fromkeys(points))


def _axes(name: str, of_arm: Sequence[Cell]) -> list[str]:
    """The names of the grid that reach a set of an arm: of which two values, all else equal, give it another folder."""
    found = []
    for axis in (axis for axis in of_arm[0].values if axis != SEED):
        folders = defaultdict(set)
        for cell in of_arm:
            rest = {other: value for other, value in cell.values.items() if other != axis}
            folders[json.dumps(rest, sort_keys=True)].add(_folder(cell, name))
        if any(len(of) > 1 for of in folders.values()):
            found.append(axis)
    return found


def _folder(cell: Cell, name: str) -> Path | None:
    return next((stage.folder for stage in cell.stages if stage.name == name), None)


def _pairs(pairs: dict[str, Any]) -> dict[str, Any]:
    alone = pairs["instruction_only_accuracy"]
    return {"policy": pairs["policy"], "comparisons": pairs["kept"], "ties": pairs["ties"],
            "instruction_alone": alone["accuracy"], "standard_error": alone["standard_error"]}  # fmt: skip
