"""The report of a study: it begins with what may be said, and says what stands in the way of more."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jpo_dist.study.findings import Result, findings
from jpo_dist.study.question import QuestionConfig
from launcher.show.study import answers, sections, write
from launcher.study.measured import read_results, write_results


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


def report(found: list[Result], **more: Any) -> dict[str, Any]:
    question = QuestionConfig(answers="answers", checker="m:f", compare=[("jpo", "dpo")])
    asked = {"at": "2026-01-01", "question": question.model_dump(mode="json"), "changes": []}
    return {
        "study": "s",
        "asked": asked,
        **findings(found, question),
        "tuned": [],
        "failed": {},
        "seconds": 1.0,
        **more,
    }


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
        ({"jpo": 0.5}, 5, "No two arms were asked to be compared."),
    ],
)
def test_it_begins_with_the_answer(rates: dict[str, float], seeds: int, begins: str) -> None:
    assert answers(report(results(rates, seeds)))[0].startswith(begins)


def test_it_says_what_is_wrong_with_the_figures() -> None:
    changes = [{"at": "2026-02-02", "settings": ["margin"], "was": {"margin": 0.1}, "after": 4}]
    made = report(results({"jpo": 0.5, "dpo": 0.3}, 2), failed={"jpo seed=7": "no room"})
    made["asked"]["changes"] = changes
    said = " ".join(answers(made))
    assert "This rests on 2 training runs an arm; 5 are the least to go by." in said
    assert "1 cells failed and are in no figure: jpo seed=7." in said
    assert "The question was changed on 2026-02-02 (margin), when 4 cells had been measured" in said


def test_the_pages_and_figures_are_written_and_nothing_is_html(tmp_path: Path) -> None:
    made = report(results({"jpo": 0.5, "dpo": 0.3}, 2, sizes=(1, 2)))
    made["tuned"] = [{"arm": "<b>", "settings": {"lr": 1}, "value": 0.5, "answers": 4}]
    written = write(made, tmp_path)
    assert [path.name for path in written] == ["report.md", "report.html", "arms.png", "curve.png"]
    page = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "| jpo - dpo | size=1 | 2 |" in (tmp_path / "report.md").read_text()
    assert [section.title for section in sections(made)][:3] == ["Answer", "Arms", "Differences"]


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = results({"jpo": 0.5, "dpo": 0.3}, 2)
    del found[0].sums["pass"]["007"]  # an instruction that one cell has no value for
    write_results(found, [_Cell()] * len(found), tmp_path)  # type: ignore[list-item]
    assert read_results(tmp_path / "results.json") == found
    (tmp_path / "results.json").write_text('{"cells": []}')
    with pytest.raises(ValueError, match=r"is no results\.json of jpo study"):
        read_results(tmp_path / "results.json")


class _Cell:
    settings: dict[str, Any] = {}  # noqa: RUF012
