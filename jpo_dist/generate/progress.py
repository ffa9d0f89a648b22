"""Answers in progress: append-only files beside the parts, until all are there.

Every task writes to a file of its own, a line when an answer ends. A kill loses the answers that were under way; the
torn last line of a file is not there. Of two lines for one answer, by a task that was started again, the first counts.
"""

import logging
import time
import uuid
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

from jpo_dist.digests import sound_lines, with_digest
from jpo_dist.files import JsonLines
from jpo_dist.generate.answers import Answer, answer_of

logger = logging.getLogger(__name__)

FOLDER = "progress"


class Made(NamedTuple):
    """An answer and the time it took: its share of its batch's, in seconds."""

    answer: Answer
    seconds: float


class Writer:
    """A new file of answers in progress."""

    def __init__(self, folder: Path) -> None:
        self._lines = JsonLines(folder / FOLDER / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.jsonl")

    def add(self, made: Made) -> None:
        """When this returns, a kill of the process cannot take the answer away."""
        self._lines.add(with_digest({**made.answer._asdict(), "seconds": round(made.seconds, 4)}))

    def close(self) -> None:
        """Return when all answers are on the disk."""
        self._lines.sync()
        self._lines.close()


def made_so_far(folder: Path) -> dict[tuple[float, int, int], Made]:
    """The answers in progress by place."""
    found: dict[tuple[float, int, int], Made] = {}
    for path in sorted((folder / FOLDER).glob("*.jsonl")):
        for line in sound_lines(path):
            try:
                seconds = float(line.pop("seconds", 0.0)) if line is not None else 0.0
                made = Made(answer_of(line or {}), seconds)
            except (TypeError, ValueError):
                logger.warning("%s: a line of it is damaged; that answer is made again", path)
                continue
            found.setdefault(made.answer.place, made)
    return found


def remove(folder: Path) -> None:
    """Forget them: the parts hold them all."""
    rmtree(folder / FOLDER, ignore_errors=True)
