"""One Ctrl-C or SIGTERM on every command that works for long: it ends with a line that says how to go on, leaves no
process, and no run of MLflow that seems to go on."""

import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from jpo_dist.distributed.stopping import SAME_S
from tests.integration.test_judge import write_pairs
from tests.integration.test_winrate import values
from tests.support.commands import Files
from tests.support.hosts import wait_until
from tests.support.openai_server import by_hash, openai_server
from tests.support.signals import usual_signals
from tests.support.terminal import CTRL_C, Terminal, on_terminal
from tests.support.tiny import comparisons, write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900)]

SLOW_CHECKER = """
import pathlib, time
def score(item):
    pathlib.Path(__file__).with_name("begun").touch()
    time.sleep(0.5)
    return 1.0
"""


class Case(NamedTuple):
    """A command that is under way for long."""

    words: list[str]
    is_under_way: Callable[[Terminal], bool]
    goes_on: str
    """What its last line says."""
    env: Mapping[str, str] = MappingProxyType({})


@pytest.fixture(scope="module", autouse=True)
def signals() -> Iterator[None]:
    with usual_signals():
        yield


def written(place: Path, name: str, config: dict[str, Any]) -> str:
    path = place / f"{name}.yaml"
    path.write_text(json.dumps(config))
    return str(path)


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def training(tiny: Files, place: Path) -> dict[str, Any]:
    """Settings of a training of far too many steps; MLflow's file is in `place`."""
    own = json.loads(Path(tiny.config).read_text())
    return {**own, "train": {**own["train"], "max_steps": 5000}, "checkpoint": {"every": 0},
            "cluster": {"workers": 0}, "run": {"dir": str(place / "run"), "name": "long"}}  # fmt: skip


def steps_done(place: Path) -> Callable[[Terminal], bool]:
    return lambda _: any(file.read_text().count("\n") > 2 for file in place.rglob("metrics.jsonl"))


def train(tiny: Files, place: Path, _: ExitStack) -> Case:
    config = written(place, "train", training(tiny, place))
    return Case(["train", config], steps_done(place), r"is committed, and the same command goes on from there")


def sft(tiny: Files, place: Path, _: ExitStack) -> Case:
    config = training(tiny, place)
    train = {name: value for name, value in config["train"].items() if name != "comparisons_per_step"}
    config |= {"train": {**train, "items_per_step": 8}, "sft": {}}
    words = ["sft", written(place, "sft", config)]
    return Case(words, steps_done(place), r"is committed, and the same command goes on from there")


def run(tiny: Files, place: Path, _: ExitStack) -> Case:
    own = training(tiny, place)
    del own["run"]
    config = written(place, "run", {"dir": str(place / "pipeline"), "stages": [{"train": own}]})
    return Case(["run", config], steps_done(place), "the same command goes on with the stage that was cut short")


def study(tiny: Files, place: Path, _: ExitStack) -> Case:
    own = training(tiny, place)
    del own["run"]
    asked = jsonl(place / "asked.jsonl", [{"instruction": "Say 1. Write without commas."}])
    seeded = {**own, "train": {**own["train"], "seed": "$seed"}}
    generate = {"instructions": asked, "max_new_tokens": 4, "model": {"path": "@policy"}}
    checker = "jpo_dist.evaluate.constraints:constraints_held"
    config = written(place, "study", {
        "dir": str(place / "study"), "seeds": [1, 2], "at_once": 2, "arms": {"a": [{"train": seeded}], "b": []},
        "question": {"answers": "answers", "checker": checker}, "shared": {"cluster": {"workers": 0}},
        "stages": [{"sft": {"model": own["model"], "data": own["data"]}}],
        "measure": [{"name": "answers", "generate": generate}],
    })  # fmt: skip
    return Case(["study", config], steps_done(place), "the same command goes on with what is not done")


def generate(tiny: Files, place: Path, _: ExitStack) -> Case:
    asked = jsonl(place / "asked.jsonl", [{"instruction": f"say {n}"} for n in range(3000)])
    config = written(place, "generate", {
        "instructions": asked, "output": str(place / "out"), "model": {"path": tiny.model, "dtype": "float32"},
        "template": "{instruction} ", "max_new_tokens": 64, "cluster": {"workers": 0},
    })  # fmt: skip
    made = lambda _: any(file.stat().st_size for file in (place / "out").glob("progress/*.jsonl"))  # noqa: E731
    return Case(["generate", config], made, "what was answered is kept, and the same command goes on from there")


