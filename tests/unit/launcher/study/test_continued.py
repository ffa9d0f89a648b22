"""A published study goes on in another place: what was measured counts there, and the page tells of both."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.explain import ConfigError
from jpo_dist.files import read_json
from jpo_dist.generate.answers import Answer, write_answers
from launcher.config.study import StudyConfig
from launcher.pipeline.process import note_done
from launcher.study.beforehand import dry
from launcher.study.cells import Cell, cells, to_do, trials
from launcher.study.report import continued
from launcher.study.report.collected import kept_of
from launcher.study.report.continued import go_on_with, publish
from launcher.study.report.training import dtypes
from launcher.study.run import run
from tests.unit.launcher.study.test_cells import parsed, study

CURVES = ("margin/instruction", "margin/response", "rewards/accuracies", "loss")
HERE = Path()


def kind(item):  # type: ignore[no-untyped-def]
    return item.instruction[0].content


def obeyed(item):  # type: ignore[no-untyped-def]
    return float(item.response == "yes")


def other_kind(item):  # type: ignore[no-untyped-def]
    return "all"


def config(**settings: Any) -> StudyConfig:
    """With paths from where the process is, as in a clone."""
    question = {
        "answers": "answers",
        "checker": f"{__name__}:obeyed",
        "compare": [["new", "old"]],
        **settings.pop("question", {}),
    }
    strata = f"{__name__}:kind"
    return parsed(HERE, **{"question": question, "strata": strata, "tracking": {"uri": "none"}, **settings})


def without_tune(seeds: list[int]) -> StudyConfig:
    arms = {"old": study(HERE)["arms"]["old"], "none": []}
    return config(seeds=seeds, tune=None, arms=arms, question={"compare": []})


def at_work(found: list[Cell], dtype: str = "float32") -> None:
    """As if the stages of cells had run: every third instruction is obeyed in the arm `new`, and none in the others."""
    for cell in found:
        for stage in cell.stages:
            stage.made.mkdir(parents=True, exist_ok=True)
            note_done(stage, 10.0)
            if stage.kind.trains:
                seed = float(cell.values["seed"])
                rows = [{"step": n, "metrics": dict.fromkeys(CURVES, n / 7 + seed)} for n in range(1, 9)]
                (stage.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        write_answers(
            [Answer(n, f"q{n}", f"say {n}", "yes" if cell.arm == "new" and n % 3 == 0 else "no", True, 1, 1.0, 0, 0,
                    "m", "local") for n in range(6)], cell.answers.folder,
        )  # fmt: skip
        (cell.answers.folder / "report.json").write_text(json.dumps({"dtype": dtype}))


def run_whole(of: StudyConfig, dtype: str = "float32") -> dict[str, Any]:
    """A study whose stages are as if they had run, wherever it is not measured."""
    if of.tune:
        tries = trials(of, "study.yaml")
        at_work([cell for cell in tries if cell.name not in kept_of(tries, of)], dtype)
        chosen = {"new": {"beta": 0.2}, "old": {}, "none": {}}
    found = cells(of, "study.yaml", chosen if of.tune else {})
    at_work([cell for cell in found if cell.name not in kept_of(found, of)], dtype)
    return run(of, "study.yaml").report


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(continued, "say", lines.append)
    return lines


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Goes to another clone, where nothing has run."""

    def go(name: str) -> Path:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        return tmp_path / f"page-{name}"

    return go


def files_of(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in ("results.json", "study.json", "continue.json", "README.md")}


def test_a_study_goes_on_where_nothing_of_it_is(place: Any, said: list[str]) -> None:
    page = place("first")
    run_whole(config())
    publish(config(), "study.yaml", page)
    again = place("second")
    go_on_with([page], config(), "study.yaml")
    assert said == [f"{page}: 6 of 6 cells are of this study", f"{page}: 4 of 4 trials are of this study"]
    assert [row[2] for row in dry(config(), "study.yaml").rows] == ["0"] * 4, "no stage has to run"
    run(config(), "study.yaml")
    publish(config(), "study.yaml", again)
    assert files_of(again) == files_of(page)


