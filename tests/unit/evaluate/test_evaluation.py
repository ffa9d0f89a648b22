"""Instructions are checked before anything is scored; a failure costs neither the scores nor the other ranks."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.evaluate import evaluation
from jpo_dist.evaluate.evaluation import evaluate_policy
from tests.support.procs import run_ranks
from tests.support.runs import config_for
from tests.support.tiny import comparisons, save_tiny, write_jsonl

TASK = json.dumps({"instruction": "say 1", "constraints": [{"kind": "max_words", "n": 50}]})


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, "is no file; correct the path"),
        ("\n", "is empty; leave the setting out"),
        (f"{TASK}\nnot json\n", r"line 2: Expecting value"),
        (f'{TASK}\n\n{{"instruction": "x"}}\n', r'line 3: needs {"instruction": text'),
        ('["say 1"]\n', r'line 1: needs {"instruction": text'),
        (TASK.replace("max_words", "max_wrods"), r"line 1: constraint kind 'max_wrods' is unknown; did you mean"),
    ],
)
def test_instructions_that_cannot_be_read_are_refused_before_anything_is_scored(
    text: str | None, rule: str, tmp_path: Path
) -> None:
    file = tmp_path / "tasks.jsonl"
    if text is not None:
        file.write_text(text)
    config = config_for("unused", "unused", tmp_path / "run")
    with pytest.raises(ValueError, match=r"^evaluate\.instructions \(.*tasks\.jsonl\)") as caught:
        evaluate_policy(config, "unused", str(file), 8)
    assert rule in str(caught.value)


@pytest.mark.slow
def test_answers_that_fail_on_one_rank_end_all_and_leave_the_scores(tmp_path: Path) -> None:
    folder, train = save_tiny(tmp_path / "model"), write_jsonl(tmp_path / "train.jsonl", comparisons(12))
    (tmp_path / "tasks.jsonl").write_text(TASK)
    ended = run_ranks(failing_answers, 2, folder, train, str(tmp_path), check=False, group=False)
    assert [outcome.exception for outcome in ended] == ["MemoryError", "PeerError"]
    assert "generating answers failed on rank 0: MemoryError: none left" in str(ended[1].error)
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert kept["comparisons"]["all"]["comparisons"] > 0


@pytest.mark.slow
def test_a_policy_that_is_written_anew_meanwhile_gets_no_figures_of_the_one_before(tmp_path: Path) -> None:
    folder, train = save_tiny(tmp_path / "model"), write_jsonl(tmp_path / "train.jsonl", comparisons(12))
    [ended] = run_ranks(scored_while_it_is_written, 1, folder, train, str(tmp_path), check=False, group=False)
    assert f"evaluate.policy ({folder}) was written anew while it was evaluated" in str(ended.error)
    assert not (tmp_path / "run" / "evaluation.json").exists()


def scored_while_it_is_written(folder: str, train: str, where: str) -> None:
    score = evaluation.score_comparisons

    def and_write(*given: Any) -> Any:
        weights = Path(folder) / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.with_suffix(".new").write_bytes(data)
        weights.with_suffix(".new").replace(weights)
        return score(*given)

    evaluation.score_comparisons = and_write
    evaluate_policy(config_for(folder, train, f"{where}/run", data={"validation": train}), folder, None, 8, 60)


def failing_answers(folder: str, train: str, where: str) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("none left")

    evaluation.pass_rate = fail  # type: ignore[assignment]
    config = config_for(folder, train, f"{where}/run", data={"validation": train})
    evaluate_policy(config, folder, f"{where}/tasks.jsonl", 8, 60)
