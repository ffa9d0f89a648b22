"""Paths in a config become absolute before it is sent to other hosts."""

from pathlib import Path

import pytest

from launcher.config.load import parse
from launcher.config.run_paths import absolute
from tests.support.configs import merged


def test_paths_become_absolute_and_hub_ids_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "set").mkdir()
    here = merged(
        {
            "data": {
                "train": [
                    "set:all",
                    "rows.jsonl",
                    "owner/name",
                    "package:jpo_dist/x",
                    "https://host/x",
                    "*.jsonl",
                    "./new",
                ]
            },
            "model": {"path": "owner/model"},
            "run": {"dir": "runs/a"},
            "tracking": {"uri": "sqlite:///mlflow.db"},
        }
    )
    config = absolute(parse(here))
    at = lambda name: str(tmp_path / name)  # noqa: E731
    assert config.data.train == [
        f"{at('set')}:all", at("rows.jsonl"), "owner/name", "package:jpo_dist/x", "https://host/x", at("*.jsonl"),
        at("new"),
    ]  # fmt: skip
    assert (config.model.path, config.run.dir) == ("owner/model", at("runs/a"))
    assert config.tracking.uri == f"sqlite:///{at('mlflow.db')}"
    assert absolute(config) == config
