"""Paths in a config become absolute before it is sent to other hosts."""

import os
from pathlib import Path

import pytest

from jpo_dist.tracking.run_file import sqlite_path
from launcher.config.load import parse
from launcher.config.run_paths import absolute
from launcher.ray_job import submission_id
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


ODD = "q?x=1/p%20q #é'\"[a] *"


def test_names_are_names_whatever_is_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that the command runs in has them too, and the database of MLflow is still the one in it."""
    here = tmp_path / ODD
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    (here / "a:b*.jsonl").touch()
    (here / "set [1]").mkdir()
    config = absolute(
        parse(
            merged(
                {
                    "data": {"train": ["a:b*.jsonl", "set [1]:train", "*.jsonl"]},
                    "model": {"path": "set [1]"},
                    "run": {"dir": "run?"},
                    "tracking": {"uri": "sqlite:///mlflow.db?timeout=9"},
                }
            )
        )
    )
    at = lambda name: str(here / name)  # noqa: E731
    assert config.data.train == [at("a:b*.jsonl"), f"{at('set [1]')}:train", at("*.jsonl")]
    assert (config.model.path, config.run.dir) == (at("set [1]"), at("run?"))
    assert config.tracking.uri is not None
    assert sqlite_path(config.tracking.uri) == here / "mlflow.db"
    assert config.tracking.uri.endswith("/mlflow.db?timeout=9")
    assert absolute(config) == config


@pytest.mark.parametrize(
    "text", ["nonsense", "[1]", '{"metadata": 3}', '{"runtime_env": []}', '{"runtime_env": {"env_vars": 3}}']
)
def test_what_ray_says_of_its_job_is_json_or_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", text)
    with pytest.raises(ValueError, match="RAY_JOB_CONFIG_JSON_ENV_VAR is not what Ray writes for a job; unset it"):
        submission_id(os.environ)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "")
    assert submission_id(os.environ) is None
