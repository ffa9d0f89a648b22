"""The pages of runs that are no trainings: their figures, and text of others that stays text."""

import re
from typing import Any

import pytest

from jpo_dist.judge.report import OUTCOMES
from launcher.show.run_page.descriptions import (
    DONE,
    TO_DO,
    StageLine,
    of_answers,
    of_cell,
    of_evaluation,
    of_pipeline,
    of_scores,
    of_set,
    of_verdicts,
)

EVIL = "<img src=x onerror=alert(1)>|[x](javascript:1)"
SOURCE = {"jpo.input_run.sft": "a1", "jpo.input_experiment.sft": "7"}
LINK = "[sft](#/experiments/7/runs/a1?workflowType=machine_learning)"
REFERENCE = {"mode": "live", "path": EVIL, "digest": "d"}
COUNTS = dict.fromkeys(("asked", "answers", "finished", "cut", "empty", "skipped", "failed", "not_asked", "tokens"), 1)


def answers() -> str:
    at = {"0.0": {**COUNTS, "asked": 5, "answers": 4}, "0.7": {**COUNTS, "asked": 5, "cut": 2}}
    return of_answers({"prompts": 5, "temperatures": at}, EVIL, [EVIL, "b", "c"], SOURCE)


def verdicts() -> str:
    outcomes = {**dict.fromkeys(OUTCOMES, 1), "decided": 7, "tie_rate": 0.125}
    place = {"comparisons": 8, "first_rate": 0.5, "interval": [0.4, 0.6]}
    report = {"annotator": EVIL, "candidates": 11, "outcomes": outcomes, "by_protocol": {"joint": outcomes},
              "position": place, "reasons": {EVIL: 2}, "usage": {"answers_cut": 3}}  # fmt: skip
    return of_verdicts(report, EVIL, SOURCE)


def evaluation() -> str:
    part = {"comparisons": 9, "rewards/accuracies": [0.75, 0.6, 0.9], "loss": [0.5, 0.4, 0.6]}
    rate = {"rate": [0.25, 0.1, 0.4], "answers": 20, "finished": 0.5}
    return of_evaluation(
        {"comparisons": {"all": part}, "policy": EVIL, "pass_rate": rate, "reference": REFERENCE}, SOURCE
    )


def scores() -> str:
    means = {key: [0.5, 0.4, 0.6] for key in ("accuracy", "z", "z_instruction", "z_response")}
    part = {"comparisons": 9, **means}
    items, pairs = {"items": 4, "scored": 3}, {"comparisons": 9, "scored": 8}
    report = {"policy": EVIL, "items": items, "comparisons": pairs, "margins": {"all": part}, "reference": REFERENCE}
    return of_scores(report, SOURCE)


def built() -> str:
    report = {"comparisons": 12, "items": 24, "splits": {"train": 10, "crossing_left_out": 2}}
    return of_set(report, [f"  2 x {EVIL}"], [EVIL, ["b", "c"]], SOURCE)


def cell() -> str:
    return of_cell("jpo", {"seed": 1, EVIL: EVIL}, [("passed", 0.625, 104), ("words", 31.25, 104)], SOURCE)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (answers(), "gave 5 of 10 answers that were asked for: 2 finished, 3 were cut off, 2 are empty."),
        (verdicts(), "of 11 candidates 7 are decided, 1 are ties, 1 have a reply that is no verdict."),
        (evaluation(), r"accuracy 0.750 \[0.600, 0.900\]. Of 20 answers 25.0% meet their constraints."),
        (scores(), "scored 3 of 4 items; 8 of 9 comparisons are decided and have a margin."),
        (built(), "12 comparisons of 24 items, from "),
        (cell(), "Arm **jpo**, seed 1, "),
    ],
)
def test_the_outcome_stands_first_and_what_others_wrote_stays_text(made: str, says: str) -> None:
    first, second, *_ = made.split("\n\n")
    assert says in first
    assert second.endswith(LINK)
    bare = re.sub(r"\\.", "", made.replace(LINK, ""))
    assert not set(bare) & set("<>[]`"), bare
    for table in re.findall(r"(?:^\|.*\n?)+", bare, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_what_was_not_decided_or_not_answered_is_said() -> None:
    part: dict[str, Any] = {"comparisons": 2, "loss": [0.5, 0.4, 0.6]}
    said = of_evaluation({"comparisons": {"all": part}, "policy": "p", "reference": {"path": None, "mode": "none"}}, {})
    assert "accuracy all ties." in said
    assert said.endswith("- no reference")
    assert of_cell("jpo", {}, [], {}) == "Arm **jpo**: no answers."


def test_a_pipeline_says_what_came_of_it_and_has_a_line_for_each_stage() -> None:
    run = {"run_id": "a1", "experiment_id": "7"}
    sft = StageLine("sft", DONE, 95.0, EVIL, run)
    rate = StageLine("rate", DONE, 30.0, "win rate 51.0 % [49.0, 53.0]", {})
    first, table = of_pipeline("A pipeline: sft → rate, twice.", [sft, rate], "rate").split("\n\n")[:2]
    assert first.startswith(r"**rate**: win rate 51.0 % \[49.0, 53.0\]. A pipeline: ")
    assert first.endswith("A pipeline: sft → rate, twice. All stages are done.")
    one, two = table.splitlines()[2:]
    assert one.startswith(f"| {LINK} | &emsp;2 minutes | &emsp;")
    assert "<img" not in one.replace("\\<", "")
    assert two == r"| rate | &emsp;30 s | &emsp;win rate 51.0 % \[49.0, 53.0\] |", "it is not tracked"


def test_a_pipeline_that_is_not_done_says_where_it_stands() -> None:
    stages = [StageLine("sft", DONE, 95.0, "words", {}), StageLine("jpo", "failed with exit code 2", None, "", {}),
              StageLine("rate", TO_DO, None, "", {})]  # fmt: skip
    first, table = of_pipeline("A pipeline: sft → jpo → rate.", stages, None).split("\n\n")[:2]
    assert first == "A pipeline: sft → jpo → rate. 1 of 3 stages are done. **jpo** failed with exit code 2."
    assert table.splitlines()[-2:] == [
        "| jpo | &emsp;- | &emsp;failed with exit code 2 |", "| rate | &emsp;- | &emsp;to do |",
    ]  # fmt: skip
