"""The kind of each instruction: of all that any cell answered, also of those behind verdicts."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.generate.answers import Answer, write_answers
from launcher.pipeline.process import note_done
from launcher.study.cells import Cell, cells
from launcher.study.run import run
from tests.unit.launcher.study.test_cells import CHECKER, parsed, study

DONE = {"tracking": {"uri": "none"}, "tune": None, "strata": f"{__name__}:kind"}


def kind(item):  # type: ignore[no-untyped-def]
    return "even" if int(item.instruction[0].content) % 2 == 0 else "odd"


def answered(cell: Cell, prompts: range, folder: Path) -> None:
    for stage in cell.stages:
        stage.made.mkdir(parents=True, exist_ok=True)
        note_done(stage, 1.0)
    write_answers([Answer(n, f"q{n}", str(n), "a", True, 1, 1.0, 0, 0, "m", "local") for n in prompts], folder)


def counted(report: dict[str, Any]) -> set[tuple[str, int]]:
    return {(one["label"], one["instructions"]) for one in report["strata"]["arms"]}


def test_instructions_that_only_later_cells_answered_have_their_label(tmp_path: Path) -> None:
    old = study(tmp_path)["arms"]["old"]
    question = {"answers": "answers", "checker": CHECKER}
    config = parsed(tmp_path, arms={"old": old}, question=question, **DONE)
    first, second = cells(config, "study.yaml", {})
    answered(first, range(3), first.answers.folder)
    answered(second, range(2, 7), second.answers.folder)
    assert counted(run(config, "study.yaml").report) == {("even", 4), ("odd", 3)}
    shutil.rmtree(second.answers.folder)
    assert counted(run(config, "study.yaml").report) == {("even", 2), ("odd", 1), ("no label (no answers to read)", 4)}


@pytest.mark.parametrize("as_list", [False, True])
def test_verdicts_have_the_labels_of_the_answers_behind_them(tmp_path: Path, as_list: bool) -> None:
    judge = {"endpoint": {"model": "m", "base_url": "http://127.0.0.1:1/v1"}}
    winrate = {"answers": ["@answers"] if as_list else "@answers", "against": str(tmp_path / "data.jsonl"), **judge}
    config = parsed(tmp_path, measure=[*study(tmp_path)["measure"], {"winrate": winrate}], seeds=[1],
                    question={"answers": "winrate", "primary": "win"}, arms={"old": study(tmp_path)["arms"]["old"]},
                    **DONE)  # fmt: skip
    (cell,) = cells(config, "study.yaml", {})
    answered(cell, range(5), cell.stages[-2].folder)
    rows = [{"answers": "a", "prompt_id": f"q{n}", "outcome": "win" if n else "unparsable"} for n in range(5)]
    (cell.answers.folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = run(config, "study.yaml").report
    assert counted(report) == {("even", 2), ("odd", 2)}, "of those that have a verdict"
    assert "even (2 instructions)" in (tmp_path / "out" / "report.md").read_text()
