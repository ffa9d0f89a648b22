"""What a stage has come to: every command that can be one, from the files that it leaves."""

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.config.pipeline import COMMANDS
from launcher.pipeline.outcomes import outcome_of
from launcher.pipeline.resolve import Stage
from launcher.pipeline.run import run_of
from tests.support.metric_names import undocumented

PART = {"win_rate": 0.515, "interval": [0.495, 0.534], "answers": 104, "judged": 103, "win": 9, "tie": 88, "loss": 6}
WIN_RATE = {
    "all": PART, "by_temperature": {"0.5": PART}, "groups": {"topic": {"a": PART}}, "unanswered": 0,
    "length_controlled": {"win_rate": 0.51}, "controls": {"constant": PART, "longest": {"win_rate": 0.6}},
    "order": None, "compare": [{"all": PART, "minus": {"difference": 0.1, "p_holm": 0.2}}],
}  # fmt: skip
ACCURACY = {"comparisons": 9, "rewards/accuracies": [0.75, 0.6, 0.9], "loss": [0.5, 0.4, 0.6]}
EVALUATION = {
    "comparisons": {"all": ACCURACY, "joint": ACCURACY}, "calibration": {}, "groups": {},
    "pass_rate": {"rate": [0.25, 0.1, 0.4], "answers": 20, "finished": 0.5},
}  # fmt: skip
SCORES = {
    "comparisons": {"comparisons": 9, "scored": 8}, "groups": {},
    "margins": {"all": {"comparisons": 8, "accuracy": [0.75, 0.6, 0.9]}},
}  # fmt: skip
TEMPERATURES = {"temperatures": {"0.0": {"answers": 4, "finished": 3}, "0.7": {"answers": 4, "finished": 2}}}
VERDICTS = {"candidates": 9, "outcomes": {"decided": 7, "tie": 2}}


def stage(command: str, folder: Path) -> Stage:
    return Stage("name", COMMANDS[command], "key", folder, {}, ())


def measured(rows: list[dict[str, float]]) -> str:
    return "".join(json.dumps({"step": at, "ts_ms": 1, "metrics": row}) + "\n" for at, row in enumerate(rows))


@pytest.mark.parametrize(
    ("command", "file", "report", "words", "figures"),
    [
        ("generate", "report.json", TEMPERATURES, "8 answers, 5 of them finished", []),
        ("judge", "report.json", VERDICTS, "7 of 9 candidates decided, 2 ties", []),
        ("build", "report.json", {"comparisons": 9, "items": 12}, "9 comparisons of 12 items", []),
        (
            "evaluate", "evaluation.json", EVALUATION,
            "accuracy 0.750 [0.600, 0.900]; of 20 answers 25.0 % meet their constraints",
            ["evaluate/all/comparisons", "evaluate/all/loss", "evaluate/all/rewards/accuracies", "evaluate/finished",
             "evaluate/pass_rate"],
        ),
        (
            "score", "scores/report.json", SCORES, "accuracy 0.750 [0.600, 0.900]; 8 of 9 comparisons have a margin",
            ["score/all/accuracy", "score/all/comparisons"],
        ),
        (
            "winrate", "winrate.json", WIN_RATE, "win rate 51.5 % [49.5, 53.4] of 103 answers with a verdict",
            ["winrate/compare_1/difference", "winrate/compare_1/p_holm", "winrate/compare_1/win_rate", "winrate/high",
             "winrate/judged", "winrate/length_controlled", "winrate/low", "winrate/win_rate"],
        ),
    ],
)  # fmt: skip
def test_a_stage_has_words_and_the_figures_that_it_measured(
    tmp_path: Path, command: str, file: str, report: dict[str, Any], words: str, figures: list[str]
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(json.dumps(report))
    found = outcome_of(stage(command, tmp_path))
    assert found.words == words
    assert sorted(found.figures) == figures
    assert undocumented(found.figures) == []


@pytest.mark.parametrize("command", ["sft", "train"])
def test_a_training_has_what_it_held_out_at_its_end(tmp_path: Path, command: str) -> None:
    rows = [{"eval/loss": 0.7}, {"loss": 0.6}, {"eval/loss": 0.5, "eval/rewards/accuracies": 0.75, "loss": 0.4}]
    (tmp_path / "metrics.jsonl").write_text(measured(rows))
    found = outcome_of(stage(command, tmp_path))
    assert found.words == "held out: loss 0.7000 → 0.5000"
    assert found.figures == {"eval/loss": 0.5, "eval/rewards/accuracies": 0.75}
    (tmp_path / "metrics.jsonl").write_text(measured([{"loss": 0.6}, {"loss": 0.25}]))
    said = "nothing was held out; loss of the steps 0.6000 → 0.2500"
    assert outcome_of(stage(command, tmp_path)) == (said, {}), "the loss of a step measures no policy"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_outcome_also_where_its_files_are_gone(tmp_path: Path, command: str) -> None:
    assert outcome_of(stage(command, tmp_path)).figures == {}


@pytest.mark.parametrize("report", [{"all": {}}, {"all": 3}, {"all": {**PART, "interval": 3}}])
def test_a_report_of_another_form_ends_no_pipeline(tmp_path: Path, report: dict[str, Any]) -> None:
    (tmp_path / "winrate.json").write_text(json.dumps(report))
    assert outcome_of(stage("winrate", tmp_path)) == ("its report has another form", {})


@pytest.mark.parametrize("place", ["", "mlflow", "scores/mlflow", "evaluation/mlflow"])
def test_the_run_of_a_stage_is_found_wherever_its_command_leaves_it(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "run.json").write_text(json.dumps({"mlflow": {"run_id": "a1"}}))
    assert run_of(tmp_path) == {"run_id": "a1"}
