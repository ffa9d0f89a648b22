"""What another study has made is taken over where its key is the same, and outlives that study."""

import os
import shutil
from pathlib import Path

import pytest

from launcher.pipeline.process import is_done, note_done
from launcher.pipeline.resolve import Stage
from launcher.study import reuse
from launcher.study.beforehand import dry
from launcher.study.cells import cells, unique
from launcher.study.reuse import take_over, tell_missing
from tests.unit.launcher.study.test_cells import parsed


def stages(folder: Path, name: str) -> list[Stage]:
    made = cells(parsed(folder, dir=str(folder / name)), "study.yaml", {"new": {"beta": 0.3}, "old": {}, "none": {}})
    return list(unique(made).values())


def make(stage: Stage) -> None:
    stage.made.mkdir(parents=True)
    (stage.made / "weights").write_text(stage.key)
    note_done(stage, 12.5)


def test_a_stage_of_another_study_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(reuse, "say", said.append)
    there, here = stages(tmp_path, "there"), stages(tmp_path, "here")
    sft = next(stage for stage in there if stage.name == "sft")
    make(sft)
    assert take_over(here, [str(tmp_path / "nowhere"), str(tmp_path / "there")]) == ["sft"]
    mine = next(stage for stage in here if stage.name == "sft")
    assert [stage for stage in here if is_done(stage)] == [mine]
    assert mine.folder != sft.folder
    kept = mine.made / "weights"
    assert os.path.samefile(kept, sft.made / "weights")  # no room on the same disk
    shutil.rmtree(tmp_path / "there")
    assert kept.read_text() == mine.key
    assert [line.startswith("sft taken from") for line in said] == [True]
    assert take_over(here, [str(tmp_path / "there")]) == []  # it is done


def test_a_study_that_is_not_there_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(reuse, "say", said.append)
    tell_missing([str(tmp_path / "nowhere"), str(tmp_path)])
    assert said == [f"reuse: {tmp_path / 'nowhere'} is not there; what it would have is made here"]


def test_the_dry_run_counts_no_stage_that_will_be_taken_over(tmp_path: Path) -> None:
    there = stages(tmp_path, "there")
    make(next(stage for stage in there if stage.name == "sft"))

    def to_do(reuse: list[str]) -> dict[str, str]:
        said = dry(parsed(tmp_path, dir=str(tmp_path / "here"), reuse=reuse), "study.yaml")
        return {row[0]: row[2] for row in said.rows}

    alone, with_reuse = to_do([]), to_do([str(tmp_path / "there")])
    assert (alone["sft"], with_reuse["sft"]) == ("1", "0")
    assert {**alone, "sft": "0"} == with_reuse


def test_what_was_made_by_other_settings_or_is_gone_is_not_taken(tmp_path: Path) -> None:
    there, here = stages(tmp_path, "there"), stages(tmp_path, "here")
    made = [stage for stage in there if stage.name in ("sft", "train")]
    for stage in made:
        make(stage)
    note_done(made[0]._replace(key="another"), 1.0)
    for stage in made[1:]:
        shutil.rmtree(stage.made)  # models of measured cells are removed
    assert take_over(here, [str(tmp_path / "there")]) == []
    assert not [stage for stage in here if is_done(stage)]
