"""Progress of a run, read from its files: training is in other processes, perhaps on other machines."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from jpo_dist.run_dir import METRICS, NOTICES, PLAN, RAY_LOG
from launcher.console import err

POLL_S = 0.5

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
    """Inside, the steps of the run are shown on standard error: as a bar on a terminal, else a line a step, since logs
    of jobs are line-based."""
    tails = [Tail.from_now(run_dir / name) for name in (METRICS, NOTICES, RAY_LOG)]
    with shown(_bar, log_lines, run_dir, *tails):
        yield


@contextmanager
def shown(bar: Callable[..., None], lines: Callable[..., None], *what: Any) -> Iterator[None]:
    """Inside, a thread writes to standard error: `bar` where that is a terminal, else `lines`, each called with the
    console, `what`, and the event that ends it."""
    stop = threading.Event()
    show = bar if err.is_terminal else lines
    thread = threading.Thread(target=show, args=(err, *what, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def progress_bar(console: Console) -> Progress:
    """A bar with its count, times and the field `status`, of which alone is left out what a narrow terminal has no
    room for. What libraries print in the meantime is none of its lines."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[status]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
    )
    return Progress(*columns, console=console, expand=True, redirect_stdout=False, redirect_stderr=False)


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


def log_lines(console: Console, run_dir: Path, tail: Tail, notices: Tail, losses: Tail, stop: threading.Event) -> None:
    """Print a line a step, notices, and losses of workers, until `stop` is set and everything is read."""
    done, plan = False, dict[str, Any]()
    while not done:
        done = stop.wait(POLL_S)
        _warn(console, notices, losses)
        for line in tail.lines():
            plan = _told(console, run_dir, plan)
            console.print(f"step {line['step']}/{plan['num_steps']}  {describe(line)}", highlight=False, soft_wrap=True)


def _warn(console: Console, notices: Tail, losses: Tail) -> None:
    said = [line["text"] for line in notices.lines()]
    said += [
        f"the workers have ended: rank {event['rank']}: {event['kind']}: {event['message'][:300]}"
        for event in losses.lines()
        if event["event"] != "commit"
    ]
    for text in said:
        console.print(f"warning: {text}", highlight=False, markup=False, soft_wrap=True)


def _told(console: Console, run_dir: Path, before: dict[str, Any]) -> dict[str, Any]:
    """The plan of the present attempt; prints what is new in its notes beside those of the plan `before`."""
    plan = _plan(run_dir)
    for note in plan["notes"]:
        if note not in before.get("notes", []):
            console.print(note, highlight=False, markup=False, soft_wrap=True)
    return plan


def _bar(console: Console, run_dir: Path, tail: Tail, notices: Tail, losses: Tail, stop: threading.Event) -> None:
    with progress_bar(console) as progress:
        task = progress.add_task("train", total=None, status="starting workers, loading the model")
        done, plan = False, dict[str, Any]()
        while not done:
            done = stop.wait(POLL_S)
            _warn(progress.console, notices, losses)
            for line in tail.lines():
                plan = _told(progress.console, run_dir, plan)
                progress.update(task, completed=line["step"], total=plan["num_steps"], status=describe(line))
