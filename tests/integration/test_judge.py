"""The whole judge: as a process that is killed, over Ray tasks, with a reward model, to data that trains."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from jpo_dist.batches.load import read_data
from jpo_dist.data.build import build, write
from jpo_dist.data.config import BuildConfig
from jpo_dist.judge.config import JudgeConfig
from jpo_dist.judge.judging import judge
from jpo_dist.judge.verdict import Candidate
from jpo_dist.locks import InUse
from jpo_dist.records.comparisons import Item
from jpo_dist.records.folder import read_set
from jpo_dist.records.split import split_of
from launcher.config.kinds import JudgeRunConfig
from launcher.stages.asking import Incomplete
from launcher.stages.inspect import look
from launcher.stages.judge import run
from tests.support.openai_server import Fault, OpenAIServer, by_hash, openai_server
from tests.support.rows import write_rows
from tests.support.runs import config_for
from tests.support.tiny import CHAT_TEMPLATE, byte_tokenizer, save_tiny

ROOT = Path(__file__).parents[2]
OUTPUT = ("items.parquet", "comparisons.parquet", "report.json", "judged.jsonl", "report.html")
KEY = "sk-PLANTED-19c"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def write_pairs(path: Path, count: int = 24) -> str:
    """Unlabelled pairs, a third conditional, items shared; with one row said twice."""
    with path.open("w") as file:
        for n in [*range(count), 3]:
            other = n if n % 3 == 0 else (n + 1) % count
            row = {"instruction_0": f"instruction {n}", "response_0": f"first {n}",
                   "instruction_1": f"instruction {other}", "response_1": f"second {other}"}  # fmt: skip
            file.write(json.dumps(row) + "\n")
    return str(path)


def settings(server: OpenAIServer, pairs: str, output: Path, **changes: Any) -> dict[str, Any]:
    endpoint = {"base_url": server.url, "name": "server", "model": "judge-1", "concurrency": 3, "timeout_s": 60}
    return {"candidates": pairs, "output": str(output), "endpoint": endpoint, **changes}


@contextmanager
def process(config: dict[str, Any]):
    """A judge in a process of its own; killed at the end if it still runs."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    path = Path(config["output"]).with_suffix(".yaml")
    path.write_text(json.dumps(config))  # JSON is YAML
    command = [sys.executable, "-m", "launcher", "judge", str(path)]
    started = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        assert started.stdout
        started.stdout.close()


def sometimes_unclear(_: int, prompt: str) -> Fault | None:
    return Fault("text") if "instruction 5\n" in prompt and "alone. If" not in prompt else None


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUT}


@pytest.mark.slow
def test_killed_and_resumed_no_question_is_paid_twice_and_the_result_is_the_same(tmp_path):
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    with openai_server(by_hash, sometimes_unclear) as calm:
        run(JudgeRunConfig(**settings(calm, pairs, tmp_path / "calm")))
    assert set(calm.answered.values()) == {1}

    killed_output = tmp_path / "killed"
    with openai_server(by_hash, sometimes_unclear) as server:
        stored: set[str] = set()
        for answers in (1, 11, 30):
            server.hold_after = answers
            with process(settings(server, pairs, killed_output)) as judge_process:
                assert server.wait_for_answers(answers)
                with server.changed:  # held requests are under way when the kill comes
                    assert server.changed.wait_for(lambda: server.under_way == 3, 60)
                judge_process.send_signal(signal.SIGKILL)
                assert judge_process.wait() == -signal.SIGKILL
            server.let_go.set()  # the held ones are answered to nobody: lost, and only they
            with server.changed:
                assert server.changed.wait_for(lambda: server.under_way == 0, 60)
            server.let_go.clear()
            stored |= keys_in(killed_output)
        server.hold_after = None
        with process(settings(server, pairs, killed_output)) as last:
            text, _ = last.communicate(timeout=120)
            assert last.returncode == 0, text
    assert bytes_of(killed_output) == bytes_of(tmp_path / "calm")
    assert set(server.answered) == set(calm.answered)
    lost = sum(count - 1 for count in server.answered.values())
    assert lost <= 3 * 3  # what was under way at three kills; all else was paid once
    lines = [
        json.loads(line) for path in (killed_output / "answers").iterdir() for line in path.read_text().splitlines()
    ]
    assert len(lines) == len({line["key"] for line in lines}) == len(calm.answered)
    assert len(stored) >= 30 - 3 * 3
    assert KEY not in text


def keys_in(output: Path) -> set[str]:
    return {
        json.loads(line)["key"]
        for path in (output / "answers").glob("*.jsonl")
        for line in path.read_text().splitlines()
    }


