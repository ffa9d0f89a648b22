"""`jpo generate` as people run it: killed, resumed, over tasks, with other budgets: the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.generate.answers import read_answers
from jpo_dist.generate.run import OtherSettings
from jpo_dist.locks import InUse
from launcher.config.kinds import GenerateRunConfig
from launcher.stages.generate import run
from tests.support.commands import Warm, environment
from tests.support.metric_names import undocumented
from tests.support.tiny import save_tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(tmp_path_factory.mktemp("model"), max_position_embeddings=128)


def write_instructions(path: Path, count: int = 30) -> str:
    rows = [{"instruction": f"say {n} " + "really " * (n % 4)} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def settings(model: str, folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "instructions": write_instructions(folder / "instructions.jsonl"), "output": str(folder / "out"),
        "model": {"path": model, "dtype": "float32"}, "temperatures": [0.0, 1.0], "samples": 2,
        "max_new_tokens": 24, "tokens_per_batch": 500, **changes,
    }  # fmt: skip


def made(config: dict[str, Any]) -> dict[str, Any]:
    report, _ = run(GenerateRunConfig.model_validate(config), [])
    return report


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


@pytest.fixture(scope="module")
def undisturbed(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    made(settings(model, folder))
    return folder / "out"


def test_the_report_adds_up_and_a_second_run_does_nothing(undisturbed: Path, model: str) -> None:
    report = json.loads((undisturbed / "report.json").read_text())
    answers = read_answers(undisturbed)
    assert len(answers) == 30 + 60
    for temperature, counts in report["temperatures"].items():
        some = [answer for answer in answers if answer.temperature == float(temperature)]
        assert counts["asked"] == counts["answers"] == len(some)
        assert counts["finished"] + counts["cut"] == counts["answers"]
        assert counts["empty"] == sum(not answer.answer for answer in some)
        assert counts["tokens"] == sum(answer.tokens for answer in some)
        assert counts["skipped"] == counts["failed"] == counts["not_asked"] == 0
    assert [answer.place for answer in answers] == sorted(answer.place for answer in answers)
    assert not (undisturbed / "progress").exists()
    before = {path: path.stat().st_mtime_ns for path in undisturbed.glob("part-*")}
    again = made(settings(model, undisturbed.parent))
    assert again == report
    assert parts(undisturbed)
    assert set(before) == set(undisturbed.glob("part-*"))


@pytest.mark.parametrize("change", [{"tokens_per_batch": 90}, {"tokens_per_batch": 100_000}])
def test_the_budget_changes_nothing(model: str, undisturbed: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    made(settings(model, tmp_path, **change))
    assert parts(tmp_path / "out") == parts(undisturbed)


@pytest.mark.slow
@pytest.mark.nightly
def test_ray_tasks_change_nothing(model: str, undisturbed: Path, tmp_path: Path) -> None:
    made(settings(model, tmp_path, cluster={"workers": 2}))
    assert parts(tmp_path / "out") == parts(undisturbed)


@contextmanager
def process(config: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own; killed at the end if it still runs."""
    path = Path(config["output"]).with_suffix(".yaml")
    path.write_text(json.dumps(config))  # JSON is YAML
    words = [sys.executable, "-m", "launcher", "generate", str(path)]
    started = subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def lines_in(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (folder / "progress").glob("*.jsonl"))


def kill_after(config: dict[str, Any], more: int) -> None:
    """Start the command, and kill it as soon as it has written so many answers."""
    folder = Path(config["output"])
    before = lines_in(folder)
    with process(config) as running:
        while running.poll() is None and lines_in(folder) < before + more:
            os.sched_yield()
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert running.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert before + more <= lines_in(folder) < 90


def check_killed(model: str, undisturbed: Path, tmp_path: Path, kills: list[int]) -> None:
    config = settings(model, tmp_path)
    for more in kills:
        kill_after(config, more)
        assert not list((tmp_path / "out").glob("part-*"))
    with process(config) as last:
        text, _ = last.communicate(timeout=200)
    assert last.returncode == 0, text
    assert parts(tmp_path / "out") == parts(undisturbed)
    assert len(read_answers(tmp_path / "out")) == 90


@pytest.mark.slow
def test_killed_and_resumed_the_bytes_are_the_same(model: str, undisturbed: Path, tmp_path: Path) -> None:
    check_killed(model, undisturbed, tmp_path, [7])


