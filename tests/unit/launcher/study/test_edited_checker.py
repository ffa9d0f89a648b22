"""A study whose checker was edited: what the old one measured is not taken for the new one's."""

import sys
from pathlib import Path

import pytest

from jpo_dist.config.load import parse_as
from jpo_dist.generate.answers import Answer, write_answers
from launcher.config.study import StudyConfig
from launcher.study import measured
from launcher.study.cells import cells
from tests.unit.launcher.study.test_cells import study


@pytest.mark.parametrize("program", ["mended.py", "mended/__init__.py"])
def test_cells_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / program
    file.parent.mkdir(exist_ok=True)
    question = {"answers": "answers", "checker": "mended:length"}
    config = parse_as(StudyConfig, study(tmp_path, tune=None, arms={"old": []}, seeds=[1], question=question), "s.yaml")
    (cell,) = cells(config, "s.yaml", {})
    cell.answers.folder.mkdir(parents=True)
    write_answers([Answer(0, "q", "say", "a", True, 1, 1.0, 0, 0, "m", "local")], cell.answers.folder)

    def start(score: float) -> float | None:
        """A new process: what was measured before, or what is measured now."""
        file.write_text(f"def length(item):\n    return {score}\n")
        monkeypatch.delitem(sys.modules, "mended", raising=False)
        measured.program_digests.cache_clear()
        out = Path(config.dir)
        before = measured.kept(cell, config.question, out)
        measured.measure(cell, config.question, out)
        return None if before is None else before.sums["pass"]["q"][0]

    assert start(0.0) is None
    assert start(0.0) == 0.0
    assert start(1.0) is None
    assert start(1.0) == 1.0
    monkeypatch.delitem(sys.modules, "mended")
