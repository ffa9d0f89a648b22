"""The grid: which cells there are, what they share, what variables become, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import parse_as
from launcher.config.study import StudyConfig
from launcher.pipeline.process import note_done
from launcher.study.beforehand import dry
from launcher.study.cells import cells, described, to_do, trials, unique
from launcher.study.report.training import one_draw

CHECKER = "jpo_dist.evaluate.constraints:constraints_held"

ALONE = {"answers": "answers", "checker": CHECKER}
"""A question about arms one by one."""


def study(folder: Path, **settings: Any) -> dict[str, Any]:
    data = folder / "data.jsonl"
    data.write_text(json.dumps({"instruction": "say", "response": "a", "score": 1}) + "\n")
    train = {"model": {"path": "@sft"}, "data": {"train": str(data)}, "train": {"seed": "$seed"}}
    return {
        "dir": str(folder / "out"),
        "question": {"answers": "answers", "checker": CHECKER, "compare": [["new", "old"]]},
        "seeds": [1, 2],
        "shared": {"cluster": {"workers": 0}},
        "stages": [{"sft": {"model": {"path": str(folder)}, "data": {"train": str(data)}}}],
        "arms": {
            "new": [{"train": {**train, "objective": {"beta": "$beta"}}}],
            "old": [{"train": train}],
            "none": [],
        },
        "tune": {
            "over": {"beta": [0.2, 0.3]},
            "measure": [{"name": "tried", "generate": {"model": {"path": "@policy"}, "instructions": str(data)}}],
            "answers": "tried",
        },
        "measure": [{"name": "answers", "generate": {"model": {"path": "@policy"}, "instructions": str(data)}}],
        **settings,
    }


def parsed(folder: Path, **settings: Any) -> StudyConfig:
    return parse_as(StudyConfig, study(folder, **settings), "study.yaml")


def test_every_arm_and_seed_is_a_cell_and_equal_stages_are_one(tmp_path: Path) -> None:
    found = cells(parsed(tmp_path), "study.yaml", {"new": {"beta": 0.3}, "old": {}, "none": {}})
    assert [cell.name for cell in found] == [
        "new seed=1 beta=0.3", "old seed=1", "none seed=1", "new seed=2 beta=0.3", "old seed=2", "none seed=2",
    ]  # fmt: skip
    names = [stage.name for stage in unique(found).values()]
    assert (names.count("sft"), names.count("train"), names.count("answers")) == (1, 4, 5)
    assert found[2].answers.folder == found[5].answers.folder  # no seed reaches what `stages` has made


def test_arms_whose_runs_learn_from_the_same_data_are_told(tmp_path: Path) -> None:
    written = study(tmp_path, tune=None)
    del written["arms"]["new"]
    build = {"sources": [{"path": str(tmp_path / "data.jsonl")}], "pairs": [], "flips": {"share": 0.1, "seed": "$seed"}}
    drawn = {**written["arms"]["old"][0]["train"], "data": {"train": "@build:train"}}
    written["arms"]["new"] = [{"build": build}, {"train": drawn}]
    found = cells(parse_as(StudyConfig, written, "study.yaml"), "study.yaml", {})
    assert one_draw(found) == ["old"]  # `none` trains nothing, `new` draws wrong labels for each run
    assert one_draw([cell for cell in found if cell.values["seed"] == 1]) == []


def test_an_arm_of_which_every_trial_failed_has_no_cells(tmp_path: Path) -> None:
    """Its settings are not known; the other arms go on."""
    found = cells(parsed(tmp_path), "study.yaml", {"old": {}, "none": {}})
    assert {cell.arm for cell in found} == {"old", "none"}


def test_a_variable_becomes_its_value_of_its_own_type(tmp_path: Path) -> None:
    first = cells(parsed(tmp_path), "study.yaml", {"new": {"beta": 0.3}})[0]
    train = next(stage for stage in first.stages if stage.name == "train")
    assert train.settings["objective"]["beta"] == 0.3
    assert train.settings["train"]["seed"] == 1


def test_every_arm_has_the_trials_of_the_settings_it_uses(tmp_path: Path) -> None:
    tried = trials(parsed(tmp_path), "study.yaml")
    assert [(cell.arm, cell.settings) for cell in tried] == [
        ("new", {"beta": 0.2}), ("new", {"beta": 0.3}), ("old", {}), ("none", {}),
    ]  # fmt: skip
    assert {cell.answers.name for cell in tried} == {"tried"}


def test_a_grid_multiplies_cells(tmp_path: Path) -> None:
    config = parsed(tmp_path, grid={"size": [1, 2, 3]}, tune=None, arms={"old": []}, question={
        "answers": "answers", "checker": CHECKER})  # fmt: skip
    assert [cell.values for cell in cells(config, "study.yaml", {})][:4] == [
        {"seed": 1, "size": 1}, {"seed": 1, "size": 2}, {"seed": 1, "size": 3}, {"seed": 2, "size": 1},
    ]  # fmt: skip


def test_a_dry_run_counts_stages_and_runs_none(tmp_path: Path) -> None:
    section = dry(parsed(tmp_path), "study.yaml")
    assert {row[0]: row[1] for row in section.rows} == {"sft": "1", "train": "7", "tried": "4", "answers": "5"}
    assert "4 trials and 6 cells (3 arms x 2 seeds x 1 points)" in section.notes[0]
    assert section.notes[-1].startswith("Time and disk are not known before one of each is done: sft, ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".digests.json"]


def test_what_is_measured_needs_no_stage_and_models_that_were_removed_are_not_made_again(tmp_path: Path) -> None:
    """A study removes the model of a cell behind its answers; only a stage that has to run needs it again."""
    arms = {"old": [{"train": {"model": {"path": "@sft"}, "data": {"train": str(tmp_path / "data.jsonl")},
                               "train": {"seed": "$seed"}}}]}  # fmt: skip
    config = parsed(tmp_path, tune=None, arms=arms, question=ALONE, seeds=[1, 2, 3])
    found = cells(config, "study.yaml", {})
    assert len(to_do(found)) == 1 + 3 + 3
    for cell in found[:2]:
        for stage in cell.stages:
            stage.made.mkdir(parents=True, exist_ok=True)
            note_done(stage, 60.0)
    sft, train, answers = found[0].stages
    assert {stage.name for stage in to_do(found).values()} == {"train", "answers"}
    train.made.rmdir()
    sft.made.rmdir()
    assert to_do(found[:1]) == {}  # its answers are there
    assert set(to_do(found)) == {sft.folder, *(stage.folder for stage in found[2].stages)}  # the third begins from sft
    answers.made.rmdir()
    assert set(to_do(found[:1])) == {sft.folder, train.folder, answers.folder}
    rows = {row[0]: row[1:4] for row in dry(config, "study.yaml").rows}
    assert rows == {"sft": ["1", "1", "60 s"], "train": ["3", "2", "60 s"], "answers": ["3", "2", "60 s"]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seeds": [1, 1]}, "seeds names one twice"),
        ({"seeds": []}, "at least 1"),
        ({"grid": {"seed": [1]}}, "seed is varied by"),
        ({"grid": {"beta": [1]}}, "varied by both"),
        ({"grid": {"a b": [1]}}, "is no name"),
        ({"tune": None}, r"\$beta is varied by nothing; known: \$seed"),
        ({"arms": {"new": [], "policy": []}}, "is no name"),
        ({"arms": {"new": []}}, "names old, which is no arm"),
        ({"question": {"answers": "sft", "checker": CHECKER}}, "must be a generate stage"),
        ({"question": {"answers": "answers", "primary": "win"}}, "must be a winrate stage"),
    ],
)
def test_what_is_no_study_is_refused_with_the_key(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parsed(tmp_path, **settings)


def test_an_error_in_an_arm_names_the_arm(tmp_path: Path) -> None:
    arms = {"new": [], "old": [{"train": {"model": {"path": "@nothing"}, "data": {"train": "x"}}}]}
    with pytest.raises(ConfigError, match=r"@nothing.*\(arm old\)"):
        cells(parsed(tmp_path, arms=arms, tune=None), "study.yaml", {})


def scored(folder: Path, **settings: Any) -> StudyConfig:
    own = {"score": {"data": "@own", "policy": "@policy"}, "data": {"train": "@own"}, "model": {"path": "no/model"}}
    measure = [
        {"name": name, "generate": {"model": {"path": "@policy"}, "instructions": str(folder / "data.jsonl")}}
        for name in ("answers", "own")
    ]
    return parsed(folder, measure=[*measure, {"name": "kl", "score": own}], kl="kl", **settings)


def test_the_answers_of_a_trained_policy_are_scored_and_measured_cells_stay_measured(tmp_path: Path) -> None:
    plain = parsed(tmp_path, tune=None, arms={"old": study(tmp_path)["arms"]["old"]}, question=ALONE)
    with_kl = scored(tmp_path, tune=None, arms={"old": study(tmp_path)["arms"]["old"]}, question=ALONE)
    before, now = (cells(config, "study.yaml", {})[0] for config in (plain, with_kl))
    assert before.kl is None
    assert now.kl is not None
    assert [stage.name for stage in now.stages][-3:] == ["answers", "own", "kl"]
    assert now.kl.settings["score"]["data"] == str(next(s for s in now.stages if s.name == "own").folder)
    assert described(now) == described(before)


def test_an_arm_that_trains_nothing_has_no_kl(tmp_path: Path) -> None:
    config = scored(tmp_path, tune=None, stages=[], shared={"model": {"path": "no/model"}}, arms={"none": []},
                    question=ALONE)  # fmt: skip
    (cell, _) = cells(config, "study.yaml", {})
    assert cell.kl is None
    assert [stage.name for stage in cell.stages] == ["answers"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kl": "answers"}, "must be a score stage"),
        ({"question": {"answers": "answers", "checker": CHECKER, "trend": "size"}}, "two or more numbers"),
    ],
)
def test_what_a_study_cannot_measure_is_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parsed(tmp_path, **settings)
