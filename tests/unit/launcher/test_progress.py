"""What a person sees of a run while its attempts come and go."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from launcher.show.board import EVERY_S, Board
from launcher.show.progress import Steps, Tail, describe


def lines(*steps: tuple[int, float]) -> str:
    metrics = ("loss", "rewards/accuracies", "rewards/margins", "perf/tokens_per_second")
    return "".join(json.dumps({"step": s, "metrics": dict.fromkeys(metrics, value)}) + "\n" for s, value in steps)


def replace(path: Path, text: str) -> None:
    aside = path.with_name("aside")
    aside.write_text(text)
    aside.replace(path)


def write_plan(run_dir: Path, *notes: str) -> None:
    (run_dir / "plan.json").write_text(json.dumps({"num_steps": 9, "notes": ["40 rows", *notes]}))


def test_steps_done_again_are_shown_again_and_others_only_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail.from_now(path)
    assert tail.lines() == []
    path.write_text(lines((1, 0.1), (2, 0.2), (3, 0.3)))
    assert [line["step"] for line in tail.lines()] == [1, 2, 3]
    replace(path, lines((1, 0.1), (2, 0.25)))
    assert [(line["step"], line["metrics"]["loss"]) for line in tail.lines()] == [(2, 0.25)]
    path.write_text(lines((1, 0.1), (2, 0.25), (3, 0.35)) + '{"step": 4')
    assert [line["step"] for line in tail.lines()] == [3]
    assert Tail.from_now(path).lines() == []


def test_a_loss_and_what_the_next_attempt_says_are_shown(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    said = io.StringIO()
    on, steps = Board(Console(file=said, width=200)), Steps(tmp_path)
    write_plan(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(lines((1, 0.1), (2, 0.2)))
    steps.look(on)
    (tmp_path / "ray" / "cluster.jsonl").write_text(
        '{"event": "commit", "metrics": {}}\n'
        '{"event": "failure", "rank": 1, "kind": "WorkerLost", "message": "it has died"}\n'
    )
    steps.look(on)
    write_plan(tmp_path, "resumed at step 1")
    replace(tmp_path / "metrics.jsonl", lines((1, 0.1), (2, 0.25)))
    steps.look(on)
    steps.end(on)
    told = said.getvalue().splitlines()
    assert [line.partition("  ")[0] for line in told] == [
        "40 rows", "step 1/9", "step 2/9", "warning: the workers have ended: rank 1: WorkerLost: it has died",
        "resumed at step 1", "step 2/9",
    ]  # fmt: skip


def test_a_step_that_takes_long_is_said_to_go_on_and_after_the_last_one_nothing_is(tmp_path: Path) -> None:
    now, said = [0.0], io.StringIO()
    on, steps = Board(Console(file=said, width=200)), Steps(tmp_path, lambda: now[0])
    write_plan(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(lines((1, 0.1)))
    for now[0] in (0.0, EVERY_S + 1, EVERY_S + 2, 2 * EVERY_S + 2):
        steps.look(on)
    (tmp_path / "metrics.jsonl").write_text(lines(*((step, 0.1) for step in range(1, 10))))
    for now[0] in (3 * EVERY_S, 5 * EVERY_S, 9 * EVERY_S):
        steps.look(on)
    told = [line.partition("  ")[0] for line in said.getvalue().splitlines()]
    assert told == [
        "40 rows",
        "step 1/9",
        "step 2/9 goes on",
        "step 2/9 goes on",
        *(f"step {n}/9" for n in range(2, 10)),
    ]


def test_a_long_run_has_few_lines_and_the_last_step_is_one(tmp_path: Path) -> None:
    said, now = io.StringIO(), [0.0]
    on, steps = Board(Console(file=said, width=200)), Steps(tmp_path, lambda: now[0])
    write_plan(tmp_path)
    metrics = (tmp_path / "metrics.jsonl").open("a")
    for step in range(1, 1001):  # two a second
        now[0] = step / 2
        metrics.write(lines((step, 0.5)))
        metrics.flush()
        steps.look(on)
    now[0] += 100.0  # the last one may be followed by an export that takes long
    steps.look(on)
    steps.end(on)
    told = [line.partition("/")[0] for line in said.getvalue().splitlines() if line.startswith("step")]
    assert told[:20] == [f"step {n}" for n in range(1, 21)]
    assert told[20] == f"step {20 + 2 * int(EVERY_S)}"
    assert told[-1] == "step 1000"
    assert len(told) < 45


@pytest.mark.parametrize("torn", [b'{"step": 2, "metri{"step": 3, "metrics": {}}', b"\0\0\xff", b"7"])
def test_a_torn_line_is_passed_over(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail.from_now(path)
    path.write_bytes(lines((1, 0.1)).encode() + torn + b"\n" + lines((4, 0.4)).encode())
    assert [line["step"] for line in tail.lines()] == [1, 4]
    assert tail.lines() == []


WHOLE = {
    "loss": 0.5, "rewards/accuracies": 0.75, "rewards/margins": 1.25, "perf/tokens_per_second": 99.6,
    "eval/rewards/accuracies": 0.875,
}  # fmt: skip


@pytest.mark.parametrize(
    ("step", "left_out", "said"),
    [
        (1, (), "loss 0.5000  accuracy 0.75  margin +1.250  100 tok/s  held out 0.875"),
        (1, ("rewards/margins", "eval/rewards/accuracies"), "loss 0.5000  accuracy 0.75  100 tok/s"),
        (1, ("loss", "rewards/margins"), "not finite: update left out  accuracy 0.75  100 tok/s  held out 0.875"),
        (1, tuple(WHOLE), "not finite: update left out"),
        (0, ("loss", "rewards/accuracies", "rewards/margins", "perf/tokens_per_second"), "held out 0.875"),
        (0, tuple(WHOLE), "ready"),
    ],
)
def test_what_was_not_finite_is_missing_and_the_step_says_so(step: int, left_out: tuple[str, ...], said: str) -> None:
    assert describe({"step": step, "metrics": {k: v for k, v in WHOLE.items() if k not in left_out}}) == said