def test_more_runs_join_those_of_another_host(place: Any, said: list[str]) -> None:
    page = place("first")
    run_whole(config())
    publish(config(), "study.yaml", page)
    both = place("second")
    more = config(seeds=[1, 2, 3, 4])
    go_on_with([page], more, "study.yaml")
    tries = trials(more, "study.yaml")
    assert not to_do([cell for cell in tries if cell.name not in kept_of(tries, more)])
    report = run_whole(more, dtype="bfloat16")
    assert report["planned"]["cells"] == 12
    assert {one["arm"]: len(one["seeds"]) for one in report["arms"]} == {"new": 4, "old": 4, "none": 4}
    assert report["dtypes"] == {"bfloat16": 4, "float32": 8}, "the answers of `none` are those of its other seeds"
    (curve,) = (one for one in report["curves"] if one["arm"] == "new")
    assert curve["runs"] == 4
    assert curve["last"]["loss"] == pytest.approx(8 / 7 + 2.5, rel=1e-4)
    publish(more, "study.yaml", both)
    assert "(4 in bfloat16 and 8 in float32), as with model.dtype=auto" in (both / "README.md").read_text()
    place("third")
    more = config(seeds=[1, 2, 3, 4])
    go_on_with([both], more, "study.yaml")
    assert run(more, "study.yaml").report["curves"] == report["curves"]


