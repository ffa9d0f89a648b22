"""`jpo register` and `promote` on a real registry: a version has figures of the very weights that it has."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.artifacts import download_artifacts
from typer.testing import CliRunner

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.digests import folder_mark
from jpo_dist.tracking.mlflow_server import by_default, open_client
from jpo_dist.tracking.run_file import sqlite_uri
from jpo_dist.tracking.writer import Writer, start_run
from launcher.cli import app

pytestmark = pytest.mark.slow
ACCURACY = "figure.evaluate/all/rewards/accuracies"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    uri = sqlite_uri(tmp_path_factory.mktemp("registry") / "mlflow.db")
    with by_default(uri):
        yield uri


class Run:
    """A run folder whose export holds the weights that a test puts there; `name` is that of the registered model."""

    def __init__(self, uri: str, folder: Path, name: str, log: pytest.LogCaptureFixture) -> None:
        self.folder, self.name, self.client, self.said = folder / "run", name, open_client(uri), log
        self.section, self.tracking = RunSection(dir=str(self.folder), name=name), TrackingConfig(uri=uri)
        settings = {"model": {"path": "none"}, "data": {"train": "none.jsonl"}, "tracking": {"uri": uri},
                    "run": {"dir": str(self.folder), "name": name}}  # fmt: skip
        self.config = folder / "c.yaml"
        self.config.write_text(json.dumps(settings))
        assert start_run(self.tracking, self.section, {})

    def export(self, weights: bytes, name: str = "export", commit: str = "") -> str:
        """Put weights there; returns their mark."""
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "model.safetensors").write_bytes(weights)
        if commit:
            (self.folder / name / ".exported.json").write_text(json.dumps({"commit": commit, "step": 6}))
        return folder_mark(self.folder / name)

    def log(self, copy: bool) -> None:
        """As a training does at its end."""
        writer = Writer(self.tracking, self.section, interval_s=0.01)
        writer.log_model(self.folder / "export", copy=copy, name=self.name)
        assert writer.close(60) == 0

    def evaluated(self, mark: str, accuracy: float) -> None:
        report = {"policy": "/models/one", "policy_digest": mark, "calibration": {}, "groups": {},
                  "comparisons": {"all": {"rewards/accuracies": [accuracy, 0.0, 1.0]}}}  # fmt: skip
        (self.folder / "evaluation.json").write_text(json.dumps(report))

    def command(self, verb: str, *words: str, code: int = 0) -> str:
        """What it prints and logs."""
        self.said.clear()
        done = CliRunner().invoke(app, [verb, str(self.config), *words])
        assert done.exit_code == code, done.output
        return " ".join([*done.output.split(), *self.said.messages])

    def tags(self, version: int) -> dict[str, str]:
        return dict(self.client.get_model_version(self.name, str(version)).tags)


def test_figures_of_another_model_do_not_come_to_a_version(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, gate = Run(uri, tmp_path, "other", caplog), tmp_path / "gate.yaml"
    own = run.export(b"own weights")
    run.log(copy=False)
    gate.write_text("evaluate/all/rewards/accuracies: {at_least: 0.9}\n")
    run.evaluated("0" * 32, 0.99)
    said = run.command("register")
    assert "other version 1: candidate" in said
    assert f"evaluation.json is of other weights ({'0' * 32} of evaluate.policy=/models/one) than those" in said
    assert "`jpo evaluate` with evaluate.policy=null measures these" in said
    assert (run.tags(1).get(ACCURACY), run.tags(1)["weights.digest"]) == (None, own)
    assert "rewards/accuracies was not measured" in run.command("promote", str(gate), code=2)
    run.evaluated(own, 0.95)
    assert "version 1 (known before)" in run.command("register")
    assert run.tags(1)[ACCURACY] == "0.95"
    run.evaluated("0" * 32, 0.99)
    run.command("register")
    assert run.tags(1)[ACCURACY] == "0.95", "what was measured of these weights stays"
    assert "other version 1: champion" in run.command("promote", str(gate))


def test_what_is_registered_is_what_is_exported_now(uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And not a copy of what was, with its figures."""
    run = Run(uri, tmp_path, "again", caplog)
    first = run.export(b"weights of step 60")
    run.log(copy=True)
    run.evaluated(first, 0.5)
    assert "again version 1: candidate" in run.command("register")
    second = run.export(b"weights of step 40")
    run.evaluated(second, 0.75)
    said = run.command("register")
    assert "MLflow's copy of the run's model has other weights" in said
    assert "again version 2: candidate" in said
    for version, mark, accuracy in ((1, first, "0.5"), (2, second, "0.75")):
        assert (run.tags(version)[ACCURACY], run.tags(version)["weights.digest"]) == (accuracy, mark)
        there = download_artifacts(run.client.get_model_version("again", str(version)).source)
        assert folder_mark(Path(there) / "model") == mark
    run.export(b"weights of step 60")
    assert "again version 1 (known before)" in run.command("register"), "its copy is there still"


