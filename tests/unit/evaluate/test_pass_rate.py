"""Tasks are read as they stand in the file; answers stand beside those before."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.evaluate.pass_rate import SHOWN, read_tasks, side_by_side

TASK = json.dumps({"instruction": "say 1", "constraints": [{"kind": "max_words", "n": 50}]})


def test_tasks_are_read_in_order(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(f"{TASK}\n\n{TASK.replace('say 1', 'say 2')}\n")
    assert [task.instruction for task in read_tasks(str(file))] == ["say 1", "say 2"]


@pytest.mark.parametrize("instruction", [None, 7, "", ["a"]])
def test_an_instruction_that_is_no_text_is_not_asked(tmp_path: Path, instruction: Any) -> None:
    """null was asked as "None"."""
    file = tmp_path / "asked.jsonl"
    file.write_text(json.dumps({"instruction": instruction, "constraints": []}) + "\n")
    with pytest.raises(ValueError, match=r'line 1: needs \{"instruction": text'):
        read_tasks(str(file))


def checked(*answers: tuple[str, bool]) -> dict[str, Any]:
    return {
        "checked": [
            {"instruction": f"ask {at}", "answer": text, "finished": True, "passed": passed}
            for at, (text, passed) in enumerate(answers)
        ]
    }


def test_answers_that_came_to_meet_their_constraints_stand_first_then_those_that_changed() -> None:
    before = checked(("same", True), ("old", True), ("bad", False), ("wrong", False))
    after = checked(("same", True), ("new", True), ("good", True), ("still wrong", False), ("beyond", True))
    rows = side_by_side(before, after)
    assert [row["instruction"] for row in rows] == ["ask 2", "ask 1", "ask 3", "ask 0"]
    assert rows[0] == {
        "instruction": "ask 2", "answer before": "bad", "answer after": "good", "met before": "no", "met after": "yes",
    }  # fmt: skip
    many = checked(*[("x", False)] * (SHOWN + 5))
    assert len(side_by_side(many, many)) == SHOWN
