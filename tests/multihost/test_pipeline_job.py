"""`jpo run` with rounds as one Ray job: every stage takes from the cluster what it says, and is done once."""

import json
import secrets
import sqlite3
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from cluster.virtual.hosts import VirtualHost
from tests.multihost.conftest import ROOT
from tests.support.commands import jpo
from tests.support.hosts import ask, job
from tests.support.tiny import CHAT_TEMPLATE, PLAIN, byte_tokenizer, save_tiny, tiny_model

pytestmark = [pytest.mark.multihost, pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(2400)]

CHECKER = "jpo_dist.evaluate.constraints:constraints_held"
ON_BOTH_HOSTS = {"workers": 2, "placement": "STRICT_SPREAD"}


def pipeline(folder: Path) -> dict[str, Any]:
    """SFT, two rounds of generate -> pair -> judge -> train, answers of the last model, their win rate."""
    save_tiny(folder / "model")
    save_judge(folder / "judge")
    asked = [f"say {n}. Use at most 1 words." for n in range(8)]
    gold = [{"instruction": text, "response": "yes " * (n % 2 + 1)} for n, text in enumerate(asked)]
    write(folder / "sft.jsonl", gold)
    write(folder / "asked.jsonl", [{"instruction": text} for text in asked])
    steps = {"tokens_per_micro_step": 400, "max_steps": 2}
    answers = {"temperatures": [1.0], "max_new_tokens": 12, "template": PLAIN}
    engine = {"zero_stage": 3, "param_persistence_threshold": 0}
    on_policy = {"path": "@policy"}
    return {
        "dir": str(folder / "run"),
        "rounds": 2,
        "shared": {
            "model": {"path": str(folder / "model"), "dtype": "float32"},
            "optim": {"lr": 1e-3},
            "engine": engine,
        },
        "stages": [
            {
                "sft": {
                    "data": {"train": str(folder / "sft.jsonl"), "template": PLAIN, "validation_fraction": 0},
                    "train": {**steps, "items_per_step": 4, "epochs": 20, "max_steps": 20},
                    "optim": {"lr": 1e-2},  # far enough that answers end
                    "cluster": ON_BOTH_HOSTS,
                }
            },
            {
                "generate": {
                    **answers,
                    "model": on_policy,
                    "instructions": str(folder / "asked.jsonl"),
                    "samples": 4,
                    "cluster": {"workers": 2, "cpus_per_worker": 0.75, "placement": "SPREAD"},
                }
            },
            {
                "build": {
                    "sources": [{"path": "@generate", "checker": CHECKER}],
                    "candidates": {"policy": "random", "budget": 40},
                    "split": {"validation": 0, "test": 0},
                }
            },
            {
                "judge": {
                    "candidates": "@build/candidates.jsonl",
                    "kind": "reward_model",
                    "reward_model": {"path": str(folder / "judge"), "dtype": "float32", "tokens_per_batch": 200},
                    "cluster": {"workers": 2, "cpus_per_worker": 0.625, "placement": "SPREAD"},
                }
            },
            {
                "train": {
                    "model": on_policy,
                    "data": {"train": "@judge", "template": PLAIN, "validation_fraction": 0},
                    "train": {**steps, "comparisons_per_step": 4},
                    "cluster": ON_BOTH_HOSTS,
                }
            },
            {
                "name": "after",
                "generate": {**answers, "model": on_policy, "instructions": str(folder / "asked.jsonl")},
            },
            {
                "winrate": {
                    "answers": "@after",
                    "against": str(folder / "sft.jsonl"),
                    "kind": "checker",
                    "checker": {"function": CHECKER},
                }
            },
        ],
    }


def save_judge(folder: Path) -> None:
    """A reward model of random weights."""
    torch.manual_seed(3)
    config = LlamaConfig.from_dict(tiny_model().config.to_dict())
    config.num_labels = 1
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class Whole(NamedTuple):
    """The pipeline after its job."""

    config: Path
    name: str
    folders: dict[str, Path]
    """Of each stage, by its name."""

    def settings(self, stage: str) -> dict[str, Any]:
        return dict(json.loads(self.folders[stage].with_name(f"{self.folders[stage].name}.yaml").read_text()))


