"""What `tune` chooses, and what becomes of an arm for which there is nothing to choose by."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.study.tables import Result
from launcher.config.study import StudyConfig
from launcher.pipeline.process import note_done
from launcher.show.study.tables import sections
from launcher.study.beforehand import dry
from launcher.study.cells import Cell, Ran, cells, trials
from launcher.study.report.chosen import choose, unchosen
from launcher.study.report.continued import publish
from launcher.study.run import CellsFailed, run
from tests.unit.launcher.study.test_cells import ALONE, parsed, study
from tests.unit.launcher.study.test_runs import answered

UNSURE = f"{__name__}:unsure"


def unsure(item):  # type: ignore[no-untyped-def]
    """A checker that can tell nothing of any answer."""
    return None


def trained(cell: Cell, losses: list[float | None]) -> None:
    """As if the cell's training had run, with a loss at some of its steps."""
    stage = next(stage for stage in cell.stages if stage.name == "train")
    stage.folder.mkdir(parents=True, exist_ok=True)
    note_done(stage, 1.0)
    rows = [{"step": n, "metrics": {"optim/lr": 0.1} | ({} if one is None else {"loss": one})}
            for n, one in enumerate(losses, 1)]  # fmt: skip
    (stage.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def matched(folder: Path, metric: str = "loss", **settings: Any) -> StudyConfig:
    tune = {**study(folder)["tune"], "match": {"metric": metric, "value": 0.6}}
    arms = {"new": study(folder)["arms"]["new"], "none": []}
    return parsed(folder, **{"tune": tune, "arms": arms, "question": ALONE, "tracking": {"uri": "none"}, **settings})


def results_of(tries: list[Cell]) -> Ran:
    sums = {"pass": {"a": [1.0, 1.0, 2]}}
    return Ran(tries, {cell.name: Result(cell.arm, cell.values, sums, {"answers": 2}) for cell in tries})


def test_a_trial_is_chosen_by_the_metric_that_is_to_match(tmp_path: Path) -> None:
    config = matched(tmp_path)
    tries = trials(config, "study.yaml")
    for cell, ends in zip(tries[:2], (0.45, 0.61), strict=True):
        trained(cell, [0.7] * 5 + [ends] * 3)
    chosen, told = choose(results_of(tries), config)
    assert chosen == {"new": {"beta": 0.3}, "none": {}}, "an arm that trains nothing has nothing to choose"
    assert [(row["reached"], row["chosen"]) for row in told] == [(0.45, False), (0.61, True), (None, True)]
    by_primary, _ = choose(results_of(tries), parsed(tmp_path, arms=config.arms, question=ALONE))
    assert by_primary == {"new": {"beta": 0.2}, "none": {}}  # the first of equal ones


def test_a_trial_without_a_value_is_not_chosen(tmp_path: Path) -> None:
    """The first one: it was, since nothing is more than no value at all."""
    config = matched(tmp_path)
    tries = trials(config, "study.yaml")
    trained(tries[0], [None] * 8)
    trained(tries[1], [0.1] * 8)
    assert choose(results_of(tries), config)[0] == {"new": {"beta": 0.3}, "none": {}}
    assert unchosen(results_of(tries), config) == {}
    plain = parsed(tmp_path, arms=config.arms, question=ALONE)
    none_of_first = results_of(tries)
    none_of_first.results[tries[0].name].sums.pop("pass")
    none_of_first = Ran(tries, {name: one._replace(sums={} if name == tries[0].name else {"pass": {"a": [0.0, 0.0, 2]}})
                                for name, one in none_of_first.results.items()})  # fmt: skip
    chosen, told = choose(none_of_first, plain)
    assert chosen == {"new": {"beta": 0.3}, "none": {}}
    assert [row["value"] for row in told] == [None, 0.0, 0.0]


def test_a_misspelt_metric_chooses_nothing_and_says_which_there_are(tmp_path: Path) -> None:
    config = matched(tmp_path, "los")
    tries = trials(config, "study.yaml")
    for cell in tries:
        answered(cell, "a")
    for cell in tries[:2]:
        trained(cell, [0.6] * 8)
    lost = unchosen(results_of(tries), config)
    assert list(lost) == ["new seed=1", "new seed=2"]
    said = (
        r"new seed=1, train could not be measured: tune\.match\.metric \(los\) has a finite value in no step of the 2 "
        r"trials of new, so none is chosen; there are: loss, optim/lr \(in .*train-"
    )
    for cell in cells(config, "study.yaml", {"none": {}}):
        answered(cell, "a")
    with pytest.raises(CellsFailed, match=said):
        run(config, "study.yaml")
    page = (tmp_path / "out" / "report.md").read_text()
    assert "new seed=1" in page
    assert "No trial of new has a value of los: none is chosen." in page
    assert "Infinity" not in (tmp_path / "out" / "study.json").read_text()
    report = publish(config, "study.yaml", tmp_path / "page").report
    assert list(report["failed"]) == ["new seed=1", "new seed=2"]
    assert sections(report)
    assert any("2 cells fail before they run; the first: new seed=1" in note for note in dry(config, "s.yaml").notes)


def test_without_match_trials_of_which_no_answer_has_a_value_choose_nothing(tmp_path: Path) -> None:
    question = {"answers": "answers", "checker": UNSURE}
    config = parsed(tmp_path, question=question, arms={"new": study(tmp_path)["arms"]["new"]}, tracking={"uri": "none"})
    for cell in trials(config, "study.yaml"):
        answered(cell, "a")
    said = r"2 cells failed; the first: new seed=1, tried could not be measured: question\.primary \(pass\) has a value"
    with pytest.raises(CellsFailed, match=said + r" in no answer of the 2 trials .* there are: finished, tokens"):
        run(config, "study.yaml")