@pytest.mark.slow
def test_what_is_stored_at_a_kill_is_asked_exactly_once_over_both_runs(tmp_path):
    """Killed while nothing is under way but held requests that the server never counted as answered."""
    pairs = write_pairs(tmp_path / "pairs.jsonl", 12)
    with openai_server(by_hash) as server:
        server.hold_after = 8
        config = settings(server, pairs, tmp_path / "out")
        config["endpoint"]["concurrency"] = 1  # the eighth answer is stored before the ninth request is sent
        with process(config) as judge_process, server.changed:
            assert server.changed.wait_for(lambda: server.requests == 9, 60)
            judge_process.kill()
            judge_process.wait()
        assert len(keys_in(tmp_path / "out")) == 8
        server.hold_after = None
        first_eight = list(server.answered)
        run(JudgeRunConfig(**config))
        assert [server.answered[question] for question in first_eight] == [1] * 8
        assert [server.asked[question] for question in first_eight] == [1] * 8


@pytest.mark.slow
def test_ray_tasks_give_the_same_bytes_and_ask_once(tmp_path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 12)
    for workers in (0, 2):
        with openai_server(by_hash, sometimes_unclear) as server:
            config = settings(server, pairs, tmp_path / str(workers), cluster={"workers": workers})
            run(JudgeRunConfig(**config))
        assert set(server.answered.values()) == {1}
    assert bytes_of(tmp_path / "0") == bytes_of(tmp_path / "2")
    assert len(list((tmp_path / "2/answers").iterdir())) == 2
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.nightly
def test_a_refusal_in_a_ray_task_ends_the_run_with_its_reason(tmp_path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 4)
    with openai_server(by_hash, lambda *_: Fault("status", 401)) as server:
        config = settings(server, pairs, tmp_path / "out", cluster={"workers": 2})
        with pytest.raises(RuntimeError, match="refuses the key from OPENAI_API_KEY") as raised:
            run(JudgeRunConfig(**config))
    assert KEY not in str(raised.value)
    assert raised.value.is_input


def test_the_output_is_a_comparison_set_that_reads_back(tmp_path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 12)
    with openai_server(by_hash) as server:
        report = run(JudgeRunConfig(**settings(server, pairs, tmp_path / "out")))
    built = read_set(tmp_path / "out")
    outcomes = report["outcomes"]
    assert len(built) == outcomes["decided"] + outcomes["tie"] == report["candidates"] == 13
    assert int(built.is_tie_C.sum()) == outcomes["tie"] > 0
    assert report["repeated_candidates"] == 1
    assert set(built.comparisons["annotator"].to_pylist()) == {"judge-1"}
    assert json.loads((tmp_path / "out/report.json").read_text())["judge"]["outcomes"] == outcomes


def test_what_a_set_holds_out_is_held_out_of_the_set_of_the_verdicts_on_its_candidates(tmp_path):
    """The step that the build names next: its set has splits, the pairs of its candidates.jsonl had none."""
    text = "say {}. Write without commas."
    rows = [{"prompt": text.format(n), "completion": f"a{comma} {n}"} for n in range(120) for comma in ("", ",")]
    source = {"path": write_rows(tmp_path / "a.jsonl", rows)}
    split = {"validation": 0.2, "test": 0.2}
    settings = {"sources": [source], "split": split, "candidates": {"policy": "random", "budget": 100}}
    write(build(BuildConfig.model_validate({**settings, "output": str(tmp_path / "set")})), tmp_path / "set")
    checker = {"function": "jpo_dist.evaluate.constraints:constraints_held"}
    values = {"candidates": str(tmp_path / "set/candidates.jsonl"), "output": str(tmp_path / "out"), "kind": "checker"}
    report = run(JudgeRunConfig.model_validate({**values, "checker": checker}))
    assert min(report["splits"].values()) > 0
    assert sum(report["splits"].values()) == 100
    train, held, _ = read_data(config_for("unused", str(tmp_path / "out"), tmp_path / "run"))
    assert held is not None
    for part, name in ((train, "train"), (held, "validation")):
        found = {split_of(item.instruction_id, 0.2, 0.2, 0) for item in part.all_items()}
        assert (found, len(part)) == ({name}, report["splits"][name])


def test_inspecting_what_was_judged_accounts_for_every_candidate(tmp_path):
    rows = [
        {"instruction": text, "response_0": "a, b", "response_1": "a b"} for text in ("Free.", "Do not use any commas.")
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"instruction": "x"}]))
    values = {
        "candidates": str(tmp_path / "pairs.jsonl"), "output": str(tmp_path / "out"), "on_bad_row": "skip",
        "kind": "checker", "checker": {"function": "jpo_dist.evaluate.constraints:constraints_held"},
    }  # fmt: skip
    run(JudgeRunConfig.model_validate(values))
    found = look(str(tmp_path / "out"), None, "error", 0, 1)
    assert (found["rows"], found["comparisons"]["conditional"], found["ties"]) == (3, 1, 0)
    assert found["skipped"] == {"missing field": 1, "unparsable": 1}


