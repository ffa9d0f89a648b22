"""`jpo config show`: which settings differ from their defaults, and who says so."""

import json
from pathlib import Path

import pytest

from jpo_dist.config.load import load_as, parse_as
from launcher.cli import app
from launcher.config.detect import kind_of
from launcher.config.kinds import JudgeRunConfig, RunConfig
from launcher.config.origins import differences, settings_of
from launcher.config.schema import FOLDER
from tests.support.screen import invoked

FILE = """\
model: {path: m}
data:
  train: [a.jsonl, b.jsonl]
  template_args:
    enable_thinking: false
optim:
  lr: 1.0e-5
  schedule: cosine
tracking:
  uri: null
run:
  dir: ${oc.env:HOME}/r
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", "/home/x")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "c.yaml").write_text(FILE)
    return tmp_path / "c.yaml"


def told(file: Path, *overrides: str, everything: bool = False) -> dict[str, tuple[object, str]]:
    resolved = load_as(RunConfig, file, list(overrides))
    found = settings_of(resolved, file, list(overrides), everything=everything)
    return {one.key: (one.value, one.origin.replace(str(file), "c.yaml")) for one in found}


def test_each_value_has_its_line(file: Path) -> None:
    assert told(file) == {
        "model.path": ("m", "c.yaml:1"),
        "data.train": (["a.jsonl", "b.jsonl"], "c.yaml:3"),
        "data.template_args.enable_thinking": (False, "c.yaml:5"),
        "optim.lr": (1e-5, "c.yaml:7"),
        "run.dir": ("/home/x/r", "c.yaml:12"),
    }


def test_the_command_line_and_the_environment_come_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    found = told(file, "optim.lr=2e-5", "cluster.workers={min: 1, max: 4}", "data.train[0]=c.jsonl")
    assert found["optim.lr"] == (2e-5, "command line")
    assert found["cluster.workers.max"] == (4, "command line")
    assert found["data.train"] == (["c.jsonl", "b.jsonl"], "command line")
    assert found["tracking.uri"] == ("http://mlflow:5000", "MLFLOW_TRACKING_URI")
    assert told(file, "tracking.uri=none")["tracking.uri"] == ("none", "command line")


def test_all_settings_are_there_with_their_defaults(file: Path) -> None:
    found = told(file, everything=True)
    assert found["objective.beta"] == (0.1, "default")
    assert found["tracking.uri"] == (None, "default")
    assert found["optim.schedule"] == ("cosine", "c.yaml:8")  # said, though it is the default
    assert found.keys() > told(file).keys()


@pytest.mark.parametrize("config", sorted(FOLDER.parent.rglob("*.yaml")), ids=lambda config: config.name)
def test_what_differs_is_a_config_of_the_same_run(config: Path) -> None:
    kind = kind_of(config)
    resolved = load_as(kind, config)
    assert parse_as(kind, differences(resolved), "differences") == resolved


def test_a_section_with_a_default_of_its_own_is_measured_by_that() -> None:
    judge = {"candidates": "c", "output": "o", "endpoint": {"model": "m"}}
    resolved = parse_as(JudgeRunConfig, judge | {"cluster": {"workers": 1}}, "judge")
    assert differences(resolved)["cluster"] == {"workers": 1}
    assert "cluster" not in differences(parse_as(JudgeRunConfig, judge, "judge"))


def test_the_command_shows_a_table_or_json(file: Path) -> None:
    table = invoked(app, ["config", "show", str(file)])
    assert table.exit_code == 0, table.output
    assert [line.split() for line in table.output.splitlines() if line.startswith("optim.lr")] == [
        ["optim.lr", "1e-05", f"{file}:7"]
    ]
    found = json.loads(invoked(app, ["config", "show", str(file), "--json", "--all"]).output)
    assert {"key": "objective.beta", "value": 0.1, "origin": "default"} in found
