"""The page of a run in MLflow, made by the real commands: training, evaluation, the model copied and served."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.commands import Files, jpo
from tests.support.metric_names import undocumented

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def trained(tiny: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 steps that copied its model, evaluated twice: its folder; `mlflow.db` is beside it."""
    run_dir = tmp_path_factory.mktemp("page") / "run"
    words = [f"run.dir={run_dir}", "cluster.workers=0", "train.max_steps=12", "tracking.log_model=copy"]
    said = jpo("train", tiny.config, *words).check().out
    assert said.splitlines()[-1].startswith("MLflow: mlflow ui --backend-store-uri sqlite:///")
    for _ in range(2):
        jpo("evaluate", tiny.config, *words).check()
    return run_dir


@pytest.fixture(scope="module")
def client(trained: Path) -> Iterator[Any]:
    """For what MLflow does by the process too: it takes no address with `models:/`, nor with a table."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{trained.parent}/mlflow.db")
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def run(client: Any) -> Any:
    [found] = client.search_runs([client.get_experiment_by_name("jpo").experiment_id])
    return found


def test_an_evaluation_lands_on_the_run_once(trained: Path, client: Any, run: Any) -> None:
    report = json.loads((trained / "evaluation.json").read_text())
    [row] = client.get_metric_history(run.info.run_id, "evaluate/all/loss")
    last = max(json.loads(line)["step"] for line in (trained / "metrics.jsonl").read_text().splitlines())
    assert (row.value, row.step) == (report["comparisons"]["all"]["loss"][0], last)
    assert undocumented(run.data.metrics) == [], "docs/metrics.md has a line for each"
    [model] = client.search_logged_models([run.info.experiment_id])
    [measured] = [one for one in model.metrics if one.key == "evaluate/all/loss"]
    held_out = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}["validation"]
    assert (measured.dataset_name, measured.dataset_digest) == (held_out.name, held_out.digest)
    assert model.tags["mlflow.note.content"] == run.data.tags["mlflow.note.content"], "its page says what came of it"


def test_the_page_has_pictures_and_the_comparisons_at_both_ends(trained: Path, client: Any, run: Any) -> None:
    figures = {Path(one.path).name for one in client.list_artifacts(run.info.run_id, "figures")}
    assert figures >= {"rewards.png", "margin_parts.png", "similarity.png", "length.png", "calibration.png"}
    table = client.load_table(run.info.experiment_id, "comparisons.json", [run.info.run_id])
    assert list(table["end"]) == ["worst"] * 6 + ["best"] * 6


@pytest.fixture(scope="module")
def artifact(trained: Path, client: Any, run: Any) -> Path:
    """The copied model, downloaded; the export is out of the way from then on."""
    from mlflow.artifacts import download_artifacts

    [model] = client.search_logged_models([run.info.experiment_id])
    assert (model.name, str(model.status), model.tags["mlflow.model.isExternal"]) == ("tiny", "READY", "false")
    target = trained.parent / "downloaded"
    download_artifacts(artifact_uri=f"models:/{model.model_id}", dst_path=str(target))
    shutil.move(trained / "export", trained / "moved")
    return target


def test_the_copied_model_is_one_that_any_program_loads(trained: Path, artifact: Path) -> None:
    ids = torch.tensor([[0, 5, 80, 120, 33]])
    copied = AutoModelForCausalLM.from_pretrained(artifact / "model", dtype=torch.float32)
    exported = AutoModelForCausalLM.from_pretrained(trained / "moved", dtype=torch.float32)
    assert torch.equal(copied(ids).logits, exported(ids).logits)
    assert AutoTokenizer.from_pretrained(artifact / "model").chat_template


def test_it_says_what_mlflow_says_of_the_same_model_when_it_is_loaded(trained: Path, artifact: Path) -> None:
    import mlflow

    folder = str(trained / "moved")
    parts = {"model": AutoModelForCausalLM.from_pretrained(folder), "tokenizer": AutoTokenizer.from_pretrained(folder)}
    theirs = trained.parent / "theirs"
    mlflow.transformers.save_model(parts, path=str(theirs), task="llm/v1/chat", pip_requirements=["mlflow"])
    ours, other = (yaml.safe_load((place / "MLmodel").read_text()) for place in (artifact, theirs))
    assert ours["signature"] == other["signature"]
    assert ours["metadata"]["task"] == other["metadata"]["task"] == "llm/v1/chat"
    its_own = {"source_model_name", "code"}
    mine, expected = ours["flavors"]["transformers"], other["flavors"]["transformers"]
    assert {k: v for k, v in mine.items() if k not in its_own} == {
        k: v for k, v in expected.items() if k not in its_own
    }
    pins = (artifact / "requirements.txt").read_text().split()
    assert {pin.partition("==")[0] for pin in pins} >= {"mlflow", "torch", "transformers"}
    assert all("==" in pin for pin in pins)


def test_it_is_served_also_with_a_stop_and_when_the_export_is_gone(artifact: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(artifact), "--env-manager", "local"]
    log = artifact.parent / "serve.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*command, "--port", str(port)], stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
    try:
        end = time.monotonic() + 240
        while not answers(port):
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.5)
        asked = {"messages": [{"role": "user", "content": "say 1"}], "max_tokens": 64}
        [choice] = ask(port, asked)["choices"]
        assert (choice["message"]["role"], type(choice["message"]["content"])) == ("assistant", str)
        # The random model says any byte: over a third of them are one of these, so none in 64 is out of the question.
        letters = [chr(code) for code in range(33, 127)]
        stopped = ask(port, asked | {"stop": letters})
        assert stopped["usage"]["completion_tokens"] < 64
        assert sum(letter in letters for letter in stopped["choices"][0]["message"]["content"]) <= 1
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(port: int) -> bool:
    try:
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).status == 200)
    except OSError:
        return False


def ask(port: int, body: object) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    found = json.loads(urllib.request.urlopen(request, timeout=120).read())
    return found[0] if isinstance(found, list) else found


def test_the_run_is_registered_promoted_by_its_figures_and_rolled_back(trained: Path, client: Any, tiny: Files) -> None:
    """By the commands, with what a person reads."""
    words = [f"run.dir={trained}", "cluster.workers=0", "tracking.log_model=copy"]
    assert "chat version 1: candidate" in jpo("register", tiny.config, *words, "--name", "chat").check().out
    again = jpo("register", tiny.config, *words, "--name", "chat").check().out
    assert "chat version 1 (known before): candidate" in again
    version = client.get_model_version_by_alias("chat", "candidate")
    report = json.loads((trained / "evaluation.json").read_text())
    assert version.tags["reference.digest"] == report["reference"]["digest"]
    assert version.tags["data.validation.digest"] == report["fingerprint"][:36]
    assert float(version.tags["figure.evaluate/all/loss"]) == report["comparisons"]["all"]["loss"][0]
    gate = trained.parent / "gate.yaml"
    gate.write_text("evaluate/all/loss: {at_most: -1}\n")
    refused = jpo("promote", tiny.config, str(gate), *words, "--name", "chat").check(2)
    assert "version 1 of chat does not pass the gate: evaluate/all/loss is" in refused.said
    gate.write_text("evaluate/all/rewards/accuracies: {at_least: 0}\n")
    assert "chat version 1: champion" in jpo("promote", tiny.config, str(gate), *words, "--name", "chat").check().out
    first = jpo("rollback", tiny.config, *words, "--name", "chat").check(2)
    assert "version 1 is the first champion of chat" in first.said
