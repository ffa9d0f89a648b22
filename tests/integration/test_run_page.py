"""The page of a run in MLflow, made by the real commands: training, evaluation, the model copied and served."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Files, jpo

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def trained(tiny: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 steps that copied its model, evaluated twice: its folder; `mlflow.db` is beside it."""
    run_dir = tmp_path_factory.mktemp("page") / "run"
    words = [f"run.dir={run_dir}", "cluster.workers=0", "train.epochs=6"]
    said = jpo("train", tiny.config, *words).check().out
    assert said.splitlines()[-1].startswith("MLflow: mlflow ui --backend-store-uri sqlite:///")
    for _ in range(2):
        jpo("evaluate", tiny.config, *words).check()
    return run_dir


@pytest.fixture(scope="module")
def client(trained: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{trained.parent}/mlflow.db")


@pytest.fixture(scope="module")
def run(client: Any) -> Any:
    [found] = client.search_runs([client.get_experiment_by_name("jpo").experiment_id])
    return found


def test_an_evaluation_lands_on_the_run_once(trained: Path, client: Any, run: Any) -> None:
    report = json.loads((trained / "evaluation.json").read_text())
    [row] = client.get_metric_history(run.info.run_id, "evaluate/all/loss")
    last = max(json.loads(line)["step"] for line in (trained / "metrics.jsonl").read_text().splitlines())
    assert (row.value, row.step) == (report["comparisons"]["all"]["loss"][0], last)
    [model] = client.search_logged_models([run.info.experiment_id])
    [measured] = [one for one in model.metrics if one.key == "evaluate/all/loss"]
    held_out = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}["validation"]
    assert (measured.dataset_name, measured.dataset_digest) == (held_out.name, held_out.digest)


def test_the_page_has_pictures_and_the_comparisons_at_both_ends(trained: Path, client: Any, run: Any) -> None:
    figures = {Path(one.path).name for one in client.list_artifacts(run.info.run_id, "figures")}
    assert figures >= {"rewards.png", "margin_parts.png", "similarity.png", "length.png", "calibration.png"}
    table = client.load_table(run.info.experiment_id, "comparisons.json", [run.info.run_id])
    assert list(table["end"]) == ["worst"] * 6 + ["best"] * 6
