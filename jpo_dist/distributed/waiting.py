"""What goes on and takes a while: works that count how far they are, and waits that say what they wait for.

Who works says so and no more; whoever has a screen listens. A rank on another host is heard by a file that the driver
reads. Where nobody listens, a work that takes long tells the log.
"""

import itertools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from filelock import FileLock, Timeout

from jpo_dist.files import replace

logger = logging.getLogger(__name__)
T = TypeVar("T")

Tell = Callable[[str], None]
"""Has a person hear a sentence: a log, or the notices of a run."""

FIRST_S, EVERY_S = 5.0, 25.0
"""Seconds until a wait is spoken of, and between two times: people take a longer silence for a hang."""


@contextmanager
def telling(what: Callable[[], str] | str, tell: Tell, first_s: float = FIRST_S) -> Iterator[None]:
    """Around a wait: a thread says `what` and for how many seconds by now, until the block ends."""
    over, began = threading.Event(), time.monotonic()

    def say() -> None:
        left = first_s
        while not over.wait(left):
            tell(f"{what() if callable(what) else what}, {time.monotonic() - began:.0f} s")
            left = EVERY_S

    thread = threading.Thread(target=say, name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# ---- works


class News(NamedTuple):
    """How far a work is."""

    key: str
    """Tells works of one name apart."""
    name: str
    done: int = 0
    total: int | None = None
    """None: not known beforehand."""
    unit: str = ""
    """What is counted; "" where nothing is."""
    over: bool = False


Listener = Callable[[News], None]

TELL_S = 0.2
"""Seconds between two times that a work says how far it is: who works does nothing else meanwhile."""
POST_S = 1.0
LATE_S = 10.0
"""Seconds for which a file still says of a work that it is over: its reader may be slow."""
_listeners: list[Listener] = []
_numbers = itertools.count()


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Inside, works of this process tell `listener`, from any thread, and nobody else."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def nobody(news: News) -> None:
    """A listener for ranks whose works another rank tells of."""


class Work:
    """A work while it goes on. `working` makes it. Several threads may add to it."""

    def __init__(self, name: str, total: int | None, unit: str) -> None:
        self._news, self._done = News(f"{os.getpid()}-{next(_numbers)}", name, 0, total, unit), 0
        self._began = self._told = time.monotonic()
        self._counting = threading.Lock()
        self._listener = _listeners[-1] if _listeners else self._log
        self._listener(self._news)

    def add(self, count: int = 1) -> None:
        """So many more are done."""
        with self._counting:
            self._done += count
            now = time.monotonic()
            if now - self._told <= TELL_S:
                return
            self._told, news = now, self._news._replace(done=self._done)
        self._listener(news)

    def each(self, things: Iterable[T]) -> Iterator[T]:
        """The things, each of which is done when the next one is asked for."""
        for thing in things:
            yield thing
            self.add()

    def end(self, *, well: bool) -> None:
        """No more is done. `well`: all that there was to do is done."""
        done, total = self._done, self._news.total
        if well and self._news.unit:
            done = total = done if total is None else total
        self._listener(self._news._replace(done=done, total=total, over=True))

    def _log(self, news: News) -> None:
        """Where nobody listens: a line every EVERY_S seconds, and one at the end of a work that had any."""
        now = time.monotonic()
        if now - self._began > EVERY_S:
            logger.info("%s", in_words(news))
            self._began = now if not news.over else self._began


@contextmanager
def working(name: str, total: int | None = None, unit: str = "") -> Iterator[Work]:
    """Around a work that may take a while: `name` says what is done, as in "reading train.jsonl".

    `total` of `unit` are to be done, and the block adds what is; without a unit only its time is told.
    """
    work = Work(name, total, unit)
    try:
        yield work
    except BaseException:
        work.end(well=False)
        raise
    work.end(well=True)


def acquire(lock: FileLock, what: str) -> None:
    """Take the lock. Whoever waits says for whom: another process that does `what`."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with working(f"waiting for another process that {what} ({lock.lock_file})"):
            lock.acquire()


@contextmanager
def locked(lock: FileLock, what: str) -> Iterator[None]:
    """Inside, the lock is this process's; see `acquire`."""
    acquire(lock, what)
    try:
        yield
    finally:
        lock.release()


def in_words(news: News) -> str:
    """
    >>> in_words(News("1", "tokenizing", 512, 2048, "items"))
    'tokenizing: 512/2,048 items'
    >>> in_words(News("1", "reading a.jsonl", 12000, None, "rows")), in_words(News("1", "starting Ray"))
    ('reading a.jsonl: 12,000 rows', 'starting Ray')
    """
    if not news.unit:
        return news.name
    total = "" if news.total is None else f"/{news.total:,}"
    return f"{news.name}: {news.done:,}{total} {news.unit}"


# ---- by a file, from a rank to the driver


@contextmanager
def posted(file: Path) -> Iterator[None]:
    """Inside, the works of this process are in `file`, written anew each second that brings something new.

    A file that cannot be written changes nothing else.
    """
    known: dict[str, tuple[News, float]] = {}
    lock, over = threading.Lock(), threading.Event()

    def hear(news: News) -> None:
        with lock:
            known[news.key] = news, time.monotonic()

    def post(before: list[News]) -> list[News]:
        with lock:
            for key, (news, at) in list(known.items()):
                if news.over and time.monotonic() - at > LATE_S:
                    del known[key]
            now = [news for news, _ in known.values()]
        if now != before:
            with suppress(OSError):
                replace(file, json.dumps([news._asdict() for news in now]), sync=False)
        return now

    def keep() -> None:
        before: list[News] = [nothing]
        while not over.wait(0 if before == [nothing] else POST_S):
            before = post(before)
        post(before)

    nothing = News("", "")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    thread = threading.Thread(target=keep, name="works", daemon=True)
    thread.start()
    try:
        with heard_by(hear):
            yield
    finally:
        over.set()
        thread.join()


def read_posted(file: Path) -> list[News] | None:
    """What `posted` has written; None where it has not begun."""
    found: Any = None
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, list):
        return None
    with suppress(TypeError):
        return [News(**one) for one in found]
    return None
