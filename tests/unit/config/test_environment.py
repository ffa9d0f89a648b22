"""MLflow's own variables, where a config says nothing of tracking."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.environment import EXPERIMENT, NOT_READ, URI, tracking_of
from jpo_dist.config.explain import ConfigError
from jpo_dist.config.sections import TrackingConfig
from launcher.config.kinds import JudgeRunConfig, RunConfig
from launcher.config.load import load, parse
from tests.support.configs import LEAST


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URI, EXPERIMENT, *NOT_READ, "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)


def loaded(tmp_path: Path, *overrides: str, **tracking: Any) -> TrackingConfig:
    path = tmp_path / "a.yaml"
    path.write_text(json.dumps(LEAST | ({"tracking": tracking} if tracking else {})), encoding="utf-8")
    return load(path, list(overrides)).tracking


def test_they_are_used_where_the_config_says_nothing_and_not_where_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded(tmp_path) == TrackingConfig()
    monkeypatch.setenv(URI, "http://mlflow:5000")
    monkeypatch.setenv(EXPERIMENT, "theirs")
    used = TrackingConfig(uri="http://mlflow:5000", experiment="theirs")
    assert loaded(tmp_path) == used
    assert loaded(tmp_path, uri=None) == used, "null is: not set"
    assert loaded(tmp_path, log_model=False) == used.model_copy(update={"log_model": "none"})
    assert loaded(tmp_path, "tracking.uri=null") == used
    assert loaded(tmp_path, "tracking.uri=none", "tracking.experiment=mine") == TrackingConfig(
        uri="none", experiment="mine"
    )


def test_workers_take_what_the_driver_has_read_and_not_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config that is parsed again is a worker's: all hosts track in one place."""
    monkeypatch.setenv(URI, "http://of-another-host:5000")
    assert parse(LEAST).tracking.uri is None


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:///shared/mlruns", "is a folder of files, which MLflow opens no more; write sqlite:////shared/mlruns/mlflow.db"),
        ("./mlruns", "(./mlruns) is no address that MLflow knows"),
        ("nonsense", "(nonsense) is no address that MLflow knows"),
        ("sqlite:////q?x=1/m.db", "write %3F for one that is part of a name"),
    ],
)  # fmt: skip
def test_one_that_cannot_be_used_is_refused_by_its_name(
    uri: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI, uri)
    with pytest.raises(ConfigError, match=rf"^{URI} ") as refused:
        loaded(tmp_path)
    assert said in str(refused.value)
    assert str(refused.value).endswith("or unset it, or set tracking.uri")
    assert loaded(tmp_path, uri="none").uri == "none", "it is not asked then"
    with pytest.raises(ConfigError, match=r"tracking\.uri \("):
        loaded(tmp_path, uri=uri)


def test_a_secret_in_it_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=rf"^{URI} has a secret in it.*MLFLOW_TRACKING_USERNAME") as refused:
        tracking_of({URI: "http://ann:canary@host:5000"})
    assert "canary" not in str(refused.value)


def test_files_may_be_a_store_for_who_asks_mlflow_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert TrackingConfig(uri="file:///shared/mlruns").uri == "file:///shared/mlruns"


def test_what_is_not_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    for name in NOT_READ:
        monkeypatch.setenv(name, "1")
    with caplog.at_level(logging.WARNING):
        loaded(tmp_path, uri="none")
        assert caplog.text == "", "nothing is tracked"
        loaded(tmp_path)
    assert all(f"{name} is not read: " in caplog.text for name in NOT_READ)


def test_every_kind_of_config_with_tracking_is_served() -> None:
    assert all("tracking" in kind.model_fields for kind in (RunConfig, JudgeRunConfig))
