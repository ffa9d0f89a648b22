"""Which runs a study takes for different ones, and what becomes of a cell that cannot be measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.explain import ConfigError
from jpo_dist.generate.answers import Answer, write_answers
from launcher.config.study import StudyConfig
from launcher.pipeline.process import note_done
from launcher.study.cells import Cell, cells
from launcher.study.report.continued import publish
from launcher.study.run import CellsFailed, run
from tests.unit.launcher.study.test_cells import ALONE, CHECKER, parsed, study

NO_SEED = {"model": {"path": "@sft"}, "data": {"train": "data.jsonl"}}
HARD = "odd"
"""An answer on which the checker of these tests raises, unless it is mended."""
mended = False


def kind(item):  # type: ignore[no-untyped-def]
    return {"say 0": "first", "say 1": "second"}[item.instruction[0].content]


def strict(item):  # type: ignore[no-untyped-def]
    if item.response == HARD and not mended:
        raise KeyError("no rule for it")
    return 1.0


@pytest.mark.parametrize(
    ("key", "values", "said"),
    [
        ("size", [1, 1], r"grid\.size \(\[1, 1\]\) names one value twice"),
        ("size", [1, 2, 1.0], r"\(1 and 1\.0\): the same run would count as two; name each once"),
        ("size", ["1", 1], "names one value twice"),
        ("size", [1e-5, "1.0e-5"], "names one value twice"),
        ("size", [[1], [1]], "names one value twice"),
        ("size", ["a", "b", "a"], "names one value twice"),
        ("beta", [0.2, 0.20], r"tune\.over\.beta \(\[0\.2, 0\.2\]\) names one value twice"),
    ],
)
def test_a_value_that_is_named_twice_is_refused(tmp_path: Path, key: str, values: list[Any], said: str) -> None:
    tune = {**study(tmp_path)["tune"], "over": {"beta": values}}
    with pytest.raises(ConfigError, match=said):
        parsed(tmp_path, **({"tune": tune} if key == "beta" else {"grid": {key: values}}))


def test_values_that_differ_are_taken(tmp_path: Path) -> None:
    given = [1, True, "a", "A", 1.5, None, [1], [2], {"path": "x"}]
    assert parsed(tmp_path, grid={"size": given}).grid["size"] == given


def without_seed(folder: Path, **settings: Any) -> StudyConfig:
    train = {**NO_SEED, "data": {"train": str(folder / "data.jsonl")}}
    arms = {"new": [{"train": {**train, "objective": {"beta": "$beta"}}}], "old": [{"train": train}], "none": []}
    return parsed(folder, arms=arms, **settings)


def test_an_arm_whose_runs_would_be_copies_of_one_is_refused(tmp_path: Path) -> None:
    chosen = {"new": {"beta": 0.3}, "old": {}, "none": {}}
    with pytest.raises(
        ConfigError, match=r"arms\.new: answers is the same for seeds 1 and 2, since \$seed stands nowher"
    ):
        cells(without_seed(tmp_path), "study.yaml", chosen)
    alone = without_seed(tmp_path, seeds=[3])
    assert len(cells(alone, "study.yaml", chosen)) == 3, "one run is one run"


def test_it_is_refused_before_the_trials_of_tune_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write `train: \{seed: \$seed\}` in its training stage, or name one seed"):
        run(without_seed(tmp_path, tracking={"uri": "none"}), "study.yaml")
    assert list((tmp_path / "out").glob("*.log")) == []


def test_one_training_that_answers_with_several_seeds_is_one_run(tmp_path: Path) -> None:
    generate = {"model": {"path": "@policy"}, "instructions": str(tmp_path / "data.jsonl"), "seed": "$seed"}
    measure = [{"name": "answers", "generate": generate}]
    with pytest.raises(ConfigError, match=r"arms\.new: train is the same for seeds 1 and 2"):
        cells(without_seed(tmp_path, measure=measure), "study.yaml", {"new": {"beta": 0.3}})
    config = parsed(tmp_path, tune=None, arms={"none": []}, question=ALONE, measure=measure)
    assert len({cell.answers.folder for cell in cells(config, "study.yaml", {})}) == 2


@pytest.mark.parametrize("data", [["@answers"], ["@answers", "@answers"], "data.jsonl"])
def test_the_kl_is_of_the_answers_of_one_stage(tmp_path: Path, data: Any) -> None:
    file = str(tmp_path / "data.jsonl")
    scored = {"score": {"data": file if data == "data.jsonl" else data, "policy": "@policy"},
              "data": {"train": file}, "model": {"path": "no/model"}}  # fmt: skip
    measure = [*study(tmp_path)["measure"], {"name": "kl", "score": scored}]
    config = parsed(
        tmp_path, tune=None, measure=measure, kl="kl", question=ALONE, arms={"old": study(tmp_path)["arms"]["old"]}
    )
    with pytest.raises(ConfigError, match=r'kl \(kl\): its score.data .* must be the answers of one .* "@answers"'):
        cells(config, "study.yaml", {})


def answered(cell: Cell, text: str) -> None:
    """As if the stages of a cell had run."""
    for stage in cell.stages:
        stage.made.mkdir(parents=True, exist_ok=True)
        note_done(stage, 1.0)
    write_answers(
        [Answer(n, f"q{n}", f"say {n}", text, True, 1, 1.0, 0, 0, "m", "local") for n in range(3)], cell.answers.folder
    )


def measured(folder: Path, checker: str) -> StudyConfig:
    question = {"answers": "answers", "checker": checker, "compare": [["old", "other"]]}
    old = study(folder)["arms"]["old"]
    other = [{"train": {**old[0]["train"], "objective": {"beta": 0.7}}}]
    return parsed(folder, tune=None, question=question, arms={"old": old, "other": other}, tracking={"uri": "none"})


def test_a_checker_that_raises_on_one_answer_fails_its_cell_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = measured(tmp_path, f"{__name__}:strict")
    found = cells(config, "study.yaml", {})
    for cell in found:
        answered(cell, HARD if cell is found[0] else "a")
    said = r"1 cells failed; the first: old seed=1, answers could not be measured: .*KeyError: 'no rule for it'"
    for _ in range(2):  # the next start says the same, and keeps what is measured
        with pytest.raises(CellsFailed, match=said):
            run(config, "study.yaml")
        assert len(list((tmp_path / "out" / "cells").glob("*.json"))) == 3
    page = (tmp_path / "out" / "report.md").read_text()
    assert "1 cells failed and are in no figure: old seed=1" in page
    assert "old 1, other 2" in page
    assert len(publish(config, "study.yaml", tmp_path / "page").results) == 3
    monkeypatch.setattr(f"{__name__}.mended", True)
    assert run(config, "study.yaml").failed == {}


def test_answers_that_cannot_be_read_fail_their_cell_alone(tmp_path: Path) -> None:
    config = measured(tmp_path, CHECKER)
    found = cells(config, "study.yaml", {})
    for cell in found:
        answered(cell, "a")
    next(found[2].answers.folder.glob("*.json*")).write_text("{")
    with pytest.raises(CellsFailed, match="1 cells failed; the first: old seed=2, answers could not be measured"):
        run(config, "study.yaml")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"question": {**ALONE, "checker": "no.such:checker"}}, r"question\.checker \(no\.such:checker\): No module"),
        ({"question": ALONE, "strata": "json:nothing"}, r"strata \(json:nothing\): .* has no attribute"),
    ],
)
def test_a_function_that_is_none_is_refused_before_anything_runs(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(parsed(tmp_path, **settings), "study.yaml")
    assert not (tmp_path / "out").exists()


def test_a_judge_that_says_nothing_leaves_a_study_that_is_reported(tmp_path: Path) -> None:
    """Every verdict of a cell unreadable: the study ends well, and a later start and --publish do too."""
    judge = {"endpoint": {"model": "m", "base_url": "http://127.0.0.1:1/v1"}}
    file = str(tmp_path / "data.jsonl")
    measure = [*study(tmp_path)["measure"], {"winrate": {"answers": "@answers", "against": file, **judge}}]
    config = parsed(tmp_path, tune=None, measure=measure, question={"answers": "winrate", "primary": "win"},
                    arms={"old": study(tmp_path)["arms"]["old"]}, tracking={"uri": "none"})  # fmt: skip
    for cell in cells(config, "study.yaml", {}):
        answered(cell._replace(answers=cell.stages[-2]), "a")
        outcome = "unparsable" if cell.values["seed"] == 1 else "win"
        rows = [{"answers": "a", "prompt_id": f"q{n}", "outcome": outcome} for n in range(3)]
        (cell.answers.folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _ in range(2):
        assert run(config, "study.yaml").failed == {}
    publish(config, "study.yaml", tmp_path / "page")
    assert "1 cell is done without one answer that has a value of win rate" in (tmp_path / "page/README.md").read_text()


def test_an_instruction_without_a_label_is_of_a_kind_of_its_own(tmp_path: Path) -> None:
    config = measured(tmp_path, CHECKER).model_copy(update={"strata": f"{__name__}:kind"})
    for cell in cells(config, "study.yaml", {}):
        answered(cell, "a")
    arms = run(config, "study.yaml").report["strata"]["arms"]
    assert {(one["label"], one["instructions"]) for one in arms} == {
        ("first", 1), ("second", 1), ("no label (KeyError)", 1),
    }  # fmt: skip
