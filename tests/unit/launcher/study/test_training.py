"""Curves of runs of different lengths, and where on the grid a set serves."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.load import parse_as
from launcher.config.study import StudyConfig
from launcher.pipeline.process import note_done
from launcher.show.study.figures import figures
from launcher.show.study.tables import sections
from launcher.study.cells import Cell, cells
from launcher.study.report.collected import report_of
from launcher.study.report.sets import sets
from launcher.study.report.training import curves
from tests.unit.launcher.study.test_cells import ALONE, parsed, study
from tests.unit.launcher.study.test_report import about, results


def of_lengths(folder: Path, *lengths: int) -> list[dict[str, Any]]:
    """The curves of one arm whose runs have so many steps: figures are the step's number, in run n plus n / 1000."""
    seeds = list(range(1, len(lengths) + 1))
    config = parsed(folder, tune=None, arms={"old": study(folder)["arms"]["old"]}, question=ALONE, seeds=seeds)
    found = cells(config, "study.yaml", {})
    for run, (cell, length) in enumerate(zip(found, lengths, strict=True)):
        stage = next(stage for stage in cell.stages if stage.name == "train")
        training = stage.folder
        training.mkdir(parents=True)
        note_done(stage, 1.0)
        names = ("margin/instruction", "margin/response", "rewards/accuracies", "loss")
        rows = [{"step": n, "metrics": dict.fromkeys(names, n + run / 1000)} for n in range(1, length + 1)]
        (training / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return curves(found, {})


def test_runs_of_different_lengths_are_told_to_their_ends(tmp_path: Path) -> None:
    """They were cut where the shortest ends: 2 runs, 20 steps."""
    (curve,) = of_lengths(tmp_path, 20, 200)
    assert (curve["ends"], curve["steps"][-1], len(curve["steps"])) == ([20, 200], 200, 23)
    at_end = (20 + (199 + 200 + 0.002) / 2) / 2  # one step of 20, and of 200 the last two of 22 times nine
    assert curve["last"]["loss"] == pytest.approx(at_end, rel=1e-4)
    assert curve["loss"][-1] == pytest.approx(199.501, rel=1e-4)
    made = report_of(results({"jpo": 0.5}, 2), {}, {**about(["jpo"], 2), "curves": [curve]})
    (table,) = (part for part in sections(made) if part.title == "End of training")
    assert table.rows == [["old", "-", "2", "20 to 200", "109.75", "109.75", "109.750", "109.750"]]
    assert table.notes[-1].startswith("Where the runs of an arm end at different steps, each counts with its own last")
    assert "margins.png" in [path.name for path in figures(made, tmp_path)]


def test_runs_of_one_length_end_as_their_curve_does(tmp_path: Path) -> None:
    (curve,) = of_lengths(tmp_path, 40, 40, 40)
    assert (curve["ends"], curve["steps"]) == ([40, 40], list(range(2, 41, 2)))
    assert curve["last"] == {name: curve[name][-1] for name in curve["last"]}
    made = report_of(results({"jpo": 0.5}, 3), {}, {**about(["jpo"], 3), "curves": [curve]})
    (table,) = (part for part in sections(made) if part.title == "End of training")
    assert (table.rows[0][3], len(table.notes)) == ("40", 1)


def built(folder: Path, done: Any = lambda cell: True, **draws: dict[str, Any]) -> list[dict[str, Any]]:
    """The sets of a study over beta and share whose arms, by name, draw wrong labels by these settings."""
    written = study(folder, tune=None, question=ALONE, seeds=[1, 2], grid={"beta": [0.1, 0.3], "share": [0.25, 0.5]})
    train = written["arms"]["old"][0]["train"]
    written["arms"] = {
        arm: [
            {"build": {"sources": [{"path": str(folder / "data.jsonl")}], "pairs": [], "flips": flips}},
            {"train": {**train, "data": {"train": "@build:train"}, "objective": {"beta": "$beta"}}},
        ]
        for arm, flips in draws.items()
    }
    found = cells(parse_as(StudyConfig, written, "study.yaml"), "study.yaml", {})
    some = [cell for cell in found if done(cell)]
    for cell in some:
        as_if_built(cell)
    return sets(some, found, {})


def as_if_built(cell: Cell) -> None:
    stage = next(stage for stage in cell.stages if stage.name == "build")
    pairs = {"policy": "conditional", "kept": 1, "ties": 0,
             "instruction_only_accuracy": {"accuracy": None, "standard_error": None}}  # fmt: skip
    stage.made.mkdir(parents=True, exist_ok=True)
    (stage.folder / "report.json").write_text(json.dumps({"splits": {"train": 1}, "pairs": [pairs]}))
    note_done(stage, 1.0)


def test_a_set_that_serves_the_whole_grid_stands_at_none_of_its_points(tmp_path: Path) -> None:
    """Drawn for each seed, it differs between cells, but not by their point."""
    found = built(tmp_path, new={"share": 0.1, "seed": "$seed"})
    assert [(one["set"], one["point"]) for one in found] == [("build", "")] * 2


def test_a_set_stands_at_the_values_that_reach_it(tmp_path: Path) -> None:
    found = built(tmp_path, new={"share": "$share", "seed": "$seed"})
    assert sorted(one["point"] for one in found) == ["share=0.25"] * 2 + ["share=0.5"] * 2
    first = built(tmp_path, lambda cell: cell.values["share"] == 0.5, new={"share": "$share", "seed": "$seed"})
    assert [one["point"] for one in first] == ["share=0.5"] * 2, "also where the other points are not done"


def test_sets_of_one_name_are_told_apart_by_their_arms(tmp_path: Path) -> None:
    """They were shown as draws of one set, with the mean of both."""
    found = built(tmp_path, new={"share": 0.1, "seed": "$seed"}, old={"share": 0.2, "seed": "$seed"},
                  same={"share": 0.1, "seed": "$seed"})  # fmt: skip
    assert sorted((one["set"], one["point"]) for one in found) == [
        ("build of new, same", ""), ("build of new, same", ""), ("build of old", ""), ("build of old", ""),
    ]  # fmt: skip
