"""What goes on right now, on standard error: a bar for each work on a terminal, elsewhere lines at a bounded rate.

Works of this process tell the board themselves; what other processes do, sources read from their files. One thread
draws it all.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from jpo_dist.distributed.waiting import News, heard_by, in_words, nobody, read_posted
from launcher.chatter import Aside, aside
from launcher.console import draws, err

POLL_S = 0.5
BAR_S, LINE_S = 1.0, 10.0
"""Seconds after which a work gets a bar, or its first line where there is no terminal."""
EVERY_S = 25.0
"""Seconds between two lines of a work; of one that takes very long, a hundredth of its time."""
FIRST_LINES = 20


class Pace:
    """Bounds how many lines are printed: the first FIRST_LINES as they come, then one at a time, at least EVERY_S
    seconds apart, and a hundredth of the time so far. A week has fewer than a thousand."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began, self._last, self._left = clock, clock(), clock(), FIRST_LINES

    def allows(self) -> bool:
        """Whether a line may be printed now."""
        now = self._clock()
        if not self._left and now - self._last < max(EVERY_S, (now - self._began) / 100):
            return False
        self._left, self._last = max(0, self._left - 1), now
        return True

    def is_silent(self) -> bool:
        """Whether no line has been printed for so long that a person takes it for a hang."""
        now = self._clock()
        return now - self._last > max(EVERY_S, (now - self._began) / 100)


class Source(Protocol):
    """Reads what other processes do."""

    def look(self, board: "Board") -> None:
        """Tell the board what is new."""

    def end(self, board: "Board") -> None:
        """Tell it the last, when what was read from is over."""


@dataclass
class _Shown:
    news: News
    since: float
    status: str = ""
    always: bool = False
    said_at: float | None = None
    task: TaskID | None = None


class Board:
    """Shows works. Thread-safe: works tell it from any thread, and whoever ends them looks once more."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.sources = console, list[Source]()
        self._clock, self._works = clock, dict[str, _Shown]()
        self._lock = threading.RLock()
        self._bars: Progress | None = None

    def hear(self, news: News, status: str = "", *, always: bool = False) -> None:
        """How far a work is; `status`: more words on it. `always`: its bar comes at once and stays."""
        with self._lock:
            one = self._works.setdefault(news.key, _Shown(news, self._clock(), status, always))
            one.news, one.status = news, status
            if news.over:  # at once: what the command says next comes behind it
                self._show(one)
                del self._works[news.key]

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def look(self) -> None:
        """Ask the sources, and show what is new."""
        with self._lock:
            for source in self.sources:
                source.look(self)
            for one in self._works.values():
                self._show(one)
            if self._bars is not None:
                self._bars.refresh()
            if self._bars is not None and not any(one.task is not None for one in self._works.values()):
                self._bars.stop()
                self._bars = None

    def close(self) -> None:
        """Show the last, and remove what is left."""
        with self._lock:
            for one in list(self._works.values()):
                self.hear(one.news._replace(over=True), one.status)
            self.look()

    def _show(self, one: _Shown) -> None:
        (self._draw if draws(self.console) else self._tell)(one)

    def _draw(self, one: _Shown) -> None:
        news, age = one.news, self._clock() - one.since
        if one.task is None:
            if not one.always and (news.over or age < BAR_S):
                return
            if self._bars is None:
                self._bars = progress_bar(self.console)
                self._bars.start()
            one.task = self._bars.add_task(news.name, total=None, completed=news.done, status="", unit=news.unit)
        assert self._bars is not None
        self._bars.update(one.task, total=news.total, completed=news.done, status=one.status, unit=news.unit)
        if news.over and not one.always:
            self._bars.remove_task(one.task)
            self._bars.refresh()  # else the line below is followed by the bar once more
            self.say(f"{in_words(news)}  {age:.0f} s")

    def _tell(self, one: _Shown) -> None:
        now = self._clock()
        age, quiet = now - one.since, now - (one.since if one.said_at is None else one.said_at)
        if one.news.over:
            if not (one.always or one.said_at is not None or age >= LINE_S):
                return
        elif quiet < (LINE_S if one.said_at is None else max(EVERY_S, age / 100)):
            return
        one.said_at = now
        self.say("  ".join(filter(None, [in_words(one.news), one.status, f"{age:.0f} s"])))


class _Count(ProgressColumn):
    """How many of how many; nothing where nothing is counted."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        if not task.fields.get("unit", "steps"):
            return Text("")
        total = "" if task.total is None else f"/{int(task.total)}"
        return Text(f"{int(task.completed)}{total}", style="progress.download")


def progress_bar(console: Console) -> Progress:
    """A bar with its count, times and the field `status`, of which alone is left out what a narrow terminal has no
    room for. What libraries print in the meantime is none of its lines."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=12),
        _Count(),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[status]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
    )
    return Progress(
        *columns, console=console, expand=True, redirect_stdout=False, redirect_stderr=False, auto_refresh=False
    )


# ---- around commands


_boards: list[Board] = []


@contextmanager
def board() -> Iterator[Board]:
    """The board of this command, which draws inside the outermost block."""
    if _boards:
        yield _boards[-1]
        return
    made, over = Board(err), threading.Event()

    def draw() -> None:
        while not over.wait(POLL_S):
            made.look()

    thread = threading.Thread(target=draw, name="board", daemon=True)
    _boards.append(made)
    thread.start()
    try:
        with heard_by(made.hear):
            yield made
    finally:
        _boards.remove(made)
        over.set()
        thread.join(timeout=5)
        made.close()


@contextmanager
def watching(source: Source) -> Iterator[None]:
    """Inside, what `source` reads is shown."""
    with board() as on:
        on.sources.append(source)
        on.look()
        try:
            yield
        finally:
            on.look()
            on.sources.remove(source)
            source.end(on)
            on.look()


@contextmanager
def at_work(folder: str | Path | None = None, command: str = "") -> Iterator[Aside | None]:
    """Around the work of a command: what libraries print is out of sight (`aside`), and works are shown, those of the
    first rank alone."""
    first = os.environ.get("RANK", "0") == "0"
    with aside(folder, command) as chatter, board() if first else heard_by(nobody):
        yield chatter


class Workers:
    """Shows what the first of the workers of a run does, from the file that it posts."""

    def __init__(self, file: Path, waits_for: str) -> None:
        file.unlink(missing_ok=True)
        self._file, self._waits = file, News(str(file), waits_for)
        self._known: dict[str, News] = {}

    def look(self, board: Board) -> None:
        found = read_posted(self._file)
        board.hear(self._waits._replace(over=found is not None))
        now = {news.key: news for news in found or []}
        for key in self._known.keys() - now.keys():
            board.hear(self._known[key]._replace(over=True))
        for key, news in now.items():
            if self._known.get(key) != news:
                board.hear(news)
        self._known = now

    def end(self, board: Board) -> None:
        for news in (self._waits, *self._known.values()):
            board.hear(news._replace(over=True))