def test_labels_in_the_input_change_nothing(tmp_path):
    """The same pairs, labelled one way and the other, in the paper's layout."""
    found = {}
    for name in ("one", "other"):
        rows = [{"i_chosen": "i", "r_chosen": f"a{n}", "i_reject": "i", "r_reject": f"b{n}"} for n in range(8)]
        if name == "other":
            rows = [
                {"i_chosen": "i", "r_chosen": r["r_reject"], "i_reject": "i", "r_reject": r["r_chosen"]} for r in rows
            ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with openai_server(by_hash) as server:
            config = settings(server, str(tmp_path / f"{name}.jsonl"), tmp_path / name)
            config["endpoint"]["concurrency"] = 1
            run(JudgeRunConfig(**config))
        built = read_set(tmp_path / name)
        items = built.all_items()
        edges = [(items[w].response, items[v].response) for w, v in zip(built.winners_C, built.losers_C, strict=True)]
        found[name] = edges, [body["messages"] for body in server.bodies]
    assert found["one"] == found["other"]


@pytest.mark.slow
def test_a_used_up_budget_is_an_error_that_says_how_to_go_on(tmp_path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 6)
    with openai_server(by_hash) as server:
        config = settings(server, pairs, tmp_path / "out", budget={"max_requests": 5})
        with process(config) as judge_process:
            text, _ = judge_process.communicate(timeout=120)
        assert judge_process.returncode == 1
        assert "Traceback" not in text
        assert "To go on, raise the limit" in text
        with pytest.raises(Incomplete, match=r"of 7 candidates are not asked.*budget.max_requests=5.*same command"):
            run(JudgeRunConfig(**config))
        assert len(read_set(tmp_path / "out")) == 2
        run(JudgeRunConfig(**{**config, "budget": {}}))
    assert set(server.answered.values()) == {1}


def test_two_judges_in_one_folder_are_refused(tmp_path):
    from filelock import FileLock

    pairs = write_pairs(tmp_path / "pairs.jsonl", 3)
    (tmp_path / "out").mkdir()
    with (
        openai_server(by_hash) as server,
        FileLock(tmp_path / "out/.lock"),
        pytest.raises(InUse, match="another judge"),
    ):
        run(JudgeRunConfig(**settings(server, pairs, tmp_path / "out")))
    assert server.requests == 0


def test_the_recipe_is_a_valid_config():
    recipe = yaml.safe_load((ROOT / "configs/judge.yaml").read_text())
    assert JudgeRunConfig(**recipe).endpoint.model


# ---- reward models


def save_reward_model(folder: Path, outputs: int = 1, family: str = "llama") -> str:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings = {**sizes, "vocab_size": 258, "pad_token_id": 1, "initializer_range": 0.3, "num_labels": outputs}
    classes = {
        "llama": (LlamaForSequenceClassification, LlamaConfig),
        "bert": (BertForSequenceClassification, BertConfig),
    }
    model_class, config_class = classes[family]
    model_class(config_class(**settings)).save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return str(folder)


def reward_config(path: str, **changes: Any) -> JudgeConfig:
    section = {"path": path, "dtype": "float32", "tokens_per_batch": 100, **changes}
    return JudgeConfig.model_validate(
        {"candidates": "c", "output": "o", "kind": "reward_model", "reward_model": section}
    )


PAIRS = [
    Candidate(Item.of(f"say {n}", "yes " * (1 + n % 4)), Item.of(f"tell {n % 3}", "no" * (1 + n)), f"f:{n}")
    for n in range(9)
]


@pytest.mark.parametrize("family", ["llama", "bert"])  # bert looks both ways: padding must be masked
def test_a_reward_model_gives_what_the_model_says_of_each_item_alone(tmp_path, family):
    path = save_reward_model(tmp_path / "model", family=family)
    judged, _ = judge(PAIRS, reward_config(path), tmp_path / "a")
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(path).eval(), byte_tokenizer()

    def alone(item: Item) -> float:
        text = f"<s><user>{item.instruction[0].content}</s><assistant>{item.response}</s>"
        with torch.no_grad():
            return model(torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])).logits.item()

    for candidate, one in zip(PAIRS, judged, strict=True):
        gap = alone(candidate.first) - alone(candidate.second)
        assert one.comparison.winner == (candidate.first if gap > 0 else candidate.second)
        assert one.comparison.confidence == pytest.approx(1 / (1 + np.exp(-abs(gap))), abs=1e-5)
    three, _ = judge(PAIRS, reward_config(path), tmp_path / "b", tasks=3)
    assert three == judged
    wide, report = judge(PAIRS, reward_config(path, tie_band=100), tmp_path / "c")
    assert {one.outcome for one in wide} == {"tie"}
    short, report = judge(PAIRS, reward_config(path, max_length=30), tmp_path / "d")
    assert 0 < report["outcomes"]["unparsable"] < 9
    assert all(one.comparison is None for one in short if one.outcome == "unparsable")


def test_a_model_that_is_no_reward_model(tmp_path):
    path = save_reward_model(tmp_path / "model", outputs=3)
    with pytest.raises(ValueError, match="has 3 outputs; a reward model has one"):
        judge(PAIRS, reward_config(path), tmp_path / "a")
    with pytest.raises(ValueError, match=r"reward_model.path .*name a sequence-classification folder"):
        judge(PAIRS, reward_config(str(tmp_path)), tmp_path / "a")
    language_model = save_tiny(tmp_path / "lm", num_labels=1)
    with pytest.raises(ValueError, match=r"no weights for score.weight; name a sequence"):
        judge(PAIRS, reward_config(language_model), tmp_path / "a")
