"""`jpo train` on Ray workers, in one process and under torchrun: what it leaves, and that the losses are the same."""

import getpass
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from jpo_dist.data import read
from jpo_dist.digests import size_and_digests
from tests.support.commands import ROOT, Files, Warm, commits, lines_of, losses, numbers, torchrun
from tests.support.metric_names import undocumented

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COMPARISON_METRICS = {
    "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "margin/instruction",
    "margin/response", "logps/chosen", "logps/rejected", "logps/chosen_response", "logps/rejected_response",
}  # fmt: skip
STEP_METRICS = COMPARISON_METRICS | {
    "grad_norm", "learning_rate", "epoch", "nonfinite_steps", "perf/step_seconds", "perf/tokens_per_second",
    "perf/comparisons_per_second", "perf/padding_share", "perf/micro_steps",
}  # fmt: skip
RANK_SPEEDS = ("perf/waiting_share", "perf/host_tokens_per_second/", "perf/rank_tokens_per_second/")
SYSTEM_METRICS = {
    f"system/{name}"
    for name in (
        "cpu_utilization_percentage", "disk_available_megabytes", "disk_usage_percentage", "network_receive_megabytes",
        "network_transmit_megabytes", "system_memory_usage_megabytes", "system_memory_usage_percentage",
    )
}  # fmt: skip
CHECKPOINT_METRICS = {"ckpt/save_seconds", "ckpt/bytes"}


def metric_rows(database: Path) -> list[tuple[str, int, float, str]]:
    """(key, step, value, run id) of every row MLflow holds."""
    with sqlite3.connect(database) as connection:
        return connection.execute("select key, step, value, run_uuid from metrics").fetchall()


