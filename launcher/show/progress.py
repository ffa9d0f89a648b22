"""Progress of a run, read from its files: training is in other processes, perhaps on other machines."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jpo_dist.distributed.waiting import News
from jpo_dist.run_dir import METRICS, NOTICES, PLAN, RAY_LOG
from launcher.console import draws
from launcher.show.board import Board, Pace, watching

SHOWN = {
    "loss": "loss {:.4f}",
    "rewards/accuracies": "accuracy {:.2f}",
    "rewards/margins": "margin {:+.3f}",
    "margin/response": "response {:+.2f}",
    "margin/instruction": "instruction {:+.2f}",
    "perplexity": "perplexity {:.2f}",
    "kl": "kl {:.3f}",
    "perf/tokens_per_second": "{:.0f} tok/s",
    "eval/rewards/accuracies": "held out {:.3f}",
    "eval/perplexity": "held out {:.2f}",
}
"""The metrics of a step that people see, and how they are written."""

NO_MARGIN = 5e-4
"""A mean margin below this: policy and reference score alike, as before the first step."""


class Tail:
    """Reads the whole lines of a file that are newer than the last look.

    A restarted attempt puts a shorter file in its place, without the steps that it does again. That is read from the
    start, and lines that have been seen are left out: a step done again took another time, so that its line differs.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.offset, self._file, self._seen = path, 0, 0, set[int]()

    @classmethod
    def from_now(cls, path: Path) -> "Tail":
        """A tail that leaves out what the file has already."""
        tail = cls(path)
        tail.lines()
        return tail

    def lines(self) -> list[dict[str, Any]]:
        """The new lines, those left out that are no JSON object."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            now = os.fstat(file.fileno())
            if now.st_ino != self._file or now.st_size < self.offset:
                self.offset, self._file = 0, now.st_ino
            file.seek(self.offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        new = [line for line in whole.splitlines() if hash(line) not in self._seen]
        self._seen.update(map(hash, new))
        return [value for value in map(_parsed, new) if isinstance(value, dict)]


def _parsed(line: bytes) -> Any:
    """The value of a line; None for one that a kill or a full disk has torn, perhaps with the next one behind it."""
    try:
        return json.loads(line)
    except ValueError:
        return None


@contextmanager
def progress_of(run_dir: Path) -> Iterator[None]:
    """Inside, the steps of the run are shown on standard error: as a bar on a terminal, else in lines."""
    with watching(Steps(run_dir)):
        yield


class Steps:
    """Reads the steps of a run, notices, and losses of workers, that come from now on."""

    def __init__(self, run_dir: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._run_dir, self._pace = run_dir, Pace(clock)
        self._steps, self._notices, self._losses = (
            Tail.from_now(run_dir / name) for name in (METRICS, NOTICES, RAY_LOG)
        )
        self._plan: dict[str, Any] = {}
        self._last: dict[str, Any] | None = None
        self._held_back = False
        """Whether the last step has not been printed: there were lines enough."""

    def look(self, board: Board) -> None:
        """Tell the board what is new."""
        _warn(board, self._notices, self._losses)
        for line in self._steps.lines():
            self._plan = _told(board, self._run_dir, self._plan)
            self._last = line
            if not draws(board.console):
                important = any(name.startswith("eval/") for name in line["metrics"]) or "loss" not in line["metrics"]
                self._held_back = not (self._pace.allows() or important)
                if not self._held_back:
                    board.say(self._in_a_line(line))
        if draws(board.console):
            board.hear(self._news(), self._status(), always=True)
        elif self._last is not None and self._pace.is_silent():
            self._break_silence(board, self._last)

    def end(self, board: Board) -> None:
        """Print the last step, or leave the bar as it is."""
        if draws(board.console):
            board.hear(self._news()._replace(over=True), self._status(), always=True)
        elif self._held_back and self._last is not None:
            board.say(self._in_a_line(self._last))

    def _break_silence(self, board: Board, last: dict[str, Any]) -> None:
        """Print a step that was held back, or which one goes on; after the last step other works speak."""
        if self._held_back and self._pace.allows():
            self._held_back = False
            board.say(self._in_a_line(last))
        elif not self._held_back and last["step"] < self._plan["num_steps"] and self._pace.allows():
            board.say(f"step {last['step'] + 1}/{self._plan['num_steps']} goes on")

    def _news(self) -> News:
        if self._last is None:
            return News("train", "train")
        return News("train", "train", self._last["step"], self._plan["num_steps"], "steps")

    def _status(self) -> str:
        return "starting workers, loading the model" if self._last is None else describe(self._last)

    def _in_a_line(self, line: dict[str, Any]) -> str:
        return f"step {line['step']}/{self._plan['num_steps']}  {describe(line)}"


def describe(line: dict[str, Any]) -> str:
    """One step in a few words."""
    m = line["metrics"]
    for prefix in ("", "eval/"):
        if abs(m.get(f"{prefix}rewards/margins", 1.0)) < NO_MARGIN:  # ties would read as accuracy 0.00: always wrong
            without = (f"{prefix}rewards/accuracies", f"{prefix}rewards/margins")
            m = {name: value for name, value in m.items() if name not in without}
    said = [form.format(m[name]) for name, form in SHOWN.items() if name in m]  # what is not finite is not there
    if line["step"] > 0 and "loss" not in m:
        said.insert(0, "not finite: update left out")
    return "  ".join(said) or "ready"


def _plan(run_dir: Path) -> dict[str, Any]:
    """What rank 0 wrote of its plan. It is there before the first line of metrics."""
    return dict(json.loads((run_dir / PLAN).read_text(encoding="utf-8")))


def _warn(board: Board, notices: Tail, losses: Tail) -> None:
    said = [line["text"] for line in notices.lines()]
    said += [
        f"the workers have ended: rank {event['rank']}: {event['kind']}: {event['message'][:300]}"
        for event in losses.lines()
        if event["event"] != "commit"
    ]
    for text in said:
        board.say(f"warning: {text}")


def _told(board: Board, run_dir: Path, before: dict[str, Any]) -> dict[str, Any]:
    """The plan of the present attempt; prints what is new in its notes beside those of the plan `before`."""
    plan = _plan(run_dir)
    for note in plan["notes"]:
        if note not in before.get("notes", []):
            board.say(note)
    return plan
