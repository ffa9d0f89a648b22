"""What a run says of itself in MLflow: no markup of others, the right figures, and no run of a refused start."""

import json
from pathlib import Path

import numpy as np
import pytest

from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.digests import folder_mark
from jpo_dist.run_dir import OUTBOX
from jpo_dist.tracking.run_file import page_of, update_run_file
from jpo_dist.tracking.writer import never_was, start_run
from jpo_dist.train import driver
from jpo_dist.train.about import description, inputs, profile, title
from tests.support.runs import config_for
from tests.support.tiny import comparisons


def test_the_description_has_the_figures_before_and_at_the_last_evaluation(tmp_path: Path) -> None:
    config = config_for("/models/a_b", "d.jsonl", tmp_path, run={"name": "demo"})
    rows = [{"eval/loss": 0.6931, "eval/rewards/accuracies": 0.0}, {"loss": 0.6},
            {"eval/loss": 0.25, "eval/rewards/accuracies": 0.75}, {"loss": 0.1}]  # fmt: skip
    lines = [json.dumps({"step": step, "ts_ms": 1, "metrics": row}) for step, row in enumerate(rows)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    said = description(config, {"jpo.input_run.build": "abc1"})
    assert said.startswith("**a\\_b** aligned on comparisons"), "the whole path is a parameter"
    assert "| held out | &emsp;before | &emsp;after step 2 |" in said
    assert "| loss | &emsp;0.6931 | &emsp;0.2500 |" in said
    assert "| accuracy | &emsp;all ties | &emsp;0.750 |" in said, "the model is the reference then"
    assert "margin" not in said.partition("held out |")[2], "it was not measured"
    first_lines = said.split("\n\n")[:3]
    assert first_lines[2].endswith("[build](#/runs/abc1)"), "behind a table there is no room"
    assert first_lines[1] == "Held out, before and after step 2: accuracy all ties → 0.750, loss 0.6931 → 0.2500."
    assert title(config, {}, 0.0).startswith(f"demo {tmp_path.name} 19")
    stage = {"jpo.pipeline": "helpful", "jpo.stage": "train-2"}
    assert title(config, stage, 0.0).startswith("helpful train-2 19"), "a folder's digest says nothing to a person"


def test_the_profile_counts_what_is_in_the_set() -> None:
    found = comparisons(12)
    lengths_N = np.arange(1, found.num_items + 1)
    prepared = Prepared.of_lengths(found, lengths_N)._replace(skipped={"tie": 2, "over-long": 0})
    told = profile(prepared)
    conditional = sum(found.all_items()[w].instruction == found.all_items()[lo].instruction
                      for w, lo in zip(found.winners_C, found.losers_C, strict=True))  # fmt: skip
    assert (told["comparisons"], told["conditional"], told["joint"]) == (12, conditional, 12 - conditional)
    assert (told["left_out: tie"], "left_out: over-long" in told) == (2, False)
    assert all(isinstance(value, int | float) for value in told.values()), "a mapping would be shown as JSON"
    assert told["mean tokens of an item"] == pytest.approx((found.num_items + 1) / 2, abs=0.05)
    train, held_out = inputs(config_for("m", "/data/pairs.jsonl", "r"), prepared, prepared)
    assert (train["name"], train["digest"], train["context"]) == ("pairs.jsonl", found.fingerprint, "train")
    assert held_out["context"] == "validation"


def test_a_refused_start_leaves_no_run_and_one_that_measured_something_does(tmp_path: Path) -> None:
    config = config_for("m", "d", tmp_path / "run", tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"})
    with pytest.raises(ValueError, match="no such data"), driver.recorded(config, {}):
        raise ValueError("no such data")
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "run" / OUTBOX).exists()
    tracking, run = TrackingConfig(uri="http://127.0.0.1:9"), RunSection(dir=str(tmp_path / "away"))
    start_run(tracking, run, {}, wait_s=0)
    (tmp_path / "away" / "metrics.jsonl").write_text('{"step":0,"ts_ms":1,"metrics":{}}\n')
    assert not never_was(run, {}), "a server that was away gets it later"
    assert (tmp_path / "away" / OUTBOX).exists()


def test_the_address_of_a_run_opens_it_among_trainings(tmp_path: Path) -> None:
    tracking = TrackingConfig(uri="http://ann:secret@mlflow:5000/")
    assert page_of(tracking, tmp_path) is None
    update_run_file(tmp_path, run_id="r1", experiment_id="7")
    page = page_of(tracking, tmp_path)
    assert page == "http://***@mlflow:5000/#/experiments/7/runs/r1?workflowType=machine_learning"
    local = page_of(TrackingConfig(), tmp_path)
    assert local is not None
    assert local.startswith(f"mlflow ui --backend-store-uri sqlite:///{tmp_path.parent}/mlflow.db, then http://127.0.0")
    assert page_of(TrackingConfig(uri="none"), tmp_path) is None


def test_answers_of_weights_that_were_exported_before_are_not_told_as_those_of_the_export(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "model.safetensors").write_bytes(b"weights")
    report = {"policy": str(tmp_path / "export"), "pass_rate": {"answers": 4, "rate": [0.75, 0.5, 1.0]}}
    config = config_for("m", "d.jsonl", tmp_path)
    for digest, told in ((folder_mark(tmp_path / "export"), True), ("of an earlier export", False)):
        (tmp_path / "evaluation.json").write_text(json.dumps({**report, "policy_digest": digest}))
        assert ("Of 4 answers 75.0% meet their constraints." in description(config, {})) == told
