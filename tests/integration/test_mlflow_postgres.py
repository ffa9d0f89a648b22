"""The whole page of a run on a server with PostgreSQL that hands artifacts through: everything arrives, once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_mlflow_server import DATABASE, postgres  # noqa: F401 (a fixture)
from tests.support.commands import Files, jpo, lines_of
from tests.support.metric_names import undocumented
from tests.support.pages_of_mlflow import Server, mlflow_server

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def server(postgres: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:  # noqa: F811
    address = f"postgresql+psycopg2://mlflow:{DATABASE}@127.0.0.1:{postgres}/mlflow"
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), address) as running:
        yield running


@pytest.fixture(scope="module")
def words(server: Server, tiny: Files, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of every command: a run of 12 steps whose model is copied, evaluated, is version 1 of `chat`."""
    run_dir = tmp_path_factory.mktemp("postgres") / "run"
    words = [f"run.dir={run_dir}", f"tracking.uri={server.address}", "tracking.log_model=copy", "cluster.workers=0"]
    jpo("train", tiny.config, *words, "train.max_steps=12").check()
    asked = [{"instruction": f"say {n}", "constraints": [{"kind": "max_words", "n": 50}]} for n in range(3)]
    tasks = tiny.folder / "asked.jsonl"
    tasks.write_text("".join(json.dumps(one) + "\n" for one in asked))
    jpo("evaluate", tiny.config, *words, f"evaluate.instructions={tasks}", "evaluate.max_new_tokens=4").check()
    assert "chat version 1: candidate" in jpo("register", tiny.config, *words, "--name", "chat").check().out
    return words


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.address)
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def run(client: Any, words: list[str]) -> Any:
    [found] = client.search_runs([client.get_experiment_by_name("jpo").experiment_id])
    return found


def test_metrics_inputs_tags_and_description_arrive_once(client: Any, run: Any, words: list[str]) -> None:
    run_dir = Path(words[0].removeprefix("run.dir="))
    assert run.info.status == "FINISHED"
    assert undocumented(run.data.metrics) == []
    history = client.get_metric_history(run.info.run_id, "loss")
    found = {line["step"]: line["metrics"]["loss"] for line in lines_of(run_dir) if line["step"]}
    assert {one.step: one.value for one in history} == pytest.approx(found)
    assert len(history) == len(found) == 12
    assert {one.tags[0].value for one in run.inputs.dataset_inputs} == {"train", "validation"}
    note = run.data.tags["mlflow.note.content"]
    assert "Held out, before and after step 12" in note
    assert "Of 3 answers" in note
    assert "answers.json" in note
    assert not [key for key in run.data.tags if not key.startswith("mlflow.")]


def test_files_and_tables_come_through_the_server(client: Any, run: Any, server: Server) -> None:
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    there = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert there >= {"answers.json", "comparisons.json", "config.yaml", "evaluation.json", "facts.json", "figures"}
    answers = client.load_table(run.info.experiment_id, "answers.json", [run.info.run_id])
    assert list(answers.columns)[:3] == ["instruction", "answer before", "answer after"]
    assert len(answers) == 3
    [model] = client.search_logged_models([run.info.experiment_id])
    assert {"mlflow.user", "mlflow.source.name"} <= set(model.tags)
    assert model.params["objective.loss"] == "sigmoid"
    assert list((server.folder / "artifacts").rglob("model.safetensors")), "the copy went through the server"


def test_versions_are_promoted_and_rolled_back(client: Any, words: list[str], tiny: Files, tmp_path: Path) -> None:
    version = client.get_model_version_by_alias("chat", "candidate")
    assert float(version.tags["figure.evaluate/all/rewards/accuracies"]) >= 0
    gate = tmp_path / "gate.yaml"
    gate.write_text("evaluate/all/loss: {at_most: -1}\n")
    jpo("promote", tiny.config, str(gate), *words, "--name", "chat").check(2)
    gate.write_text("evaluate/all/rewards/accuracies: {at_least: 0}\n")
    assert "chat version 1: champion" in jpo("promote", tiny.config, str(gate), *words, "--name", "chat").check().out
    assert client.get_model_version_by_alias("chat", "champion").version == "1"
    refused = jpo("rollback", tiny.config, *words, "--name", "chat").check(2)
    assert "version 1 is the first champion of chat" in refused.said
