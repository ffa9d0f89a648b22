"""What a judge's run leaves in MLflow: rates as metrics, the page and its figures as artifacts."""

import json
from pathlib import Path

import pytest

from launcher.config.kinds import JudgeRunConfig
from launcher.stages.judge import run
from tests.support.metric_names import undocumented


@pytest.mark.slow
def test_rates_page_and_figures_are_in_mlflow(tmp_path: Path):
    mlflow = pytest.importorskip("mlflow")
    rows = [
        {"instruction_0": "Say one. Do not use any commas.", "response_0": f"one {n}",
         "instruction_1": "Say two. Do not use any commas.", "response_1": f"two, {n}" if n % 3 else f"two {n}"}
        for n in range(9)
    ]  # fmt: skip
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    values = {
        "candidates": str(tmp_path / "pairs.jsonl"),
        "output": str(tmp_path / "out"),
        "kind": "checker",
        "checker": {"function": "jpo_dist.evaluate.constraints:constraints_held"},
        "tracking": {"uri": uri},
        "name": "judged",
    }
    for _ in range(2):  # the second is the next step of the same run
        run(JudgeRunConfig.model_validate(values))
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("jpo").experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "judged")
    assert found.data.metrics["judge/decided"] == 6
    assert "of 9 candidates 6 are decided, 3 are ties, 0" in found.data.tags["mlflow.note.content"]
    [read] = found.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == ("pairs.jsonl", found.data.params["digest.candidates"][:36])
    assert read.tags[0].value == "candidates"
    assert undocumented(found.data.metrics) == []
    assert found.data.metrics["judge/tie_rate"] == pytest.approx(1 / 3)
    assert [m.step for m in client.get_metric_history(found.info.run_id, "judge/decided")] == [0, 1]
    artifacts = {item.path for item in client.list_artifacts(found.info.run_id)}
    figures = {"outcomes.png", "position.png", "similarity.png", "interplay.png"}
    assert artifacts >= {"report.html", "report.json", *figures}
    folder = Path(
        mlflow.artifacts.download_artifacts(run_id=found.info.run_id, tracking_uri=uri, dst_path=str(tmp_path))
    )
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in figures)
