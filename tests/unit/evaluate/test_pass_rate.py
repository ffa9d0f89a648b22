"""Tasks are read as they stand in the file; answers stand beside those before."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.evaluate.constraints import Constraint
from jpo_dist.evaluate.pass_rate import SHOWN, Task, rates_of, read_tasks, side_by_side
from jpo_dist.generate.local import Said

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


def test_the_rate_of_a_kind_is_that_of_its_constraints_alone() -> None:
    """It was the share of answers that met all constraints, of those that had one of this kind."""
    short, plain = Constraint("max_words", 9), Constraint("no_commas")
    asked = [Task("a", (short, plain)), Task("b", (short, short)), Task("c", (plain,)), Task("d", ())]
    said = ["one, two three", "word " * 10, "cut off", "yes"]
    answers = [Said(n, text, n != 2, 3, 0.0) for n, text in enumerate(said)]
    assert rates_of(asked[:1], answers[:1])["by_kind"] == {"max_words": 1.0, "no_commas": 0.0}
    found = rates_of(asked, answers)
    assert found["by_kind"] == {"max_words": 1 / 3, "no_commas": 0.0}
    assert [row["passed"] for row in found["checked"]] == [False, False, False, True]
    assert (found["rate"][0], found["finished"], found["answers"]) == (0.25, 0.75, 4)