@pytest.fixture(scope="module")
def tracked(by_ray: Path) -> Any:
    """(client, the only run) of the default MLflow file of the Ray run."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{by_ray.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("jpo")
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def facts_of(run_dir: Path, run: Any) -> dict[str, Any]:
    """The artifact of facts."""
    from mlflow.artifacts import download_artifacts

    uri = f"sqlite:///{run_dir.parent / 'mlflow.db'}"
    made = download_artifacts(run_id=run.info.run_id, artifact_path="facts.json", tracking_uri=uri)
    found: dict[str, Any] = json.loads(Path(made).read_text())
    return found


def test_the_page_of_a_run_says_what_was_trained_on_what_and_what_came_of_it(by_ray: Path, tracked: Any) -> None:
    client, run = tracked
    assert client.get_experiment(run.info.experiment_id).tags["mlflow.experimentKind"] == "custom_model_development"
    note = run.data.tags["mlflow.note.content"]
    first, last = lines_of(by_ray)[0]["metrics"], lines_of(by_ray)[6]["metrics"]
    assert f"| loss | &emsp;{first['eval/loss']:.4f} | &emsp;{last['eval/loss']:.4f} |" in note
    plan = json.loads((by_ray / "plan.json").read_text())
    assert f": {plan['comparisons']} comparisons of {plan['items']} items" in note
    by_context = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
    assert set(by_context) == {"train", "validation"}
    assert by_context["train"].digest == plan["dataset"][:36]
    profile = json.loads(by_context["validation"].profile)
    assert profile["conditional"] + profile["joint"] == profile["comparisons"] == last["eval/comparisons"]


def test_a_run_on_ray_writes_one_line_a_step_with_the_documented_metrics(by_ray: Path) -> None:
    lines = lines_of(by_ray)
    assert [line["step"] for line in lines] == list(range(7))
    assert all(set(line) == {"step", "ts_ms", "metrics"} for line in lines)
    assert [line["ts_ms"] for line in lines] == sorted(line["ts_ms"] for line in lines)
    for line in lines:
        held_out = {name for name in line["metrics"] if name.startswith("eval/")}
        # How the host does: with the first step, then every 10 s, which on a busy machine a step may last.
        system = SYSTEM_METRICS if line["step"] == 1 else SYSTEM_METRICS & set(line["metrics"])
        assert system in (set(), SYSTEM_METRICS)
        # How fast the ranks are is told every so often, too: on an idle machine this run ends before that.
        speeds = {name for name in line["metrics"] if name.startswith(RANK_SPEEDS)}
        assert set(line["metrics"]) - held_out - speeds == (STEP_METRICS | system if line["step"] else set())
        assert bool(held_out) == (line["step"] in (0, 3, 6))
        if held_out:
            parts = {f"eval/{part}{name}" for part in ("", "conditional/", "joint/") for name in COMPARISON_METRICS}
            assert held_out == parts | {"eval/comparisons"}
    first, last = lines[1]["metrics"], lines[6]["metrics"]
    assert first["loss"] == pytest.approx(0.6931472, abs=1e-6)
    assert lines[0]["metrics"]["eval/loss"] == pytest.approx(0.6931472, abs=1e-6)
    assert last["loss"] < 0.3
    assert lines[6]["metrics"]["eval/loss"] < 0.5
    assert last["rewards/margins"] == pytest.approx(last["rewards/chosen"] - last["rewards/rejected"], rel=1e-9)
    parts = last["margin/instruction"] + last["margin/response"]
    assert last["rewards/margins"] == pytest.approx(0.1 * parts, rel=1e-9)


def test_the_network_is_described_once(by_ray: Path, tracked: Any) -> None:
    plan = json.loads((by_ray / "plan.json").read_text())
    facts = plan["network"]
    assert facts["hosts"] == plan["hosts"] == [plan["hosts"][0]] * 2
    assert facts["backend"] == "gloo"
    assert facts["interfaces"].keys() == facts["link_megabits"].keys() == set(plan["hosts"])
    assert 0 < facts["gather_gb_per_s"] < 1000
    assert 0 < facts["latency_ms"] < 10_000
    assert sum(note.startswith("2 ranks on one host, gloo") for note in plan["notes"]) == 1
    assert facts_of(by_ray, tracked[1])["network"] == facts


def test_it_leaves_the_newest_commits_with_shards_of_both_ranks(by_ray: Path) -> None:
    assert commits(by_ray) == ["step-00000004", "step-00000006"]
    for name in commits(by_ray):
        manifest = json.loads((by_ray / "checkpoints" / name / "manifest.json").read_text())
        assert (manifest["num_ranks"], manifest["attempt"]) == (2, 1)
        shards = [file for file in manifest["files"] if file.endswith("optim_states.pt")]
        assert len(shards) == 2
        for file, facts in manifest["files"].items():
            path = by_ray / "checkpoints" / name / file
            assert size_and_digests(path, "sha256", "xxh3") == facts


def test_the_resolved_config_is_a_config_for_the_same_run(by_ray: Path, tiny: Files, warm: Warm) -> None:
    resolved = yaml.safe_load((by_ray / "config.yaml").read_text())
    assert resolved["cluster"]["workers"] == 2
    assert resolved["run"]["dir"] == str(by_ray)
    assert resolved["data"]["train"] == tiny.train
    checked = warm("check", "--all", str(by_ray / "config.yaml")).check()
    assert yaml.safe_load(checked.out) == resolved


def test_the_export_is_an_ordinary_folder_that_loads_and_generates(by_ray: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(by_ray / "export")
    model = AutoModelForCausalLM.from_pretrained(by_ray / "export", dtype=torch.float32)
    asked = tokenizer("### Instructions: say 1\n\n### Response:", return_tensors="pt", add_special_tokens=False)
    made = model.generate(**asked, max_new_tokens=5, do_sample=False)
    assert made.shape[1] > asked["input_ids"].shape[1]
    assert model.config.use_cache
    assert {file.name for file in (by_ray / "export").iterdir() if not file.stat().st_mode & 0o044} == set()
    card = (by_ray / "export" / "README.md").read_text()
    assert f"| eval/loss | {lines_of(by_ray)[6]['metrics']['eval/loss']:.4f} |" in card


def test_the_export_holds_the_weights_of_the_last_commit(by_ray: Path, tiny: Files) -> None:
    """Against DeepSpeed's own reader of the shards: the same weights and so the same logits."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    commit = by_ray / "checkpoints" / "step-00000006"
    shards = get_fp32_state_dict_from_zero_checkpoint(str(commit), tag="engine")
    weights = {name.removeprefix("model.").removeprefix("module."): tensor for name, tensor in shards.items()}
    exported = AutoModelForCausalLM.from_pretrained(by_ray / "export", dtype=torch.float32)
    for name, tensor in exported.state_dict().items():
        assert torch.equal(weights[name], tensor), name
    trained = AutoModelForCausalLM.from_pretrained(tiny.model, dtype=torch.float32)
    ids = torch.tensor([[0, 5, 80, 120, 33]])
    before = trained(ids).logits
    trained.load_state_dict(weights)
    assert torch.equal(trained(ids).logits, exported(ids).logits)
    assert not torch.allclose(before, exported(ids).logits, atol=1e-2), "the weights are those of the start"


def test_export_writes_what_training_exported(by_ray: Path, tiny: Files, warm: Warm) -> None:
    written = by_ray / "export" / "model.safetensors"
    before = load_file(written)
    written.unlink()
    done = warm.ranks(2, "export", tiny.config, f"run.dir={by_ray}").check()
    assert str(by_ray / "export") in done.out
    after = load_file(written)
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)


def test_mlflow_has_every_metric_once_for_each_step(by_ray: Path) -> None:
    rows = metric_rows(by_ray.parent / "mlflow.db")
    assert max(Counter((key, step) for key, step, *_ in rows).values()) == 1
    assert undocumented(key for key, *_ in rows) == [], "docs/metrics.md has a line for each"
    sent = {(key, step): value for key, step, value, _ in rows}
    for line in lines_of(by_ray):
        for name, value in line["metrics"].items():
            assert sent.pop((name, line["step"])) == value
    assert {key for key, _ in sent} == CHECKPOINT_METRICS
    assert {step for _, step in sent} == {2, 4, 6}