@pytest.mark.nightly
@pytest.mark.timeout(1200)  # six commands, each of which loads torch: more than the usual limit beside other work
def test_killed_five_times_the_bytes_are_the_same(model: str, undisturbed: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    check_killed(model, undisturbed, tmp_path, [draw.randint(1, 12) for _ in range(5)])


def test_a_folder_of_other_settings_is_refused_with_key_and_both_values(model: str, undisturbed: Path) -> None:
    for change, said in (
        ({"samples": 3}, r"samples=2, this config has 3"),
        ({"temperatures": [0.5]}, r"temperatures=\[0.0, 1.0\], this config has \[0.5\]"),
        ({"seed": 1}, "seed=0, this config has 1"),
    ):
        with pytest.raises(OtherSettings, match=said):
            made(settings(model, undisturbed.parent, **change))
    other = write_instructions(undisturbed.parent / "others.jsonl", 3)
    with pytest.raises(OtherSettings, match=r"instructions='30 .*this config has '3"):
        made({**settings(model, undisturbed.parent), "instructions": other})


def test_a_prompt_over_the_positions_is_a_counted_skip(model: str, tmp_path: Path) -> None:
    config = settings(model, tmp_path)
    with Path(config["instructions"]).open("a") as file:
        file.write(json.dumps({"instruction": "long " * 40}) + "\n")
    report = made(config)
    assert [(one["prompt"], one["positions"]) for one in report["over_long"]] == [(30, 128)]
    for temperature, samples in (("0.0", 1), ("1.0", 2)):
        counts = report["temperatures"][temperature]
        assert (counts["asked"], counts["answers"], counts["skipped"]) == (31 * samples, 30 * samples, samples)
    assert made(config) == report


def test_two_runs_in_one_folder_are_refused(model: str, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out/.lock"), pytest.raises(InUse, match="in use by another run"):
        made(settings(model, tmp_path))


def test_the_command_and_what_it_says_of_a_bad_config(model: str, warm: Warm, tmp_path: Path) -> None:
    config = settings(model, tmp_path, temperatures=[0.0], max_new_tokens=4)
    path = tmp_path / "generate.yaml"
    path.write_text(json.dumps(config))
    done = warm("generate", str(path)).check()
    assert "temperature 0.0: 30 answers" in done.said
    assert "answers, report.json: " in done.said
    for change, said in (
        ("model.path=/nowhere", "/nowhere"),
        ("temperatures=[1,1]", "names one twice"),
        ("sample=3", "samples"),
        ("top_p=0", "top_p"),
        ("instructions=nowhere.jsonl", "no such file or folder"),
    ):
        bad = warm("generate", str(path), change)
        assert (bad.code, said in bad.said) == (2, True), bad.said
    unfit = warm("generate", str(path), "--to", "ifeval").check(2)
    assert "did not come from an IFEval file" in unfit.said


def test_a_second_turn_follows_the_answer_to_the_first(model: str, tmp_path: Path) -> None:
    """MT-Bench: each sample goes on with what it said itself; what leaves no room is left out with its turns."""
    rows: list[dict[str, Any]] = [{"question_id": 1, "category": "x", "turns": ["say it", "again"]},
                                  {"question_id": 2, "category": "x", "turns": ["tell"]}]  # fmt: skip
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = settings(model, tmp_path, instructions=str(path), temperatures=[1.0], max_new_tokens=6)
    report, files = run(GenerateRunConfig.model_validate(config), ["mt-bench"])
    answers = {answer.place[1:]: answer for answer in read_answers(tmp_path / "out")}
    assert sorted(answers) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    for sample in (0, 1):
        assert [turn.content for turn in answers[2, sample].messages] == ["say it", answers[0, sample].answer, "again"]
    assert answers[0, 0].answer != answers[0, 1].answer
    counts = report["temperatures"]["1.0"]
    assert (counts["asked"], counts["answers"]) == (6, 6)
    lines = [json.loads(line) for line in (files[0] / "t1.jsonl").read_text().splitlines()]
    assert lines[0]["choices"][1]["turns"] == [answers[0, 1].answer, answers[2, 1].answer]
    path.write_text(json.dumps({**rows[0], "turns": ["long " * 40, "again"]}) + "\n")
    report = made({**config, "output": str(tmp_path / "long")})
    counts = report["temperatures"]["1.0"]
    assert (counts["asked"], counts["answers"], counts["skipped"], counts["not_asked"]) == (4, 0, 4, 0)


@pytest.mark.slow
def test_counts_and_digests_are_in_mlflow(model: str, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    config = settings(model, tmp_path, temperatures=[0.0], max_new_tokens=2, tracking={"uri": uri}, name="answers")
    report = made(config)
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("jpo").experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "answers")
    assert found.data.metrics["generate/answers_0.0"] == 30
    assert undocumented(found.data.metrics) == []
    assert found.data.params["input.model"] == report["model"]
    assert found.data.params["input.instructions"] == report["instructions"]
    assert {item.path for item in client.list_artifacts(found.info.run_id)} == {"report.json"}
    note = found.data.tags["mlflow.note.content"]
    assert " gave 30 of 30 answers that were asked for: " in note
    assert "| 0.0 | &emsp;30 | &emsp;30 | " in note
    [asked] = found.inputs.dataset_inputs
    assert report["instructions"] == f"30 ({asked.dataset.digest})"
