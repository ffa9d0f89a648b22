"""`--json`: one JSON value on standard output and nothing else, of the commands whose results programs read."""

import json
from pathlib import Path
from typing import Any

from launcher.cli import app
from tests.support.screen import invoked
from tests.unit.launcher.study.test_cells import study


def printed(*words: str, code: int = 0) -> Any:
    done = invoked(app, [*words, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_check_says_that_it_is_well_and_what_was_not_seen(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("model: {path: nobody/has-this}\ndata: {train: d}\nrun: {dir: /runs/a}\n")
    found = printed("check", str(config), "optim.lr=1e-5")
    assert (found["ok"], found["command"], found["config"]["optim"]["lr"]) == (True, "jpo train", 1e-5)
    assert found["notes"] == ["model and data are not looked at: nobody/has-this is not on this machine"]


def test_a_study_says_what_is_to_do(tmp_path: Path) -> None:
    config = tmp_path / "study.yaml"
    config.write_text(json.dumps(study(tmp_path)))
    (found,) = printed("study", str(config), "--dry-run")
    assert {row[0]: row[2] for row in found["rows"]} == {"sft": "1", "train": "7", "tried": "4", "answers": "5"}
    assert found["head"][2] == "to do"


def test_a_pipeline_says_which_stages_are_done(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"instruction": "say", "response": "a", "score": 1}) + "\n")
    config = tmp_path / "run.yaml"
    stages = [{"build": {"sources": [{"path": str(data)}]}}]
    config.write_text(json.dumps({"dir": str(tmp_path / "out"), "stages": stages}))
    (stage,) = printed("run", str(config), "--dry-run")
    assert (stage["stage"], stage["done"]) == ("build", False)
    assert Path(stage["folder"]).parent == tmp_path / "out"
