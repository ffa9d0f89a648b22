"""Tasks are read as they stand in the file."""

import json
from pathlib import Path

from jpo_dist.evaluate.pass_rate import read_tasks

TASK = json.dumps({"instruction": "say 1", "constraints": [{"kind": "max_words", "n": 50}]})


def test_tasks_are_read_in_order(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(f"{TASK}\n\n{TASK.replace('say 1', 'say 2')}\n")
    assert [task.instruction for task in read_tasks(str(file))] == ["say 1", "say 2"]
