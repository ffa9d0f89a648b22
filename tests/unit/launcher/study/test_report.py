"""The report of a study: it begins with what may be said, and says what stands in the way of more."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from jpo_dist.study.question import Metric, QuestionConfig
from jpo_dist.study.results import read_results, write_results
from jpo_dist.study.tables import Result
from jpo_dist.tracking.mlflow_entries import clean_name
from launcher.show.run_page.descriptions import of_study
from launcher.show.run_page.figures import WORDS
from launcher.show.run_page.figures import of_study as figures_of_study
from launcher.show.study.answer import FEW, answers
from launcher.show.study.page import text, write
from launcher.show.study.tables import sections
from launcher.study.report.collected import Collected, report_in, report_of
from launcher.study.report.collected import write as write_all
from tests.support.metric_names import undocumented


def results(rates: dict[str, float], seeds: int, sizes: tuple[int, ...] = ()) -> list[Result]:
    draw = np.random.default_rng(0)
    found = []
    for seed in range(seeds):
        for size in sizes or (None,):
            for arm, rate in rates.items():
                passed = draw.binomial(4, rate, 150)
                sums = {"pass": {f"{at:03d}": [float(n), float(n), 4] for at, n in enumerate(passed)}}
                found.append(Result(arm, {"seed": seed, **({"size": size} if size else {})}, sums, {"answers": 600}))
    return found


def about(arms: list[str], seeds: int, points: int = 1) -> dict[str, Any]:
    question = QuestionConfig(answers="answers", checker="m:f", compare=[("jpo", "dpo")])
    planned = {"arms": arms, "seeds": list(range(seeds)), "points": points, "cells": len(arms) * seeds * points}
    curve = {"margin/instruction": [0.1, 0.2], "margin/response": [0.3, 0.9], "rewards/accuracies": [0.5, 0.75]}
    made = {"set": "both", "point": "", "for_training": 90, "flipped": 0, "policy": "balanced", "comparisons": 100,
            "ties": 0, "instruction_alone": 0.52, "standard_error": 0.03}  # fmt: skip
    return {
        "study": "s",
        "config": "configs/s.yaml",
        "asked": {"at": "2026-01-01", "question": question.model_dump(mode="json"), "changes": []},
        "planned": planned,
        "tuned": [],
        "failed": {},
        "sets": [made],
        "curves": [{"point": "", "arm": "jpo", "runs": seeds, "steps": [12, 24], **curve}],
        "cost": {"stages": 9, "seconds": 7200, "machine": "2 CPU cores"},
    }


def report(found: list[Result], strata: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    arms, seeds = list(dict.fromkeys(one.arm for one in found)), len({one.values["seed"] for one in found})
    points = len({one.point for one in found})
    return report_of(found, strata or {}, {**about(arms, seeds, points), **more})


@pytest.mark.parametrize(
    ("rates", "seeds", "begins"),
    [
        ({"jpo": 0.5, "dpo": 0.3}, 5, "jpo is higher than dpo: +"),
        ({"jpo": 0.3, "dpo": 0.5}, 5, "jpo is lower than dpo: -"),
        (
            {"jpo": 0.4, "dpo": 0.4},
            3,
            "Between jpo and dpo no difference is shown, and none within 2.0 points either: ",
        ),
        ({"jpo": 0.5, "dpo": 0.3}, 1, "jpo minus dpo: +"),
        ({"jpo": 0.5}, 5, "No compared arms are done yet."),
    ],
)
def test_it_begins_with_the_answer(rates: dict[str, float], seeds: int, begins: str) -> None:
    first, *said = answers(report(results(rates, seeds)))
    assert first.endswith(f"of each of {len(rates)} arms: all that was planned.")
    assert said[0].startswith("This rests on") == (seeds < FEW)
    assert said[seeds < FEW].startswith(begins)


def test_its_run_in_mlflow_says_the_answer_first_and_has_both_tables() -> None:
    first, *tables = of_study(report(results({"jpo": 0.5, "dpo": 0.3}, 5))).split("\n\n")
    assert "of each of 2 arms" in first
    assert tables[0::2][:2] == ["**Arms**", "**Differences**"]
    assert "| dpo | &emsp;5 |" in tables[1]
    assert tables[4].startswith("- pass is the primary metric")


def test_its_run_in_mlflow_says_how_far_it_is_while_it_runs() -> None:
    found = [one for one in results({"jpo": 0.5, "dpo": 0.3}, 5) if one.values["seed"] < 2]
    said = of_study(report_of(found, {}, about(["jpo", "dpo"], 5)), running=True)
    assert said.startswith("So far&#58; 2 of 5 training runs of each arm \\(jpo, dpo\\) are done.")
    assert "Cut short" not in said
    assert "- at the end `report.html` among the artifacts will have the rest" in said


def test_its_figures_are_metrics_by_names_that_a_person_reads() -> None:
    made = report(results({"jpo": 0.5, "dpo": 0.3}, 5))
    found = figures_of_study(made)
    arms = {one["arm"]: one["metrics"]["pass"] for one in made["arms"]}
    [pair] = made["comparisons"]
    assert found == {
        "pass rate/jpo": arms["jpo"]["value"],
        "pass rate/jpo: low": arms["jpo"]["interval"][0],
        "pass rate/jpo: high": arms["jpo"]["interval"][1],
        "pass rate/dpo": arms["dpo"]["value"],
        "pass rate/dpo: low": arms["dpo"]["interval"][0],
        "pass rate/dpo: high": arms["dpo"]["interval"][1],
        "difference/jpo - dpo": pair["difference"],
        "difference/jpo - dpo: low": pair["interval"][0],
        "difference/jpo - dpo: high": pair["interval"][1],
    }
    assert undocumented(found) == []
    assert set(WORDS) == set(get_args(Metric)), "each primary figure has a name"


def test_metrics_name_the_point_of_a_grid_and_leave_out_what_has_no_figure() -> None:
    found = figures_of_study(report(results({"jpo": 0.5, "dpo": 0.3}, 5, sizes=(1, 2))))
    assert {"pass rate/jpo at size 1", "difference/jpo - dpo at size 2: low"} <= set(found)
    assert undocumented(found) == []
    assert [clean_name(name) for name in found] == list(found), "as MLflow takes them"
    alone = figures_of_study(report(results({"jpo": 0.5}, 5)))
    assert [name for name in alone if name.startswith("difference")] == []
    one = Result("jpo", {"seed": 1}, {"tokens": {"a": [3.0, 9.0, 1]}}, {"answers": 1})
    assert figures_of_study(report([one])) == {}, "the primary figure was not measured"


def test_it_says_what_is_wrong_with_the_figures() -> None:
    changes = [{"at": "2026-02-02", "settings": ["margin"], "was": {"margin": 0.1}, "after": 4}]
    made = report(results({"jpo": 0.5, "dpo": 0.3}, 2), failed={"jpo seed=7": "no room"})
    made["asked"]["changes"], made["one_draw"] = changes, ["jpo", "dpo"]
    said = " ".join(answers(made))
    assert (
        "This rests on 2 training runs an arm; 5 are the least to go by, and one more may change what follows." in said
    )
    assert "All runs of an arm learn from the same data (jpo, dpo): the intervals are for other training runs" in said
    assert "1 cells failed and are in no figure: jpo seed=7." in said
    assert "The question was changed on 2026-02-02 (margin), when 4 cells had been measured" in said


def test_the_pages_and_figures_are_written_and_nothing_is_html(tmp_path: Path) -> None:
    made = report(results({"jpo": 0.5, "dpo": 0.3}, 2, sizes=(1, 2)))
    made["tuned"] = [{"arm": "<b>", "settings": {"lr": 1}, "value": 0.5, "answers": 4, "chosen": True}]
    written = write(made, tmp_path)
    assert [path.name for path in written] == [
        "report.md", "report.html", "arms.png", "curve.png", "gap.png", "margins.png",
    ]  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "| jpo - dpo | size=1 | 2 |" in (tmp_path / "report.md").read_text()
    assert [section.title for section in sections(made)][:3] == ["Answer", "Arms", "Differences"]


def test_draws_of_a_set_are_one_line_and_two_pairings_of_one_set_are_two() -> None:
    made = about(["jpo"], 2)
    one = {**made["sets"][0], "key": "a"}
    draw = {**one, "key": "b", "comparisons": 101, "instruction_alone": 0.56, "standard_error": 0.04}
    made["sets"] = [one, {**one, "comparisons": 7}, draw, {**draw, "comparisons": 9}]
    (found,) = (part for part in sections(report_of(results({"jpo": 0.5}, 2), {}, made)) if part.title == "Sets")
    assert [row[3] for row in found.rows] == ["100.5", "8.0"]
    assert found.rows[0][-1] == "0.54 ± 0.03"  # (.03^2 + .04^2)^.5 / 2 = .025
    assert found.notes[-1] == "Runs draw sets of their own: means of up to 2 draws."


@pytest.mark.parametrize(
    ("drop", "first"),
    [
        (lambda one: one.values["seed"] > 1, "Cut short: 2 of 8 training runs of each arm (jpo, dpo) are done."),
        (
            lambda one: one.values["seed"] > 2 or (one.arm == "dpo" and one.values["seed"] > 1),
            "Cut short: of 8 training runs of each arm these are done: jpo 3, dpo 2.",
        ),
        (lambda one: one.arm == "dpo", "Cut short: of 8 training runs of each arm these are done: jpo 8, dpo 0."),
        (lambda one: True, "Cut short: 0 of 8 training runs of each arm (jpo, dpo) are done."),
    ],
)
def test_the_first_line_says_what_was_cut_short(drop: Any, first: str) -> None:
    some = [one for one in results({"jpo": 0.5, "dpo": 0.3}, 8) if not drop(one)]
    made = report_of(some, {}, about(["jpo", "dpo"], 8))
    assert answers(made)[0] == first
    assert f"## Answer\n\n{first}\n" in text(made, [])  # a page of it can always be made


def test_points_of_a_grid_that_are_missing_are_counted() -> None:
    found = results({"jpo": 0.5, "dpo": 0.3}, 2, sizes=(1, 2))
    made = report_of(found[:-1], {}, about(["jpo", "dpo"], 2, 2))
    assert answers(made)[0] == (
        "Cut short: of 4 training runs of each arm (2 at each of 2 points) these are done: jpo 4, dpo 3."
    )


def test_a_trend_that_cannot_be_told_yet_and_a_pair_that_lacks_points_are_said() -> None:
    found = [one for one in results({"jpo": 0.5, "dpo": 0.3, "sft": 0.2}, 5, sizes=(1, 2, 4))
             if (one.arm, one.values["size"]) not in [("jpo", 4), ("sft", 1)]]  # fmt: skip
    told = about(["jpo", "dpo", "sft"], 5, 3)
    told["planned"]["grid"] = {"size": [1, 2, 4]}
    told["asked"]["question"] |= {"trend": "size", "compare": [["jpo", "dpo"], ["dpo", "sft"], ["jpo", "sft"]]}
    made = report_of(found, {}, told)
    said = answers(made)
    assert (
        "Whether jpo - dpo grows with size cannot be told yet: jpo has no result at size=4 (2 of 3 points are there)."
    ) in said
    assert (
        "Whether jpo - sft grows with size cannot be told yet: "
        "jpo has no result at size=4; sft has no result at size=1 (1 of 3 points are there)."
    ) in said
    assert "jpo and sft cannot be compared at 2 of 3 points yet: not both have a result." in said
    (differences,) = (part for part in sections(made) if part.title == "Differences")
    assert differences.notes[-1] == "p (Holm) is adjusted over the 5 tests that can be told, of 12 that were asked."
    whole = report_of(results({"jpo": 0.5, "dpo": 0.3, "sft": 0.2}, 5, sizes=(1, 2, 4)), {}, told)
    assert not any("yet" in sentence for sentence in answers(whole))
    assert not any("tests that can be told" in note for part in sections(whole) for note in part.notes)


def test_few_runs_behind_a_trend_are_told() -> None:
    """Points of which each has other runs: a slope pairs those alone that all of them have."""
    found = [one for one in results({"jpo": 0.5, "dpo": 0.3}, 6, sizes=(1, 2))
             if one.values["seed"] != 5 * (one.values["size"] - 1)]  # fmt: skip
    told = about(["jpo", "dpo"], 6, 2)
    told["asked"]["question"]["trend"] = "size"
    assert "This rests on 4 training runs an arm" in answers(report_of(found, {}, told))[1]


def test_a_page_is_made_again_from_its_files_alone(tmp_path: Path) -> None:
    found = results({"jpo": 0.5, "dpo": 0.3}, 3)
    strata = {f"{at:03d}": "seen" if at % 3 else "unseen" for at in range(150)}
    (tmp_path / "reading.md").write_text("As was to be expected.\n")
    written = write_all(
        Collected(found, [{}] * 6, strata, about(["jpo", "dpo"], 3)), tmp_path, "README.md", also_html=False
    )
    page = (tmp_path / "README.md").read_text()
    places = [page.index(part) for part in ("## Answer", "As was to be expected.", "arms.png", "## Arms")]
    assert places == sorted(places)
    assert "unseen (50 instructions)" in page
    assert not (tmp_path / "report.html").exists()
    before = {path: path.read_bytes() for path in written}
    write(report_in(tmp_path), tmp_path, "README.md", also_html=False)
    assert {path: path.read_bytes() for path in written} == before
    assert "\n## Reading\n\nAs was" in page
    (tmp_path / "reading.md").write_text("## What it means\n\nAs was to be expected.\n")
    write(report_in(tmp_path), tmp_path, "README.md", also_html=False)
    assert (tmp_path / "README.md").read_text() == page.replace("## Reading", "## What it means")
    made = report_of(found, strata, about(["jpo", "dpo"], 3))
    assert report_in(tmp_path)["comparisons"] == made["comparisons"]


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = results({"jpo": 0.5, "dpo": 0.3}, 2)
    del found[0].sums["pass"]["007"]  # an instruction that one cell has no value for
    found[0].sums["tokens"] = {"007": [12.0, 74.0, 2], "149": [5.25, 14.0625, 2]}
    found += [Result("sft", {"seed": seed}, one.sums, {"answers": 600}) for seed, one in enumerate([found[1]] * 3)]
    found += [Result("none", {"seed": seed}, {}, {"answers": 0}) for seed in range(2)]
    labels = {"007": "odd"}
    write_results(found, [{"lr": 0.1}] * len(found), labels, tmp_path / "results.json")
    again = read_results(tmp_path / "results.json")
    assert again.results == found
    assert again.strata == labels
    written = [row["metrics"] for row in json.loads((tmp_path / "results.json").read_text())["cells"]]
    assert written[-5:] == [1, 1, 1, {}, len(found) - 2]
    (tmp_path / "results.json").write_text('{"cells": []}')
    with pytest.raises(ValueError, match=r"is no results\.json of jpo study"):
        read_results(tmp_path / "results.json")


def test_what_is_all_alike_is_undecided_in_words() -> None:
    found = [
        Result(arm, {"seed": seed}, {"pass": {f"{q}": [0.0, 0.0, 1] for q in range(20)}}, {"answers": 20})
        for arm in ("jpo", "dpo")
        for seed in range(2)
    ]
    assert answers(report(found))[-1] == (
        "jpo minus dpo: +0.0 points on pass, 2 runs; undecided: all differences are alike (zero variance), which says "
        "nothing of other instructions."
    )


@pytest.mark.parametrize("grid", [{}, {"size": 2}])
def test_cells_without_one_verdict_are_reported(tmp_path: Path, grid: dict[str, int]) -> None:
    """All replies of the judge unreadable: in one cell, and in all there are. The page is written, and made again."""
    first = {"size": 1} if grid else {}
    some = Result("jpo", {"seed": 0, **first}, {"win": {"a": [1.0, 1.0, 1], "b": [0.5, 0.25, 1]}}, {"answers": 2})
    none = [Result(arm, {"seed": 0, **grid}, {}, {"answers": 2, "no verdict": 2}) for arm in ("jpo", "dpo")]
    for found in ([some, *none], none):
        told = about(["jpo", "dpo"], 1, 2 if grid else 1)
        told["asked"]["question"] |= {"primary": "win", "checker": None}
        write_all(Collected(found, [{}] * len(found), {"a": "x", "b": "y"}, told), tmp_path)
        page = (tmp_path / "report.md").read_text()
        at = " size=2" if grid else ""
        assert (
            "2 cells are done without one answer that has a value of win rate, and in no figure of it: "
            f"jpo seed=0{at}, dpo seed=0{at}."
        ) in page
        assert text(report_in(tmp_path), [png.name for png in sorted(tmp_path.glob("*.png"))])
        assert of_study(report_in(tmp_path))