@pytest.fixture(scope="module")
def whole(two_hosts: list[VirtualHost], tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("rounds")
    config = folder / "pipeline.yaml"
    config.write_text(json.dumps(pipeline(folder)))
    head, name = two_hosts[0], f"pipeline-{secrets.token_hex(4)}"
    words = ["submit", str(config), "--address", head.dashboard_address, "--id", name, "--working-dir", str(ROOT)]
    done = head.run([sys.executable, "-m", "launcher", *words], {"PYTHONPATH": str(ROOT)}, timeout=2000)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    assert job(head, name)["status"] == "SUCCEEDED"
    folders = {path.name.rpartition("-")[0]: path for path in (folder / "run").glob("*-????????") if path.is_dir()}
    return Whole(config, name, folders)


def of_ray(head: VirtualHost, what: str, *equal: tuple[str, str]) -> list[dict[str, Any]]:
    """What Ray's state API lists, of those whose fields have these values."""
    words = "".join(f"&filter_keys={key}&filter_predicates=%3D&filter_values={value}" for key, value in equal)
    answer = ask(head, f"{head.dashboard_address}/api/v0/{what}?detail=1&limit=1000{words}")
    return list(json.loads(answer or "{}")["data"]["result"]["result"])


def test_each_stage_takes_the_resources_that_it_says(two_hosts: list[VirtualHost], whole: Whole) -> None:
    tasks = of_ray(two_hosts[0], "tasks", ("name", "_run"))
    found = [(task["required_resources"]["CPU"], task["node_id"]) for task in tasks]
    for cpus in (0.75, 0.625):  # of generate and judge: two rounds, two tasks each, no two of them fit on one host
        assert len([one for one in found if one[0] == cpus]) == 4
        assert len({one for one in found if one[0] == cpus}) == 2
    assert len(found) == 8
    for stage in ("sft", "train-1", "train-2"):
        hosts = json.loads((whole.folders[stage] / "plan.json").read_text())["hosts"]
        assert set(hosts) == {host.ip for host in two_hosts}


def test_each_round_asks_and_trains_the_model_of_the_one_before(whole: Whole) -> None:
    assert set(whole.folders) == {
        "sft", *(f"{name}-{n}" for name in ("generate", "build", "judge", "train") for n in (1, 2)), "after", "winrate",
    }  # fmt: skip
    trained = ["sft", "train-1", "train-2"]
    answer = ["generate-1", "generate-2", "after"]
    for model, stage in [*zip(trained, answer, strict=True), *pairwise(trained)]:
        assert whole.settings(stage)["model"]["path"] == str(whole.folders[model] / "export")
    assert [whole.settings(f"generate-{n}")["seed"] for n in (1, 2)] == [0, 1]
    report = json.loads((whole.folders["winrate"] / "winrate.json").read_text())
    assert report["all"]["answers"] == 8


def test_mlflow_has_the_job_and_the_inputs_of_each_stage(whole: Whole) -> None:
    tags: dict[str, dict[str, str]] = {}
    with sqlite3.connect(whole.config.parent / "run" / "mlflow.db") as database:
        for run_id, key, value in database.execute("select run_uuid, key, value from tags"):
            tags.setdefault(run_id, {})[key] = value
    stages = {found["jpo.stage"]: (run_id, found) for run_id, found in tags.items() if "jpo.stage" in found}
    assert stages["train-1"][1]["jpo.ray_job"] == whole.name
    about = stages["train-2"][1]
    assert about["mlflow.jpo.input_run.judge-2"] == stages["judge-2"][0]
    assert about["mlflow.jpo.input_run.train-1"] == stages["train-1"][0]


def test_what_the_job_has_done_is_done(whole: Whole) -> None:
    done = jpo("run", str(whole.config), "--dry-run").check()
    assert [line.split()[0] for line in done.out.splitlines()] == ["done"] * 11
