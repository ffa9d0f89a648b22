"""Tasks are read as they stand in the file."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.evaluate.pass_rate import read_tasks

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