def test_what_it_took_is_of_all_hosts(place: Any, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And counts trainings whose models were removed behind their answers: they were left out."""
    page = place("first")
    report = run_whole(config())
    of = [
        *trials(config(), "study.yaml"),
        *cells(config(), "study.yaml", {"new": {"beta": 0.2}, "old": {}, "none": {}}),
    ]
    stages = {stage.folder: stage for cell in of for stage in cell.stages}
    trained = [stage for stage in stages.values() if stage.kind.trains]
    assert any(not stage.made.exists() for stage in trained)
    assert report["cost"] | {"machine": ""} == {
        "stages": len(stages), "seconds": 10 * len(stages), "machine": "", "trainings": len(trained),
    }  # fmt: skip
    publish(config(), "study.yaml", page)
    place("second")
    monkeypatch.setattr("launcher.study.report.told.machine", lambda: "another")
    monkeypatch.setattr("launcher.pipeline.process.code", lambda: "jpo-dist 9")
    more = config(seeds=[1, 2, 3])
    go_on_with([page], more, "study.yaml")
    both = run_whole(more)
    cost = both["cost"]
    assert [count for by, count in both["codes"].items() if by.startswith("jpo-dist 0.1.0")] == [len(stages) - 1]
    assert both["codes"]["jpo-dist 9"] == cost["stages"] - (len(stages) - 1), "sft, made again, is the newer one"
    assert (cost["stages"], cost["seconds"]) == (len(stages) + 4, 10 * (len(stages) + 4)), (
        "sft, made again, counts once"
    )
    assert cost["machine"] == f"{report['cost']['machine']} and another"


def test_runs_of_two_hosts_come_together(place: Any, said: list[str]) -> None:
    pages = []
    for name, seeds in (("first", [1]), ("second", [2]), ("third", [2, 3])):
        pages.append(place(name))
        run_whole(without_tune(seeds))
        publish(without_tune(seeds), "study.yaml", pages[-1])
    place("all")
    whole = without_tune([1, 2, 3])
    go_on_with(pages, whole, "study.yaml")
    assert [line.partition(": ")[2] for line in said] == [
        "2 of 2 cells are of this study", "2 of 2 cells are of this study", "4 of 4 cells are of this study",
    ]  # fmt: skip
    report = run(whole, "study.yaml").report
    assert [len(one["seeds"]) for one in report["arms"]] == [3, 3]
    assert report["asked"]["at"] == min(read_json(page / "study.json")["asked"]["at"] for page in pages)


def test_cells_of_other_settings_are_named_and_run_anew(place: Any, said: list[str]) -> None:
    page = place("first")
    run_whole(config())
    publish(config(), "study.yaml", page)
    place("second")
    arms = study(HERE)["arms"]
    arms["old"][0]["train"]["objective"] = {"beta": 0.7}
    other = config(arms=arms, seeds=[1])
    go_on_with([page], other, "study.yaml")
    assert said == [
        f"{page}: 2 of 6 cells are of this study; of other settings, inputs or seeds, and left: old seed=1, "
        "new seed=2 beta=0.2, old seed=2, none seed=2",
        f"{page}: 3 of 4 trials are of this study; of other settings, inputs or seeds, and left: old seed=0",
    ]
    tries = trials(other, "study.yaml")
    left = [cell.name for cell in tries if cell.name not in kept_of(tries, other)]
    assert left == ["old seed=0"]


def test_labels_go_along_and_those_of_another_function_do_not(place: Any, said: list[str]) -> None:
    page = place("first")
    labels = run_whole(config())["strata"]["arms"]
    assert {one["label"] for one in labels} == {f"say {n}" for n in range(6)}
    publish(config(), "study.yaml", page)
    place("second")
    go_on_with([page], config(), "study.yaml")
    assert run(config(), "study.yaml").report["strata"]["arms"] == labels
    other = config(strata=f"{__name__}:other_kind")
    assert {one["label"] for one in run(other, "study.yaml").report["strata"]["arms"]} == {
        "no label (no answers to read)"
    }


def test_a_question_that_was_changed_since_is_told(place: Any, said: list[str]) -> None:
    page = place("first")
    run_whole(config())
    publish(config(), "study.yaml", page)
    place("second")
    changed = config(question={"margin": 0.2})
    go_on_with([page], changed, "study.yaml")
    (change,) = run(changed, "study.yaml").report["asked"]["changes"]
    assert (change["settings"], change["was"], change["after"]) == (["margin"], {"margin": 0.02}, 10)
    place("third")
    run_whole(changed)  # as another asked it, later
    go_on_with([page], changed, "study.yaml")
    (change,) = run(changed, "study.yaml").report["asked"]["changes"]
    assert (change["settings"], change["was"]) == (["margin"], {"margin": 0.02})


def test_measurements_that_are_there_stay(place: Any, said: list[str]) -> None:
    page = place("first")
    run_whole(config())
    publish(config(), "study.yaml", page)
    place("second")
    run_whole(config(), dtype="bfloat16")
    before = {file: file.read_text() for file in (HERE / "out" / "cells").glob("*.json")}
    go_on_with([page], config(), "study.yaml")
    assert before == {file: file.read_text() for file in (HERE / "out" / "cells").glob("*.json")}
    assert run(config(), "study.yaml").report["dtypes"] == {"bfloat16": 6}


@pytest.mark.parametrize(("lacks", "named"), [("continue.json", "continue.json"), ("study.json", "study.json")])
def test_a_folder_that_none_can_go_on_with_is_refused(place: Any, lacks: str, named: str) -> None:
    page = place("first")
    run_whole(config())
    publish(config(), "study.yaml", page)
    (page / lacks).unlink()
    place("second")
    with pytest.raises(
        ConfigError, match=rf"--continue \(.*\) has no {named}: it is no published study that can go on"
    ):
        go_on_with([page], config(), "study.yaml")
    assert not (HERE / "out").exists()


def test_results_of_another_publication_are_refused(place: Any) -> None:
    """Cells are named by their places in it."""
    page = place("first")
    run_whole(config())
    publish(config(), "study.yaml", page)
    lines = (page / "results.json").read_text().splitlines(keepends=True)
    lines[3], lines[4] = lines[4], lines[3]
    (page / "results.json").write_text("".join(lines))
    place("second")
    with pytest.raises(ConfigError, match=r"results\.json is not the one that continue\.json was written with"):
        go_on_with([page], config(), "study.yaml")
    assert not (HERE / "out").exists()


def test_the_dtype_is_that_of_the_answers_that_are_measured(place: Any) -> None:
    """Others that a cell draws, as for its KL, say nothing of its figures."""
    place("first")
    measure = study(HERE)["measure"]
    scored = {"name": "distance", "score": {"score": {"data": "@own", "policy": "@policy"}, "data": {"train": "@own"},
                                            "model": {"path": "no/model"}}}  # fmt: skip
    own = {"name": "own", "generate": {**measure[0]["generate"], "seed": 5}}
    of = config(tune=None, arms={"old": study(HERE)["arms"]["old"]}, question={"compare": []}, kl="distance",
                measure=[*measure, own, scored])  # fmt: skip
    found = cells(of, "study.yaml", {})
    at_work(found)
    for cell in found:
        drawn = next(stage for stage in cell.stages if stage.name == "own")
        (drawn.folder / "report.json").write_text(json.dumps({"dtype": "bfloat16"}))
    assert dtypes(found, {}) == {"float32": 2}
