"""`jpo winrate` as a person types it: a program and a language model as judges, cut short and gone on with, on Ray
tasks, with its pages, AlpacaEval's files and MLflow."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from jpo_dist.endpoint.client import EndpointDown
from jpo_dist.winrate.contest import CONTROL_PROMPTS
from launcher.config.kinds import WinRateRunConfig
from launcher.stages.asking import Incomplete
from launcher.stages.winrate import refuse_incomplete, run
from tests.integration.test_judge import save_reward_model
from tests.support.answer_folders import answer, write_answers, write_gold
from tests.support.commands import Warm
from tests.support.metric_names import undocumented
from tests.support.openai_server import Fault, OpenAIServer, by_hash, openai_server
from tests.support.shared import shared
from tests.support.tiny import byte_tokenizer

ROOT = Path(__file__).parents[2]
WRITTEN = ("winrate.json", "winrate.md", "winrate.html", "verdicts.jsonl")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-PLANTED-19c")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def instructions(count: int) -> list[str]:
    return [f"Say {n}. Do not use any commas." for n in range(count)]


def folder(place: Path, name: str, count: int, temperatures: tuple[float, ...] = (0.0,)) -> str:
    """Answers of which every third has a comma, and is longer."""
    rows = [
        answer(text, f"{name} {n}" if n % 3 else f"{name}, well, {n}", n, temperature=t)
        for t in temperatures
        for n, text in enumerate(instructions(count))
    ]
    return write_answers(place / name, rows)


def values(place: Path, count: int = 12, **more: Any) -> dict[str, Any]:
    """Answers against gold responses of which every other one has a comma."""
    gold = place / "gold.jsonl"
    if not gold.exists():
        write_gold(gold, [(text, f"gold {n}" if n % 2 else f"gold, {n}") for n, text in enumerate(instructions(count))])
        folder(place, "ours", count)
    base = {"answers": str(place / "ours"), "against": str(gold), "output": str(place / "out")}
    return base | {"kind": "checker", "checker": {"function": "jpo_dist.evaluate.constraints:constraints_held"}} | more


def by_model(server: OpenAIServer, place: Path, **more: Any) -> WinRateRunConfig:
    endpoint = {"base_url": server.url, "name": "server", "model": "judge-1", "concurrency": 3, "timeout_s": 60}
    return WinRateRunConfig.model_validate(values(place, kind="llm", endpoint=endpoint, **more))


def bytes_of(place: Path) -> dict[str, bytes]:
    return {name: (place / name).read_bytes() for name in WRITTEN}


def test_the_constraint_checker_by_hand(tmp_path: Path) -> None:
    """Ours obey unless n % 3 == 0, gold unless n % 2 == 0: of 12, four win (n = 2, 4, 8, 10), two lose (3, 9)."""
    report = run(WinRateRunConfig.model_validate(values(tmp_path)))
    found = report["all"]
    assert (found["win"], found["tie"], found["loss"], found["answers"]) == (4, 6, 2, 12)
    assert found["win_rate"] == pytest.approx(7 / 12)
    assert report["order"] is None
    assert report["controls"]["constant"]["win_rate"] == 0.75  # it has no comma
    lines = [json.loads(line) for line in (tmp_path / "out/verdicts.jsonl").read_text().splitlines()]
    assert len(lines) == 12 + 12
    assert json.loads((tmp_path / "out/winrate.json").read_text()) == report
    text = (tmp_path / "out/winrate.md").read_text()
    assert "| all | 58.3 % |" in text
    assert "<svg" in (tmp_path / "out/winrate.html").read_text()
    assert "http://" not in (tmp_path / "out/winrate.html").read_text().replace("http://www.w3.org/2000/svg", "")


def test_a_reward_model_judges_by_what_it_says_of_each_text_alone(tmp_path: Path) -> None:
    path = save_reward_model(tmp_path / "model")
    section = {"path": path, "dtype": "float32", "tokens_per_batch": 200}
    settings = values(tmp_path, kind="reward_model", reward_model=section)
    report = run(WinRateRunConfig.model_validate(settings))
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(path).eval(), byte_tokenizer()

    def alone(instruction: str, response: str) -> float:
        ids = tokenizer(f"<s><user>{instruction}</s><assistant>{response}</s>", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            return float(model(torch.tensor([ids])).logits.item())

    gold = [json.loads(line) for line in (tmp_path / "gold.jsonl").read_text().splitlines()]
    ours = [f"ours {n}" if n % 3 else f"ours, well, {n}" for n in range(12)]
    wins = sum(alone(row["instruction"], text) > alone(row["instruction"], row["gold_response"])
               for row, text in zip(gold, ours, strict=True))  # fmt: skip
    assert (report["all"]["win"], report["all"]["tie"], report["all"]["judged"]) == (wins, 0, 12)
    assert report["order"] is None
    assert "usage" not in report


def test_a_language_model_judges_in_both_orders_and_a_swap_asks_nothing_new(tmp_path: Path) -> None:
    with openai_server(by_hash) as server:
        folder(tmp_path, "theirs", 12)
        there = run(by_model(server, tmp_path, against=str(tmp_path / "theirs"), controls={"prompts": 3}))
        asked = server.answered.total()
        assert asked == 2 * (12 + 3)
        swap = {"answers": str(tmp_path / "theirs"), "against": str(tmp_path / "ours"), "controls": {"prompts": 3}}
        back = run(by_model(server, tmp_path, **swap))
        assert server.answered.total() - asked == 2 * 3  # the constant answer meets the other side
    one, other = there["all"], back["all"]
    assert (one["win"], one["tie"], one["loss"]) == (other["loss"], other["tie"], other["win"])
    assert one["win_rate"] == 1 - other["win_rate"]
    assert one["interval"] == [round(1 - end, 10) for end in reversed(other["interval"])]
    assert there["order"] == back["order"]
    assert there["order"]["flips"] == one["tie"] > 0
    assert there["order"]["comparisons"] == one["judged"] == 12


def test_a_budget_that_ends_it_and_a_judge_that_is_down_lose_no_reply_and_no_denominator(tmp_path: Path) -> None:
    with openai_server(by_hash) as calm:
        whole = run(by_model(calm, tmp_path, output=str(tmp_path / "calm"), controls={"prompts": 2}))
    with openai_server(by_hash, lambda number, _: Fault("status", 500) if number > 14 else None) as server:
        small = by_model(server, tmp_path, budget={"max_requests": 9}, controls={"prompts": 2})
        report = run(small)
        found = report["all"]
        assert found["not asked"] > 0
        assert found["judged"] + found["not asked"] == found["answers"] == 12
        with pytest.raises(Incomplete, match=r"of 14 candidates are not asked.*budget.max_requests=9"):
            refuse_incomplete(report, small)
        patient = {"max_retries": 0, "max_failures": 3, "concurrency": 1}
        config = by_model(server, tmp_path, controls={"prompts": 2})
        config = config.model_copy(update={"endpoint": config.endpoint.model_copy(update=patient)})
        with pytest.raises(EndpointDown, match="no answer so far is lost"):
            run(config)
        before = set(server.answered)
        server.fault_of = lambda *_: None
        again = run(config)
        refuse_incomplete(again, config)
    assert set(server.answered.values()) == {1}
    assert before < set(server.answered) == set(calm.answered)
    assert again == whole


def test_unparsable_replies_are_counted_and_leave_the_denominator(tmp_path: Path) -> None:
    with openai_server(by_hash, lambda _, prompt: Fault("text") if "Say 5." in prompt else None) as server:
        report = run(by_model(server, tmp_path, controls={"prompts": 1}))
    assert (report["all"]["unparsable"], report["all"]["judged"], report["all"]["answers"]) == (1, 11, 12)
    assert report["usage"]["answers"] == server.answered.total()


def test_a_judge_that_is_cut_off_gives_no_verdict_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with openai_server(by_hash) as server:
        server.finish_of = lambda prompt: "length" if "Say 5." in prompt or "Say 6." in prompt else "stop"
        config = by_model(server, tmp_path, controls={"prompts": 1})
        report = run(config)
    assert (report["all"]["unparsable"], report["all"]["judged"], report["all"]["answers"]) == (2, 10, 12)
    assert report["usage"]["answers_cut"] == 2 * 2 * 3  # both orders, and asked again twice
    assert report["reasons"] == {"cut off": 2}
    assert "12 of 34 replies of the judge were cut off" in caplog.text


def test_a_judge_that_costs_money_sees_fifty_constant_answers(tmp_path: Path) -> None:
    with openai_server(by_hash) as server:
        report = run(by_model(server, tmp_path, count=60))
    constant = report["controls"]["constant"]
    assert (constant["answers"], constant["of_instructions"]) == (CONTROL_PROMPTS, 60) == (50, 60)


@pytest.mark.slow
@pytest.mark.nightly
def test_killed_in_the_middle_it_goes_on_and_pays_nothing_twice(tmp_path: Path) -> None:
    """kill -9 while requests are under way: only those are asked again, and every page is the same."""
    with openai_server(by_hash) as calm:
        run(by_model(calm, tmp_path, output=str(tmp_path / "calm")))
    with openai_server(by_hash) as server:
        config = by_model(server, tmp_path)
        path = tmp_path / "winrate.yaml"
        path.write_text(config.model_dump_json(exclude_unset=True))  # JSON is YAML
        command = [sys.executable, "-m", "launcher", "winrate", str(path)]
        for answers in (5, 20):
            server.hold_after = answers
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
                with server.changed:
                    assert server.changed.wait_for(
                        lambda: server.answered.total() >= answers and server.under_way == 3,  # noqa: B023
                        120,
                    )
                killed.send_signal(signal.SIGKILL)
            assert killed.returncode == -signal.SIGKILL
            server.let_go.set()  # the held ones are answered to nobody
            with server.changed:
                assert server.changed.wait_for(lambda: server.under_way == 0, 60)
            server.let_go.clear()
        server.hold_after = None
        last = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
        assert last.returncode == 0, last.stderr
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "calm")
    assert set(server.answered) == set(calm.answered)
    assert server.answered.total() - len(server.answered) <= 2 * 3  # what was under way at the two kills
    kept = [json.loads(line)["key"] for part in (tmp_path / "out/answers").iterdir() for line in part.open()]
    assert len(kept) == len(set(kept)) == len(calm.answered)


@pytest.mark.slow
@pytest.mark.nightly
def test_ray_tasks_give_the_same_report(tmp_path: Path) -> None:
    for workers in (0, 2):
        with openai_server(by_hash) as server:
            run(by_model(server, tmp_path, output=str(tmp_path / str(workers)), cluster={"workers": workers}))
        assert set(server.answered.values()) == {1}
    assert bytes_of(tmp_path / "0") == bytes_of(tmp_path / "2")


def test_alpacas_files_are_written_and_its_annotations_read_back(tmp_path: Path) -> None:
    verdicts = json.loads(shared("alpaca_eval/claude-2.1.json").read_text())["verdicts"]
    annotations = tmp_path / "annotations.json"
    annotations.write_text(json.dumps([{"preference": one[0]} for one in verdicts]))
    settings = values(tmp_path, answers=folder(tmp_path, "two", 12, (0.0, 0.7)))
    settings["alpaca"] = {"write": True, "annotations": str(annotations)}
    report = run(WinRateRunConfig.model_validate(settings))
    assert report["alpaca_eval"]["win_rate"] == pytest.approx(15.733506736409938)
    made = tmp_path / "out" / "alpaca"
    names = {"model_outputs_0.json", "model_outputs_0.7.json", "reference_outputs.json"}
    assert {path.name for path in made.iterdir()} == names
    outputs, reference = (
        json.loads((made / name).read_text()) for name in ("model_outputs_0.json", "reference_outputs.json")
    )
    assert {row["instruction"] for row in outputs} == {row["instruction"] for row in reference} == set(instructions(12))
    assert {tuple(row) for row in outputs} == {("instruction", "output", "generator")}


@pytest.mark.slow
def test_figures_and_digests_are_in_mlflow(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    report = run(WinRateRunConfig.model_validate(values(tmp_path, tracking={"uri": uri}, name="rate")))
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("jpo").experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "rate")
    assert found.data.metrics["winrate/win_rate"] == pytest.approx(7 / 12)
    assert found.data.metrics["winrate/judged"] == 12
    assert undocumented(found.data.metrics) == []
    assert found.data.params["digest.answers.0"] == report["answers"][0]["digest"]
    assert found.data.params["digest.against"] == report["against"]["digest"]
    note = found.data.tags["mlflow.note.content"]
    assert re.search(r"win rate 58\.3 % .* of 12 answers with a verdict \(\d+ won, \d+ tied, \d+ lost\)", note)
    assert {"**Win rate**", "**Controls**"} <= {*note.split("\n")}
    assert {one.tags[0].value for one in found.inputs.dataset_inputs} == {"answers", "against"}
    assert {item.path for item in client.list_artifacts(found.info.run_id)} >= set(WRITTEN[:3])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_prints_every_rate_with_its_denominator(warm: Warm, tmp_path: Path) -> None:
    config = tmp_path / "winrate.yaml"
    config.write_text(yaml.safe_dump(values(tmp_path, compare=[folder(tmp_path, "other", 12)])))
    said = warm("winrate", str(config), env={"COLUMNS": "100"}).check().said
    for words in (
        "all 58.3 %",
        "together: answers 12",
        "a constant answer 75.0 %",
        "Holm",
        "bootstrap over instructions",
    ):
        assert words in said, said
    assert "unfinished: judged" in warm("check", "--all", str(config)).check().said  # the kind is found by its keys
    gone = warm("winrate", str(config), "against=nowhere.jsonl")
    gone.check(2)
    assert "nowhere.jsonl" in gone.said
    twice = warm("winrate", str(config), f"compare=[{tmp_path / 'ours'}]")
    twice.check(2)
    assert "name each folder once" in twice.said
