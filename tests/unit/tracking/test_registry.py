"""Versions in a real registry of a SQLite file: candidate, champion, and back; and a model whose files are refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.digests import folder_mark
from jpo_dist.run_dir import METRICS
from jpo_dist.tracking.metrics_file import MetricsFile
from jpo_dist.tracking.mlflow_server import by_default, open_client
from jpo_dist.tracking.registry import copied_model, figures_of, pointer_to, promote, register, rollback
from jpo_dist.tracking.run_file import sqlite_uri
from jpo_dist.tracking.writer import Writer, start_run

pytestmark = pytest.mark.slow
GATE = {"winrate/low": {"at_least": 0.5}}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingConfig]:
    uri = sqlite_uri(tmp_path_factory.mktemp("registry") / "mlflow.db")
    with by_default(uri):
        yield TrackingConfig(uri=uri)


def exported(folder: Path) -> Path:
    """An export without weights."""
    export = folder / "export"
    export.mkdir()
    (export / "config.json").write_text("{}")
    return export


def logged(config: TrackingConfig, folder: Path) -> tuple[Any, str, str]:
    """A client and the ids of experiment and run, with a pointer and a copied model of files without weights."""
    export, run = exported(folder), RunSection(dir=str(folder), name="demo")
    run_id = start_run(config, run, {})
    writer = Writer(config, run, interval_s=0.01)
    writer.log_model(export, name="demo")
    writer.log_model(export, copy=True, name="demo")
    assert writer.close(60) == 0
    assert config.uri is not None
    client = open_client(config.uri)
    return client, client.get_run(run_id).info.experiment_id, str(run_id)


def test_candidate_champion_and_back(config: TrackingConfig, tmp_path: Path) -> None:
    client, experiment, run = logged(config, tmp_path)
    model = copied_model(client, experiment, run)
    assert model.tags["mlflow.model.isExternal"] == "false", "a pointer is no model to register"
    with pytest.raises(ConfigError, match="chat has no version with the alias candidate"):
        promote(client, "chat", GATE)
    first = register(client, "chat", model, {"data.train.digest": "abc"}, {"winrate/low": 0.4})
    assert first == ("1", True)
    made = client.get_model_version_by_alias("chat", "candidate")
    assert (made.version, made.source, made.tags["data.train.digest"]) in {
        (version, f"models:/{model.model_id}", "abc") for version in (1, "1")
    }
    assert figures_of(made) == {"winrate/low": 0.4}
    with pytest.raises(ConfigError, match=r"version 1 of chat does not pass the gate: winrate/low is 0\.4, and must"):
        promote(client, "chat", GATE)
    with pytest.raises(ConfigError, match="no version with the alias champion"):
        rollback(client, "chat")
    assert register(client, "chat", model, {}, {"winrate/low": 0.55}) == ("1", False), "measured since"
    assert promote(client, "chat", GATE) == promote(client, "chat", GATE) == "1"
    with pytest.raises(ConfigError, match="version 1 is the first champion of chat"):
        rollback(client, "chat")
    (tmp_path / "second").mkdir()
    _, experiment, run = logged(config, tmp_path / "second")
    second = copied_model(client, experiment, run)
    assert register(client, "chat", second, {}, {"winrate/low": 0.6}).number == "2"
    assert str(client.get_model_version_by_alias("chat", "champion").version) == "1", "a candidate changes nothing"
    assert promote(client, "chat", GATE) == "2"
    assert rollback(client, "chat") == ("2", "1")
    assert str(client.get_model_version_by_alias("chat", "champion").version) == "1"


def test_a_pointer_gets_its_files_later_and_keeps_its_figures(config: TrackingConfig, tmp_path: Path) -> None:
    export, run = exported(tmp_path), RunSection(dir=str(tmp_path), name="later")
    run_id = start_run(config, run, {})
    writer = Writer(config, run, interval_s=0.01)
    writer.log_model(export, name="later")
    weights = folder_mark(export)
    writer.log_measured("evaluate/1", 3, {"evaluate/all/loss": 0.25}, ("held-out", "d1"), weights)
    writer.log_measured("evaluate/2", 3, {"evaluate/all/loss": 0.99}, ("held-out", "d1"), "of another export")
    assert writer.close(60) == 0
    assert config.uri is not None
    client = open_client(config.uri)
    of = client.get_run(run_id).info.experiment_id, str(run_id)
    place = str((tmp_path / "export").resolve())
    pointer = pointer_to(client, *of, place, weights)
    assert pointer is not None
    assert (copied_model(client, *of), pointer_to(client, *of, f"{place}-merged", weights)) == (None, None)
    assert pointer_to(client, *of, place, "of another export") is None
    for _ in range(2):  # the second finds the files there
        writer = Writer(config, run, interval_s=0.01)
        writer.log_model(place, copy=True, name="later", into=pointer)
        assert writer.close(60) == 0
    [model] = client.search_logged_models([of[0]], f"source_run_id = '{run_id}'")
    assert (model.model_id, copied_model(client, *of).model_id) == (pointer, pointer)
    assert [(metric.key, metric.value) for metric in model.metrics] == [("evaluate/all/loss", 0.25)]
    names = {file.path for file in client.list_logged_model_artifacts(pointer)}
    assert names >= {"MLmodel", "model"}
    assert {key for key in model.tags if key.startswith("jpo.")} == {"jpo.path"}, (
        "ids are under tags that no page shows"
    )


def test_a_model_whose_files_are_refused_leaves_none_half_made_and_holds_nothing_up(
    config: TrackingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a proxy without rights to write: three tries, then what stands behind it is sent."""
    from mlflow import MlflowClient

    tried = []

    def refuse(client: Any, model_id: str, *_: Any) -> None:
        tried.append(model_id)
        raise PermissionError("403 Forbidden")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", refuse)
    run = RunSection(dir=str(tmp_path), name="refused")
    run_id = start_run(config, run, {})
    writer = Writer(config, run, interval_s=0.01)
    writer.log_model(exported(tmp_path), copy=True)
    MetricsFile(tmp_path / METRICS).append(0, {"loss": 0.5})
    writer.finish("FINISHED")
    assert writer.close(60) == 0
    assert config.uri is not None
    client = open_client(config.uri)
    found = client.get_run(run_id)
    assert (found.info.status, found.data.metrics["loss"], len(tried)) == ("FINISHED", 0.5, 3)
    assert client.search_logged_models([found.info.experiment_id], f"source_run_id = '{run_id}'") == []


def test_a_model_that_was_whole_when_the_server_went_away_is_there_once(
    config: TrackingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    sent, tried = MlflowClient.log_outputs, []

    def once_away(client: Any, *more: Any) -> Any:
        tried.append(more)
        if len(tried) == 1:
            raise ConnectionError("503")
        return sent(client, *more)

    monkeypatch.setattr(MlflowClient, "log_outputs", once_away)
    run = RunSection(dir=str(tmp_path), name="away")
    run_id = start_run(config, run, {"objective.beta": 0.1, "seed": 1})
    writer = Writer(config, run, interval_s=0.01)
    (tmp_path / "export").mkdir()
    writer.log_model(tmp_path / "export", copy=True)
    assert writer.close(60) == 0
    assert config.uri is not None
    client = open_client(config.uri)
    [model] = client.search_logged_models([client.get_run(run_id).info.experiment_id], f"source_run_id = '{run_id}'")
    assert len(tried) == 2
    assert (str(model.status), model.params) == ("READY", {"objective.beta": "0.1"})
