"""The child runs of a study in MLflow: one for each cell and what it was measured to."""

import shutil
import sqlite3
import sys
from collections import Counter
from pathlib import Path

import pytest

from jpo_dist.generate.answers import Answer, write_answers
from launcher.study import measured
from launcher.study.cells import cells
from launcher.study.measured import measure
from launcher.study.tracked import ANEW, track_cell
from tests.unit.launcher.study.test_cells import parsed

Child = tuple[str, str, float, bool]
"""(arm, seed, pass rate, whether it says that there is an earlier one)."""


def children(folder: Path) -> Counter[Child]:
    """All child runs on the server."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        runs = [run_id for (run_id,) in database.execute("select run_uuid from runs")]
        params = {
            (run_id, key): value for run_id, key, value in database.execute("select run_uuid, key, value from params")
        }
        rates = dict(database.execute("select run_uuid, value from metrics where key = 'pass'"))
        notes = dict(database.execute("select run_uuid, value from tags where key = 'mlflow.note.content'"))
    return Counter((params[one, "arm"], params[one, "seed"], rates[one], ANEW in notes[one]) for one in runs)


def test_a_cell_that_is_measured_anew_has_a_new_child_and_every_cell_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    config = parsed(tmp_path, tune=None, arms={"old": [], "other": []}, question={"answers": "answers",
                    "checker": "edited_rule:length"}, tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"})  # fmt: skip
    found = cells(config, "study.yaml", {})[::3]  # they differ in arm and seed
    assert len({cell.answers.folder for cell in found}) == 1, "arms that train nothing share their answers"
    found[0].answers.folder.mkdir(parents=True)
    write_answers([Answer(0, "q", "say", "a", True, 1, 1.0, 0, 0, "m", "local")], found[0].answers.folder)

    def start(program: str) -> None:
        """A new process with the checker as it is now."""
        (tmp_path / "edited_rule.py").write_text(program)
        monkeypatch.delitem(sys.modules, "edited_rule", raising=False)
        measured.program_digests.cache_clear()
        out = Path(config.dir)
        for cell in found:
            track_cell(config, cell, measure(cell, config.question, out), out, lambda: None)

    fails = "def length(item):\n    return 0.0\n"
    start(fails)
    first = Counter({("old", "1", 0.0, False): 1, ("other", "2", 0.0, False): 1})
    assert children(tmp_path) == first
    own = tmp_path / "out" / "cells"
    (of_first,) = own.glob("*-old-seed-1.mlflow")
    as_before = shutil.copytree(of_first, tmp_path / "kept")
    start(f"{fails}# edited, and says the same\n")
    assert children(tmp_path) == first, "no second child with the same figures"
    start("def length(item):\n    return 1.0\n")
    both = first + Counter({("old", "1", 1.0, True): 1, ("other", "2", 1.0, True): 1})
    assert children(tmp_path) == both
    for place in own.glob("*.mlflow"):  # as an earlier version left it: one child for all cells with these answers
        shutil.rmtree(place)
    as_before.rename(own / f"{found[0].answers.folder.name}.mlflow")
    start(fails)
    assert children(tmp_path) - both == Counter({("other", "2", 0.0, False): 1})
    monkeypatch.delitem(sys.modules, "edited_rule")