def test_a_copy_that_does_not_say_its_weights_is_not_taken_for_the_export(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(uri, tmp_path, "old", caplog)
    run.evaluated(run.export(b"own weights"), 0.5)
    run.log(copy=True)
    [model] = run.client.search_logged_models(["1"], "name = 'old'")
    run.client.delete_logged_model_tag(model.model_id, "mlflow.jpo.weights")
    assert "does not say which weights it has" in run.command("register")
    assert len(run.client.search_logged_models(["1"], "name = 'old'")) == 2
    assert run.tags(1)[ACCURACY] == "0.5"


def test_a_copy_without_an_export_has_figures_where_it_says_its_weights(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(uri, tmp_path, "gone", caplog)
    run.evaluated(run.export(b"own weights"), 0.5)
    run.log(copy=True)
    (run.folder / "export").rename(tmp_path / "moved")
    assert "has no export: the newest copy in MLflow is registered" in run.command("register")
    assert run.tags(1)[ACCURACY] == "0.5"


def test_figures_of_a_merge_are_those_of_its_adapter(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(uri, tmp_path, "adapter", caplog)
    run.export(b"adapter", commit="c6")
    (run.folder / "export" / "adapter_config.json").write_text("{}")
    run.evaluated(run.export(b"merged", "export-merged", commit="c4"), 0.5)
    said = run.command("register")
    assert f"evaluate.policy={run.folder}/export-merged measures these" in said
    assert ACCURACY not in run.tags(1)
    run.export(b"merged", "export-merged", commit="c6")
    run.command("register")
    assert run.tags(1)[ACCURACY] == "0.5"


def test_a_win_rate_of_answers_of_other_weights_is_refused(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(uri, tmp_path, "won", caplog)
    own = run.export(b"own weights")

    def judged(*models: str) -> tuple[str, str]:
        part = {"win_rate": 0.75, "answers": 4, "judged": 4, "win": 3, "tie": 0, "loss": 1, "interval": None}
        report: dict[str, Any] = {
            "answers": [{"path": f"/answers/{n}", "models": [model]} for n, model in enumerate(models)], "all": part,
            "by_temperature": {}, "groups": {}, "controls": {"constant": part, "longest": {"win_rate": 0.5}},
            "unanswered": 0, "length_controlled": {"win_rate": 0.5}, "order": None, "compare": [], "judge": {},
        }  # fmt: skip
        (tmp_path / "winrate").mkdir(exist_ok=True)
        (tmp_path / "winrate" / "winrate.json").write_text(json.dumps(report))
        return "--winrate", str(tmp_path / "winrate")

    said = run.command("register", *judged(own, "f" * 32), code=2)
    assert f"its answers (/answers/1) are of other weights ({'f' * 32}) than those that are registered ({own})" in said
    assert run.client.search_model_versions("name = 'won'") == []
    run.command("register", *judged(own))
    assert run.tags(1)["figure.winrate/win_rate"] == "0.75"
    assert "are of my-server at an endpoint; nothing tells whether" in run.command("register", *judged("my-server"))