def asked_slowly(place: Path, open_: ExitStack) -> tuple[dict[str, Any], Callable[[Terminal], bool], dict[str, str]]:
    server = open_.enter_context(openai_server(by_hash))
    server.hold_after = 4
    open_.callback(server.let_go.set)
    endpoint = {"base_url": server.url, "name": "server", "model": "judge-1", "concurrency": 2, "timeout_s": 600}
    env = {"OPENAI_API_KEY": "sk-PLANTED", "NO_PROXY": "127.0.0.1"}
    return endpoint, lambda _: server.answered.total() >= 4 and server.under_way == 2, env


def judge(tiny: Files, place: Path, open_: ExitStack) -> Case:
    endpoint, under_way, env = asked_slowly(place, open_)
    pairs = write_pairs(place / "pairs.jsonl")
    config = written(place, "judge", {"candidates": pairs, "output": str(place / "out"), "endpoint": endpoint})
    return Case(["judge", config], under_way, "what was answered is kept, and the same command asks the rest", env)


def winrate(tiny: Files, place: Path, open_: ExitStack) -> Case:
    endpoint, under_way, env = asked_slowly(place, open_)
    config = written(place, "winrate", values(place, kind="llm", endpoint=endpoint))
    return Case(["winrate", config], under_way, "what was answered is kept, and the same command asks the rest", env)


def build(tiny: Files, place: Path, _: ExitStack) -> Case:
    (place / "slow_checker.py").write_text(SLOW_CHECKER)
    config = written(place, "build", {
        "sources": [{"path": tiny.train, "checker": "slow_checker:score"}], "output": str(place / "out"),
    })  # fmt: skip
    env = {"PYTHONPATH": f"{place}:{Path(__file__).parents[2]}"}
    return Case(["data", "build", config], lambda _: (place / "begun").exists(), "the same command begins again", env)


def score(tiny: Files, place: Path, _: ExitStack) -> Case:
    items = write_jsonl(place / "items.jsonl", comparisons(4000))
    config = written(place, "score", {**training(tiny, place), "score": {"data": items, "policy": tiny.model}})
    shown = lambda terminal: "scoring" in terminal.text or "reference cache" in terminal.text  # noqa: E731
    return Case(["score", config], shown, "the same command begins again")


MAKERS = (train, sft, run, study, generate, judge, winrate, build, score)


def statuses(place: Path) -> list[str]:
    """Of every MLflow run in the files below `place`."""
    found = []
    for file in place.rglob("mlflow.db"):
        with sqlite3.connect(file) as database:
            found += [status for (status,) in database.execute("select status from runs")]
    return found


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_one_signal_ends_it_and_its_last_line_says_how_to_go_on(
    tiny: Files, tmp_path: Path, maker: Callable[[Files, Path, ExitStack], Case], how: str
) -> None:
    with ExitStack() as open_:
        case = maker(tiny, tmp_path, open_)
        with on_terminal(case.words, case.env) as terminal:
            wait_until(lambda: case.is_under_way(terminal) or terminal.process.poll() is not None, 300)
            if how == "ctrl-c":
                terminal.type(CTRL_C)
            else:
                terminal.process.send_signal(signal.SIGTERM)
            code, lines = terminal.end(), terminal.lines
    expected = 130 if how == "ctrl-c" else 143
    assert code == expected, "\n".join(lines[-20:])
    last = lines[-1].removeprefix("^C")  # what the terminal shows of the key
    assert last.startswith(f"error (exit {expected}): "), "\n".join(lines[-20:])
    assert last.endswith(case.goes_on)
    assert not any("Traceback" in line for line in lines)
    found = statuses(tmp_path)
    assert not {"RUNNING", "FAILED"} & set(found), found
    if maker in (train, sft, run, study):
        assert "KILLED" in found


def test_the_step_at_hand_of_a_stage_is_committed_however_late_its_pipeline_passes_ctrl_c_on(
    tiny: Files, tmp_path: Path
) -> None:
    """On a busy machine the pipeline may take longer than two signals count as one: here it is stopped for so long."""
    words, fired = run(tiny, tmp_path, ExitStack()).words, tmp_path / "fired"
    fault = {"JPO_FAULT": "train:step@0@4@wait", "JPO_FAULT_ONCE": str(fired)}
    with on_terminal(words, fault) as terminal:
        wait_until(lambda: fired.exists() or terminal.process.poll() is not None, 300)
        terminal.process.send_signal(signal.SIGSTOP)
        terminal.type(CTRL_C)
        with pytest.raises(subprocess.TimeoutExpired):
            terminal.process.wait(1.5 * SAME_S)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait_for("once more ends it at once")
        (tmp_path / "fired.go").touch()
        code, lines = terminal.end(), terminal.lines
    assert code == 130, "\n".join(lines[-20:])
    assert any("step 4 is committed, and the same command goes on from there" in line for line in lines)
    [commit] = tmp_path.rglob("step-*")
    assert commit.name == "step-00000004"
    assert set(statuses(tmp_path)) == {"KILLED"}