def test_mlflow_has_params_config_tags_checkpoints_and_the_model(by_ray: Path, tiny: Files, tracked: Any) -> None:
    client, run = tracked
    assert run.info.status == "FINISHED"
    assert re.fullmatch(r"tiny run \d{4}-\d\d-\d\d \d\d:\d\d", run.info.run_name)
    assert run.data.params["objective.beta"] == "0.1"
    assert run.data.params["cluster.workers"] == "2"
    assert run.data.params["engine.zero_stage"] == "3"
    from mlflow.artifacts import download_artifacts

    uri = f"sqlite:///{by_ray.parent / 'mlflow.db'}"
    text = Path(download_artifacts(run_id=run.info.run_id, artifact_path="config.yaml", tracking_uri=uri)).read_text()
    assert yaml.safe_load(text)["optim"] == yaml.safe_load((by_ray / "config.yaml").read_text())["optim"]
    tags = run.data.tags
    found, _ = read.read(tiny.train, on_bad_row="error")
    assert tags["mlflow.jpo.dataset"] == found.fingerprint
    assert {key for key in tags if not key.startswith("mlflow.")} == set(), "a person reads no ids"
    facts = facts_of(by_ray, run)
    assert (facts["num_ranks"], facts["dataset"]) == (2, found.fingerprint)
    for package in ("torch", "deepspeed", "transformers", "ray"):
        assert facts[f"version.{package}"]
    assert (run.data.tags["mlflow.source.type"], run.data.tags["mlflow.user"]) == ("LOCAL", getpass.getuser())
    assert tags["mlflow.source.name"].startswith("jpo train ")
    git = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if git.returncode == 0:
        assert tags["mlflow.source.git.commit"] == git.stdout.strip()
    made = download_artifacts(run_id=run.info.run_id, artifact_path="checkpoints.json", tracking_uri=uri)
    table = json.loads(Path(made).read_text())
    assert [row["step"] for row in table] == [2, 4, 6]
    assert table[-1]["path"] == str(by_ray / "checkpoints" / "step-00000006") == tags["mlflow.jpo.checkpoint.path"]
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert model.source_run_id == run.info.run_id
    assert model.status == "READY"
    assert model.tags["jpo.path"] == str(by_ray / "export")


def test_mlflow_shows_the_config_as_it_is(by_ray: Path, tracked: Any) -> None:
    from mlflow.artifacts import download_artifacts

    _, run = tracked
    uri = f"sqlite:///{by_ray.parent / 'mlflow.db'}"
    text = Path(download_artifacts(run_id=run.info.run_id, artifact_path="config.yaml", tracking_uri=uri)).read_text()
    assert yaml.safe_load(text) == yaml.safe_load((by_ray / "config.yaml").read_text())
    assert run.data.params["evaluate.max_new_tokens"] == "64"


def test_one_process_and_two_ray_workers_have_the_same_losses(alone: Path, by_ray: Path) -> None:
    assert losses(alone) == pytest.approx(losses(by_ray), rel=5e-5)
    assert lines_of(alone)[6]["metrics"]["eval/loss"] == pytest.approx(
        lines_of(by_ray)[6]["metrics"]["eval/loss"], rel=5e-5
    )


@pytest.mark.nightly
def test_one_ray_worker_is_one_process(alone: Path, tiny: Files, warm: Warm) -> None:
    run_dir = tiny.folder / "one-worker"
    done = warm("train", tiny.config, f"run.dir={run_dir}", "cluster.workers=1", "tracking.uri=none").check()
    assert numbers(run_dir) == numbers(alone)
    assert str(run_dir / "export") in done.out


@pytest.fixture
def without_ray(tmp_path: Path) -> dict[str, str]:
    """An environment in which Ray is not there: neither found nor importable."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class NoRay:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'ray' or name.startswith('ray.'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r} (hidden by a test)', name=name)\n"
        "sys.meta_path.insert(0, NoRay())\n"
    )
    return {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


@pytest.mark.nightly
def test_torchrun_without_ray_is_the_run_of_as_many_ray_workers(
    by_ray: Path, tiny: Files, without_ray: dict[str, str]
) -> None:
    env = {**os.environ, **without_ray}
    probe = subprocess.run([sys.executable, "-c", "import ray"], env=env, capture_output=True, text=True, check=False)
    assert "hidden by a test" in probe.stderr, "this test would prove nothing"
    run_dir = tiny.folder / "torchrun" / "run"
    done = torchrun("train", tiny.config, f"run.dir={run_dir}", env=without_ray).check()
    assert numbers(run_dir) == numbers(by_ray)
    assert done.out.count("exported model:") == 1, "every rank speaks"
    rows = metric_rows(run_dir.parent / "mlflow.db")
    assert len({run_id for *_, run_id in rows}) == 1, "every rank made a run"
    assert max(Counter((key, step) for key, step, *_ in rows).values()) == 1
