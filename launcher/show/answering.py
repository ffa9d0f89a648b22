"""Progress of `jpo generate`, read from its folder: answers are made in other processes, perhaps on other machines."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jpo_dist.data.locate import ANSWERS
from jpo_dist.distributed.waiting import News
from jpo_dist.generate.progress import FOLDER
from launcher.show.board import Board, watching


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


class Answers:
    """Shows how many answers of `total` a folder has."""

    def __init__(self, counter: Counter, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._counter, self._clock, self._began = counter, clock, clock()
        self._news = News("answers", "generating", counter.look(), total, "answers")
        self._first = self._news.done

    def look(self, board: Board) -> None:
        """Tell the board how many there are."""
        self._news = self._news._replace(done=self._counter.look())
        board.hear(self._news, self._speed(), always=True)

    def end(self, board: Board) -> None:
        """Tell it how many there are in the end."""
        self._news = self._news._replace(done=self._counter.at_the_end(), over=True)
        board.hear(self._news, self._speed(), always=True)

    def _speed(self) -> str:
        seconds, made = self._clock() - self._began, self._news.done - self._first
        return f"{made / seconds * 60:.0f} a minute" if made and seconds > 1 else ""


@contextmanager
def progress_of(folder: Path, total: int) -> Iterator[None]:
    """Inside, answers of `total` are shown on standard error: as a bar on a terminal, else as a line now and then."""
    with watching(Answers(Counter(folder), total)):
        yield
