"""`jpo evaluate`, `export`, `check`, `doctor`, and what a person reads when the input is wrong."""

import json
import socket
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.tracking.writer import replay
from tests.support.commands import Done, Files, Warm, jpo, lines_of, numbers
from tests.support.metric_names import undocumented

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def refused(done: Done, *said: str) -> None:
    """Exit code 2 and one message, without a traceback."""
    done.check(2)
    for words in said:
        assert words in done.said, done.said
    assert "Traceback" not in done.said


# ---- wrong input


@pytest.fixture(scope="module")
def bad_file(tiny: Files) -> Path:
    """Line 4 has a winner that is no text."""
    lines = Path(tiny.train).read_text().splitlines()
    lines[3] = json.dumps({**json.loads(lines[3]), "r_chosen": 7})
    target = tiny.folder / "bad.jsonl"
    target.write_text("\n".join(lines) + "\n")
    return target


def test_a_bad_row_ends_the_run_with_file_line_field_and_reason(tiny: Files, warm: Warm, bad_file: Path) -> None:
    done = warm("train", tiny.config, f"data.train={bad_file}", "cluster.workers=0", "tracking.uri=none")
    refused(done, f"{bad_file}, line 4: r_chosen:", "data.on_bad_row=skip")


@pytest.mark.nightly
def test_a_bad_row_in_a_ray_worker_is_one_message_and_no_ray_wrapper(
    tiny: Files, warm: Warm, bad_file: Path, tmp_path: Path
) -> None:
    words = [f"data.train={bad_file}", f"run.dir={tmp_path / 'run'}", "cluster.workers=1", "tracking.uri=none"]
    done = warm("train", tiny.config, *words)
    done.check(2)
    assert f"{bad_file}, line 4: r_chosen:" in done.said
    for wrapper in ("WorkerGroupError", "RayTaskError", "TrainingFailedError", "PeerError"):
        assert wrapper not in done.said
    # The end of the output is what a person sees first.
    tail = " ".join(" ".join(done.err.splitlines()[-40:]).split())
    assert f"{bad_file}, line 4: r_chosen:" in tail
    assert len(list((tmp_path / "run" / "attempts").iterdir())) == 1, "the same rows were read again and again"


def test_bad_rows_are_skipped_and_counted_when_told_so(tiny: Files, warm: Warm, bad_file: Path, tmp_path: Path) -> None:
    words = [f"data.train={bad_file}", f"run.dir={tmp_path / 'run'}", "cluster.workers=0", "tracking.uri=none"]
    done = warm("train", tiny.config, *words, "data.on_bad_row=skip", "train.max_steps=1").check()
    assert "40 rows: 39 comparisons" in done.said
    assert "1 bad rows skipped" in done.said
    assert f"{bad_file}, line 4: r_chosen:" in done.said


