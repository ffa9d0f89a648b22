"""`jpo plan`, in this process: what it needs, and how it names what is missing."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from launcher.cli import app
from tests.support.estimates import P, llama

CONFIG = """
model: {path: /nobody/has-this-model, dtype: bfloat16}
data: {train: nothing.jsonl}
train: {comparisons_per_step: 32, tokens_per_micro_step: 2048}
cluster: {workers: 16, gpus_per_worker: 1}
run: {dir: r}
"""


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "config.json").write_text(json.dumps(llama().to_dict()))
    return ["plan", str(tmp_path / "c.yaml"), "--model-config", str(tmp_path / "config.json"), "--lengths", "80,60"]


@pytest.mark.slow
def test_plan_needs_neither_model_nor_data_nor_network(offline: list[str]) -> None:
    done = CliRunner().invoke(app, [*offline, "--network", "100Gb", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["model"]["parameters"] == P
    assert found["ranks_fed"] == 1
    assert "feeds 1 of 16 ranks" in " ".join(found["advice"])
    assert [(row["gpus"], row["network"]) for row in found["extrapolation"]][::4] == [
        (8, "nvlink"),
        (64, "nvlink"),
        (512, "nvlink"),
    ]
    by_ranks = {row["gpus"]: row["efficiency"] for row in found["extrapolation"] if row["network"] == "nvlink"}
    assert by_ranks[512] < by_ranks[64] < by_ranks[8]
    assert 0 < found["memory"]["peak"] < found["memory"]["room"]


@pytest.mark.parametrize(
    ("left_out", "fix"), [("--model-config", "--model-config FILE"), ("--lengths", "--lengths 80,60")]
)
def test_what_is_missing_is_named_with_the_fix(offline: list[str], left_out: str, fix: str) -> None:
    place = offline.index(left_out)
    done = CliRunner().invoke(app, offline[:place] + offline[place + 2 :])
    assert done.exit_code == 2
    assert fix in done.output
    assert "model.path" in done.output
