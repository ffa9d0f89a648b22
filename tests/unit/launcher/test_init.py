"""`jpo init` writes a config that `jpo check` accepts, whatever the layout of the data, and overwrites nothing."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.config import ClusterConfig
from cluster.resources import Node, capacity
from jpo_dist.config.explain import ConfigError
from launcher.cli import app
from launcher.config.detect import kind_of
from launcher.config.kinds import RunConfig, SftRunConfig
from launcher.config.schema import schema
from launcher.init.machine import machine
from tests.support.screen import invoked
from tests.support.templates import KINDS, LONG, ONE, SYSTEM, save_kind, write_pairs
from tests.support.tiny import PLAIN, byte_tokenizer, comparisons, save_tiny, tiny_model, write_jsonl


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    tiny_model(max_position_embeddings=64).save_pretrained(folder / "plain")
    plain = copy.deepcopy(byte_tokenizer())  # which is kept, and may have got a chat template
    plain.chat_template = None
    plain.save_pretrained(folder / "plain")
    return {
        "chat": save_tiny(folder / "chat"), "plain": str(folder / "plain"),
        "qwen3": save_kind(folder / "qwen3", KINDS["qwen3"]), "gemma": save_kind(folder / "gemma", KINDS["gemma"]),
    }  # fmt: skip


def lines(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def written(folder: Path, data: str, model: str, *more: str) -> tuple[Path, dict[str, Any]]:
    """The file of `jpo init`, which `jpo check` and its schema accept, and what is in it."""
    file = folder / "mine.yaml"
    run_dir = str(folder / "run")
    done = invoked(app, ["init", str(file), "--data", data, "--model", model, "--run-dir", run_dir, *more])
    assert done.exit_code == 0, done.output
    checked = invoked(app, ["check", str(file)])
    assert checked.exit_code == 0, checked.output
    assert checked.output.splitlines()[-1].startswith("# ok: a config of jpo ")
    found = yaml.safe_load(file.read_text())
    kind = kind_of(file)
    named = Path(file.read_text().splitlines()[0].partition("$schema=")[2])
    assert json.loads(named.read_text()) == schema(kind)
    jsonschema.Draft7Validator(schema(kind)).validate(found)
    return file, found


def test_comparisons_and_a_model_with_a_chat_template(models: dict[str, str], tmp_path: Path) -> None:
    file, found = written(tmp_path, write_jsonl(tmp_path / "pairs.jsonl", comparisons(40)), models["chat"])
    assert kind_of(file) is RunConfig
    assert found["data"]["template"] == "chat"
    # By hand: <s>, <user>say 4</s>, <assistant>, "yes yes yes yes 39" and </s>, a token a byte, is the longest of 64.
    assert found["data"]["max_length"] == 64
    assert "layout paper: 14 conditional and 26 joint comparisons" in file.read_text()
    assert found["cluster"] == machine(None).settings


def test_a_model_without_a_template_gets_the_papers_and_few_positions_a_cut(
    models: dict[str, str], tmp_path: Path
) -> None:
    pairs = [{"prompt": f"say {n}", "chosen": "yes " * (5 if n else 30), "rejected": "no"} for n in range(30)]
    _, found = written(tmp_path, lines(tmp_path / "pairs.jsonl", *pairs), models["plain"], "--workers", "2")
    assert found["data"]["template"] == PLAIN
    assert found["data"]["max_length"] == 64
    assert found["data"]["over_long"] == "truncate"
    assert found["cluster"]["workers"] == 2


def test_a_template_that_writes_something_else_gets_the_setting_that_mends_it(
    models: dict[str, str], tmp_path: Path
) -> None:
    file, found = written(tmp_path, write_pairs(tmp_path / "pairs.jsonl", [ONE]), models["qwen3"])
    assert found["data"]["template_args"] == {"enable_thinking": False}
    assert "a finished conversation has" in file.read_text()


def test_rows_that_the_template_refuses_are_left_out(models: dict[str, str], tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl", [ONE, SYSTEM])
    _, found = written(tmp_path, pairs, models["gemma"], "--validation", pairs)
    assert (found["data"]["on_bad_row"], found["data"]["validation"]) == ("skip", pairs)


def test_thumbs_are_for_kto_and_conversations_for_sft(models: dict[str, str], tmp_path: Path) -> None:
    thumbs = [{"prompt": f"say {n}", "completion": "yes", "label": n % 2 == 0} for n in range(6)]
    _, found = written(tmp_path, lines(tmp_path / "thumbs.jsonl", *thumbs), models["chat"])
    assert found["objective"] == {"loss": "kto"}
    turns = [turn._asdict() for turn in LONG.instruction] + [{"role": "assistant", "content": LONG.response}]
    talks = lines(tmp_path / "talks.jsonl", *[{"messages": turns}] * 3)
    file, _ = written(tmp_path, talks, models["chat"], "--force")
    assert kind_of(file) is SftRunConfig
    assert "jpo sft" in file.read_text().splitlines()[1]
    pairs = write_pairs(tmp_path / "pairs.jsonl", [ONE])
    file, _ = written(tmp_path, pairs, models["chat"], "--force", "--sft")
    assert kind_of(file) is SftRunConfig


def test_ratings_of_different_instructions_name_the_command_that_they_need(
    models: dict[str, str], tmp_path: Path
) -> None:
    rated = [{"prompt": f"say {n}", "response": "yes", "score": float(n)} for n in range(4)]
    words = ["--data", lines(tmp_path / "rated.jsonl", *rated), "--model", models["chat"]]
    done = invoked(app, ["init", str(tmp_path / "mine.yaml"), *words])
    assert (done.exit_code, "jpo data build" in done.output) == (2, True)
    assert not (tmp_path / "mine.yaml").exists()


def test_every_gpu_has_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = machine(None).settings
    assert (found["workers"], found["gpus_per_worker"]) == (2, 1)
    assert machine(0).settings == {"workers": 0}
    with pytest.raises(ConfigError, match=r"--workers \(3\) is more than the 2 GPUs"):
        machine(3)


@pytest.mark.parametrize(
    ("nodes", "workers", "cpus"),
    [
        ([(0, 0), (8, 0), (8, 0)], 2, 8),  # a head that gives no CPUs is no place for a worker
        ([(12, 0), (2, 0)], 2, 6),  # seven each would be placed once
        ([(64, 8), (64, 8)], 16, 8),
        ([(0, 0), (6, 4), (32, 4)], 8, 1),
    ],
)
def test_what_is_written_for_a_cluster_can_be_placed_there(
    nodes: list[tuple[float, float]], workers: int, cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [Node(f"h{at}", *one, *one) for at, one in enumerate(nodes)]
    facts = {"reachable": True, "nodes": [node._asdict() for node in there]}
    monkeypatch.setattr("cluster.connection.describe", lambda address: facts)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    found = machine(None).settings
    assert (found["workers"], found["cpus_per_worker"]) == (workers, cpus)
    config = ClusterConfig.model_validate(found)
    assert capacity(there, config) >= workers
    assert capacity(there, config.model_copy(update={"cpus_per_worker": cpus + 1})) < workers
    total = int(sum(cpus for cpus, _ in nodes))
    with pytest.raises(ConfigError, match=rf"--workers \({total + 1}\) is more than "):
        machine(total + 1)


def test_in_a_container_only_its_share_of_the_cores_is_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr("cluster.connection.get_num_cpus", lambda: 4.0)
    assert machine(2).settings == {"workers": 2, "cpus_per_worker": 2}
    with pytest.raises(ConfigError, match=r"--workers \(5\) is more than there is room for, which is 4"):
        machine(5)


def test_a_cluster_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"127.0.0.1:9"):
        machine(None)


def test_a_file_is_overwritten_by_force_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("# by hand\n")
    done = invoked(app, ["init", str(file), "--data", "none", "--model", "none"])
    assert (done.exit_code, "add --force" in done.output) == (2, True)
    assert file.read_text() == "# by hand\n"
    done = invoked(app, ["init", str(tmp_path / "new.yaml")])
    assert (done.exit_code, "--data is missing, and there is no terminal" in done.output) == (2, True)