def test_over_long_items_are_counted_cut_or_an_error_as_told(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    lines = Path(tiny.train).read_text().splitlines()
    lines[5] = json.dumps({**json.loads(lines[5]), "r_chosen": "word " * 60})
    data = tmp_path / "long.jsonl"
    data.write_text("\n".join(lines) + "\n")
    words = [
        "train", tiny.config, f"data.train={data}", "cluster.workers=0", "tracking.uri=none", "train.max_steps=1",
        "data.max_length=150", "data.max_instruction_length=100",
    ]  # fmt: skip
    skipped = warm(*words, f"run.dir={tmp_path / 'skip'}").check()
    assert "1 over-long comparisons skipped, 0 items cut" in skipped.said
    cut = warm(*words, f"run.dir={tmp_path / 'cut'}", "data.over_long=truncate").check()
    assert "0 over-long comparisons skipped, 1 items cut" in cut.said
    error = warm(*words, f"run.dir={tmp_path / 'error'}", "data.over_long=error")
    refused(error, "data.max_length (150)", "say 0", "set data.over_long to skip or truncate")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.train={empty}"], "no comparison"),
        (["data.train=/nowhere/x.jsonl"], "/nowhere/x.jsonl: no such file or folder"),
        (["model.path=/nowhere/model"], "model.path (/nowhere/model): no such model folder"),
        (["model.pth=x"], "model.pth is not a setting; did you mean model.path?"),
        (["objective.beta=-1"], "objective.beta"),
        (["objective.beta"], "override 'objective.beta' is not key=value"),
        (["data.validation=None"], "write data.validation=null"),
        (["run.dir={empty}"], "empty.jsonl is there already"),
    ],
)
def test_wrong_input_is_named_in_one_message(
    tiny: Files, warm: Warm, tmp_path: Path, words: list[str], said: str
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    words = [word.format(empty=empty) for word in words]
    done = warm("train", tiny.config, f"run.dir={tmp_path / 'run'}", "cluster.workers=0", "tracking.uri=none", *words)
    refused(done, said)
    assert len(done.err.splitlines()) < 15


def test_a_cluster_that_is_too_small_is_said_at_once_with_what_it_has(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    done = warm("train", tiny.config, f"run.dir={tmp_path / 'run'}", "cluster.workers=64", "tracking.uri=none")
    done.check(1)
    assert "asked: cluster.workers=64 x 1 CPU" in done.said
    assert "even when nothing else runs" in done.said
    assert "use cluster.workers=" in done.said
    assert "Traceback" not in done.said
    assert done.seconds < 300, "it waited for cluster.start_timeout_s (600)"


# ---- export


def test_export_writes_the_held_out_metrics_of_its_commit_into_the_card(alone: Path, tiny: Files, warm: Warm) -> None:
    card = (alone / "export" / "README.md").read_text()
    assert "| eval/loss |" in card
    warm("export", tiny.config, f"run.dir={alone}", "cluster.workers=0").check()
    assert "| eval/loss |" in (alone / "export" / "README.md").read_text()


@pytest.fixture(scope="module")
def adapted(tiny: Files, warm: Warm) -> Path:
    """A LoRA run that exports both ways."""
    run_dir = tiny.folder / "lora"
    more = ["model.lora.rank=4", "model.lora.merge_on_export=true", "reference.mode=adapter_off", "optim.lr=1e-2"]
    warm("train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none", *more).check()
    return run_dir


def test_lora_exports_an_adapter_and_the_merged_model_and_both_generate_the_same(adapted: Path, tiny: Files) -> None:
    names = {path.name for path in (adapted / "export").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md"} <= names
    assert "model.safetensors" not in names
    base = AutoModelForCausalLM.from_pretrained(tiny.model, dtype=torch.float32)
    ids = torch.tensor([[0, 9, 80, 120, 33, 17]])
    plain = base(ids).logits
    adapter = PeftModel.from_pretrained(base, adapted / "export").eval()
    merged = AutoModelForCausalLM.from_pretrained(adapted / "export-merged", dtype=torch.float32).eval()
    assert merged.config.use_cache
    assert not torch.allclose(plain, merged(ids).logits, atol=1e-2), "the adapter is not in it"
    torch.testing.assert_close(adapter(ids).logits, merged(ids).logits, rtol=1e-4, atol=1e-4)
    made = [model.generate(ids, max_new_tokens=6, do_sample=False).tolist() for model in (adapter, merged)]
    assert made[0] == made[1]


# ---- evaluate


@pytest.fixture(scope="module")
def evaluated(alone: Path, tiny: Files, warm: Warm) -> dict[str, object]:
    """evaluation.json of the finished run, answers to two instructions included."""
    tasks = tiny.folder / "tasks.jsonl"
    rows = [
        {"instruction": "say 1", "constraints": [{"kind": "max_words", "n": 50}]},
        {"instruction": "say 2", "constraints": [{"kind": "include_word", "word": "zebra"}]},
    ]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"run.dir={alone}", "cluster.workers=0", f"evaluate.instructions={tasks}", "evaluate.max_new_tokens=8"]
    done = warm("evaluate", tiny.config, *words).check()
    labels = ("accuracy", "margin, instruction part", "constraint pass-rate (2 answers)")
    for label in (*labels, "by what was compared", "cosine of joint instructions", "calibration of sigma(beta z)"):
        assert label in done.out
    result: dict[str, object] = json.loads((alone / "evaluation.json").read_text())
    return result


def test_evaluate_of_the_export_says_what_the_last_evaluation_of_the_run_said(
    evaluated: dict[str, object], alone: Path
) -> None:
    last = lines_of(alone)[-1]["metrics"]
    parts = evaluated["comparisons"]
    assert isinstance(parts, dict)
    assert set(parts) == {"all", "conditional", "joint"}
    for part, values in parts.items():
        prefix = "eval/" if part == "all" else f"eval/{part}/"
        assert values["rewards/accuracies"][0] == last[f"{prefix}rewards/accuracies"]
        for metric in ("loss", "rewards/margins", "margin/instruction", "margin/response"):
            mean, low, high = values[metric]
            assert mean == pytest.approx(last[prefix + metric], rel=1e-5, abs=1e-6)
            assert low <= mean <= high
    loss = parts["all"]["loss"]
    assert loss[1] < loss[2]
    assert parts["all"]["comparisons"] == last["eval/comparisons"] == 12


def test_strata_of_an_evaluation_part_its_comparisons(evaluated: dict[str, Any]) -> None:
    parts = evaluated["comparisons"]
    sizes = {"length": "all", "similarity": "joint"}
    for name, part in sizes.items():
        assert sum(row["comparisons"] for row in evaluated[name]) == parts[part]["comparisons"]
        total = sum(row["comparisons"] * row["rewards/margins"][0] for row in evaluated[name])
        assert total / parts[part]["comparisons"] == pytest.approx(parts[part]["rewards/margins"][0])
    assert evaluated["calibration"]["all"]["comparisons"] == 12
    assert evaluated["ties_apart"] == 0
    assert evaluated["policy_digest"] != evaluated["reference"]["digest"]


def test_evaluate_checks_generated_answers(evaluated: dict[str, object]) -> None:
    rates = evaluated["pass_rate"]
    assert isinstance(rates, dict)
    assert rates["answers"] == 2
    assert rates["by_kind"]["include_word"] == 0.0, "a tiny random model does not know that word"
    passed = [row["passed"] for row in rates["checked"]]
    assert rates["rate"][0] == sum(passed) / 2


def test_export_without_a_commit_says_what_to_do(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    done = warm("export", tiny.config, f"run.dir={tmp_path / 'run'}", "cluster.workers=0")
    refused(done, "has no valid commit to export; train first")


def test_evaluate_without_an_export_says_what_is_missing(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    refused(warm("evaluate", tiny.config, f"run.dir={tmp_path / 'run'}", "cluster.workers=0"), str(tmp_path / "run"))


# ---- score


def test_score_of_the_export_is_tracked_and_says_what_the_run_said(
    alone: Path, tiny: Files, warm: Warm, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = [f"run.dir={alone}", "cluster.workers=0", f"tracking.uri={uri}", f"score.output={tmp_path / 'out'}"]
    done = warm("score", tiny.config, *words, f"score.data={tiny.validation}").check()
    assert "12 comparisons: 12 decided, 0 ties, 0 with an over-long item" in done.said
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    last = lines_of(alone)[-1]["metrics"]
    for part, prefix in (("all", "eval/"), ("joint", "eval/joint/")):
        values = report["margins"][part]
        assert values["beta_z"][0] == pytest.approx(last[f"{prefix}rewards/margins"], abs=1e-5)
        assert values["accuracy"][0] == last[f"{prefix}rewards/accuracies"]
    client = pytest.importorskip("mlflow").MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("jpo").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", f"{report_name(alone)}-scores")
    assert run.data.params["input.fingerprint"] == report["fingerprint"]
    assert run.data.params["input.policy_digest"] == report["policy_digest"] != report["reference"]["digest"]
    assert undocumented(run.data.metrics) == []
    assert run.data.metrics["score/joint/beta_z"] == report["margins"]["joint"]["beta_z"][0]
    assert "12 of 12 comparisons are decided and have a margin" in run.data.tags["mlflow.note.content"]
    [scored] = run.inputs.dataset_inputs
    assert (scored.tags[0].value, scored.dataset.digest) == ("scored", report["fingerprint"][:36])


def report_name(run_dir: Path) -> str:
    name: str = yaml.safe_load((run_dir / "config.yaml").read_text())["run"]["name"]
    return name


def test_score_of_nothing_says_what_is_missing(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    words = [f"run.dir={tmp_path / 'run'}", "cluster.workers=0"]
    refused(warm("score", tiny.config, *words), "score.data (None) names nothing to score")
    there = [*words, f"score.data={tiny.validation}"]
    refused(warm("score", tiny.config, *there), str(tmp_path / "run" / "export"))
    refused(warm("score", tiny.config, *words, "score.dta=x"), "did you mean")


# ---- check and doctor


def test_check_prints_the_resolved_config_and_starts_nothing(tiny: Files, tmp_path: Path) -> None:
    words = ["check", tiny.config, "objective.beta=0.25", f"run.dir={tmp_path / 'run'}"]
    done = jpo(*words, "--all").check()
    shown = yaml.safe_load(done.out)
    assert shown["objective"]["beta"] == 0.25
    assert shown["optim"]["betas"] == [0.9, 0.999]
    assert done.out.splitlines()[-1] == "# ok: a config of jpo train"
    assert not (tmp_path / "run").exists()


def test_doctor_finds_this_machine_fit(tiny: Files) -> None:
    done = jpo("doctor").check()
    for subject in ("python", "deepspeed", "ray", "mlflow", "model.dtype=auto"):
        assert subject in done.out


# ---- tracking


@pytest.fixture(scope="module")
def untold(tiny: Files, warm: Warm) -> tuple[Path, Done]:
    """A run whose MLflow server is away from the start to the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run_dir = tiny.folder / "untold"
    uri = f"tracking.uri=http://127.0.0.1:{port}"
    return run_dir, warm("train", tiny.config, "cluster.workers=0", f"run.dir={run_dir}", uri).check()


def test_a_run_without_its_mlflow_server_finishes_and_is_sent_later(
    untold: tuple[Path, Done], alone: Path, tmp_path: Path
) -> None:
    run_dir, done = untold
    assert "no tracking now" in done.said
    assert "MLflow lacks" in done.said
    assert numbers(run_dir) == numbers(alone)
    later = TrackingConfig(uri=f"sqlite:///{tmp_path / 'later.db'}")
    assert replay(later, RunSection(dir=str(run_dir), name="tiny"), "FINISHED") == 0
    with sqlite3.connect(tmp_path / "later.db") as database:
        rows = Counter(database.execute("select key, step from metrics").fetchall())
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]
    assert {(name, line["step"]) for line in lines_of(run_dir) for name in line["metrics"]} <= set(rows)
    assert set(rows.values()) == {1}


def test_a_dead_mlflow_server_costs_seconds(untold: tuple[Path, Done]) -> None:
    """In metrics.jsonl's clock: from the last step to the end of the command."""
    run_dir, done = untold
    lines = lines_of(run_dir)
    training_s = (lines[-1]["ts_ms"] - lines[0]["ts_ms"]) / 1000
    assert done.seconds - training_s < 120
