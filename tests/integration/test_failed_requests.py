"""`jpo run` and `jpo study` with a server that fails some requests: they are asked again, and no stage is done without
them."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.load import parse_as
from jpo_dist.endpoint.left import Left
from launcher.config.kinds import GenerateRunConfig, JudgeRunConfig
from launcher.config.pipeline import PipelineConfig
from launcher.config.study import StudyConfig
from launcher.pipeline import run as pipeline
from launcher.pipeline.resolve import Stage
from launcher.stages import generate, judge
from launcher.stages.asking import Incomplete
from launcher.study.cells import cells
from launcher.study.engine import State, run_cells
from launcher.study.places import Ended, log_of
from tests.integration.test_generate import write_instructions
from tests.integration.test_judge import write_pairs
from tests.support.openai_server import Fault, OpenAIServer, openai_server

CHECKER = "jpo_dist.evaluate.constraints:constraints_held"
AWAY = Fault("status", 503)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def asks(server: OpenAIServer) -> dict[str, Any]:
    return {"base_url": server.url, "model": "m", "key_env": None, "max_retries": 0, "concurrency": 1}


def written(folder: Path, stages: list[dict[str, Any]], **more: Any) -> PipelineConfig:
    shared = {"tracking": {"uri": "none"}}
    return parse_as(PipelineConfig, {"dir": str(folder), "shared": shared, "stages": stages, **more}, "x")


def generates(server: OpenAIServer, folder: Path) -> dict[str, Any]:
    """A stage of eight requests."""
    instructions = write_instructions(folder / "instructions.jsonl", 8)
    return {"generate": {"instructions": instructions, "endpoint": asks(server), "temperatures": [0.0]}}


def noted(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.glob("*.done.json"))


@pytest.mark.slow
def test_a_stage_that_lacks_answers_is_not_done_until_they_come_or_may_lack(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with openai_server(lambda _: "fine", lambda _, prompt: AWAY if "say 3" in prompt else None) as server:
        stages = [generates(server, tmp_path)]
        with pytest.raises(pipeline.StageFailed) as failed:
            pipeline.run(written(ours, stages), "x")
        assert server.requests == 8 + 1, "it is asked once more"
        said = str(failed.value)
        assert "stage generate is not done: 1 of 8 requests have no answer (1 HTTP 503" in said
        assert "The same command asks them again; with max_failed=0.13 it goes on without them" in said
        assert failed.value.code == 1
        assert noted(ours) == []

        shutil.copytree(ours, theirs)
        pipeline.run(written(theirs, stages, max_failed=0.13), "x")
        assert (server.requests, noted(theirs)) == (9, ["generate"])
        assert "no more than max_failed=0.13: done without them" in capfd.readouterr().out

        server.fault_of = lambda *_: None
        pipeline.run(written(ours, stages), "x")
        assert (server.requests, noted(ours)) == (10, ["generate"])
        assert set(server.answered.values()) == {1}


@pytest.mark.slow
@pytest.mark.nightly
def test_a_server_that_comes_back_is_asked_at_once_and_what_it_refuses_for_good_holds_nothing(tmp_path: Path) -> None:
    away = {"say 3", "first 2"}

    def faults(_: int, prompt: str) -> Fault | None:
        if "say 5" in prompt:  # too long, say
            return Fault("status", 400)
        met = next((one for one in away if one in prompt), "")
        away.discard(met)
        return AWAY if met else None

    with openai_server(lambda prompt: "(a)", faults) as server:
        judged = {"candidates": write_pairs(tmp_path / "pairs.jsonl", 4), "endpoint": asks(server)}
        pipeline.run(written(tmp_path / "out", [generates(server, tmp_path), {"judge": judged}]), "x")
    assert not away
    assert noted(tmp_path / "out") == ["generate", "judge"]
    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("*/report.json"))]
    assert (found[0]["temperatures"]["0.0"]["answers"], found[0]["temperatures"]["0.0"]["failed"]) == (7, 1)
    assert found[1]["judge"]["outcomes"].get("failed", 0) == 0
    assert [count for body, count in server.asked.items() if "say 5" in body] == [2], "by the command, as ever"


def test_what_passes_is_told_apart_in_the_files_of_a_judge(tmp_path: Path) -> None:
    faults = {1: AWAY, 4: Fault("status", 400), 6: Fault("drop")}
    with openai_server(lambda _: "(a)", faults) as server:
        config = {"candidates": write_pairs(tmp_path / "pairs.jsonl", 4), "output": str(tmp_path / "out")}
        judge.run(JudgeRunConfig(**config, endpoint=asks(server)))
        left = Left.read(json.loads((tmp_path / "out/run.json").read_text())["left"])
        assert (left.requests, left.of) == (2, 8)
        assert sorted(reason.partition(":")[0] for reason in left.reasons) == ["HTTP 503", "connection lost"]
        with pytest.raises(Incomplete):
            judge.run(JudgeRunConfig(**config, endpoint=asks(server), budget={"max_requests": 6}))
        assert json.loads((tmp_path / "out/run.json").read_text())["left"] is None, "it has not come to its end"


class InThisProcess:
    """A place for stages of `generate`: each runs when it is started."""

    def __init__(self) -> None:
        self.over: list[Ended] = []
        self.started: list[str] = []

    def start(self, stage: Stage, tags: Mapping[str, Any]) -> bool:
        self.started.append(stage.key)
        generate.run(GenerateRunConfig.model_validate(stage.settings), [])
        log_of(stage).write_text("a log")
        self.over.append(Ended(stage.folder, 0))
        return True

    def ended(self) -> list[Ended]:
        found, self.over = self.over, []
        return found


def test_in_a_study_the_cells_of_such_a_stage_fail_and_no_other(tmp_path: Path) -> None:
    def refuse(body: dict[str, Any]) -> Fault | None:
        return AWAY if body["temperature"] == 0.5 and "say 3" in body["messages"][0]["content"] else None

    told: list[str] = []

    def tell(state: State, stage: Stage | None) -> None:
        told.append(state.said_of(stage).partition(":")[0] if stage else "")

    with openai_server(lambda _: "fine") as server:
        server.refuse = refuse
        stage = generates(server, tmp_path)["generate"] | {"temperatures": ["$heat"], "tracking": {"uri": "none"}}
        config = parse_as(StudyConfig, {
            "dir": str(tmp_path / "out"), "question": {"answers": "answers", "checker": CHECKER}, "seeds": [1],
            "grid": {"heat": [0.0, 0.5]}, "arms": {"served": []}, "measure": [{"name": "answers", "generate": stage}],
        }, "x")  # fmt: skip
        wanted = cells(config, "x", {})

        state = run_cells(wanted, InThisProcess(), lambda _: {}, tell, 0.0)
        assert [state.is_done(cell) for cell in wanted] == [True, False]
        failure = state.failure_of(wanted[1])
        assert str(failure).startswith("in stage answers: 1 of 8 requests have no answer (1 HTTP 503")
        lacks = "1 of 8 requests have no answer (1 HTTP 503"
        assert told == ["", "done", f"is run once more, {lacks}", f"failed, {lacks}"]
        assert server.requests == 8 + 8 + 1

        state = run_cells(wanted, InThisProcess(), lambda _: {}, tell, 0.2)
        assert [state.is_done(cell) for cell in wanted] == [True, True]
        assert told[-1] == f"done, {lacks}"
        wanted[1].answers.done_file.unlink()

        server.refuse = lambda _: None
        place = InThisProcess()
        state = run_cells(wanted, place, lambda _: {}, tell, 0.0)
        assert [state.is_done(cell) for cell in wanted] == [True, True]
        assert place.started == [wanted[1].answers.key]
        assert server.requests == 8 + 8 + 1 + 1 + 1
