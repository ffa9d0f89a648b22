"""Progress of `jpo generate`, read from its folder: answers are made in other processes, perhaps on other machines."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from jpo_dist.data.locate import ANSWERS
from jpo_dist.generate.progress import FOLDER
from launcher.show.progress import progress_bar, shown

POLL_S = 1.0
LINE_EVERY_S = 30.0
"""Seconds between two lines where there is no terminal: logs of jobs are line-based."""


class Counter:
    """Counts answers in a folder; looks only at what files have grown by. Answers of parts count from the beginning."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._seen, self.count = folder, dict[Path, int](), 0
        self.count = self._in_parts()

    def look(self) -> int:
        """Answers that are there now."""
        for path in sorted((self.folder / FOLDER).glob("*.jsonl")):
            try:
                lines, self._seen[path] = _lines(path, self._seen.get(path, 0))
            except FileNotFoundError:  # the run has just put all answers into parts
                continue
            self.count += lines
        return self.count

    def at_the_end(self) -> int:
        """Answers that a run which has ended left: in parts, or in progress where it was stopped."""
        return max(self.look(), self._in_parts())

    def _in_parts(self) -> int:
        return sum(_lines(part, 0)[0] for part in self.folder.glob(ANSWERS))


def _lines(path: Path, offset: int) -> tuple[int, int]:
    """Whole lines of a file from a byte on, and the byte behind them."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    end = data.rfind(b"\n") + 1
    return data.count(b"\n"), offset + end


@contextmanager
def progress_of(folder: Path, total: int) -> Iterator[None]:
    """Inside, answers of `total` are shown on standard error: as a bar on a terminal, else as a line now and then."""
    with shown(_bar, log_lines, Counter(folder), total):
        yield


def log_lines(
    console: Console, counter: Counter, total: int, stop: threading.Event, every_s: float = LINE_EVERY_S
) -> None:
    """Print how many answers there are, every so often while more come, until `stop` is set."""
    before, began = counter.look(), time.monotonic()
    first = before
    while not stop.wait(every_s):
        now = counter.look()
        if now > before:
            speed = (now - first) / (time.monotonic() - began) * 60
            console.print(f"{now}/{total} answers  {speed:.0f} a minute", highlight=False)
        before = now


def _bar(console: Console, counter: Counter, total: int, stop: threading.Event) -> None:
    with progress_bar(console) as progress:
        task = progress.add_task("answers", total=total, completed=counter.look(), status="")
        while not stop.wait(POLL_S):
            progress.update(task, completed=counter.look())
        progress.update(task, completed=counter.at_the_end())
