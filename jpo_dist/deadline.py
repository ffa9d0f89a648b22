"""A deadline for a whole piece of work, such as a request: libraries bound each wait of it, and not their sum."""

import math
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_own = threading.local()


class TooSlow(Exception):
    """The work has lasted too long as a whole."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` returns or raises; with infinity it is simply called.

    Raises TooSlow after so many seconds. The helper that then still works is left behind, and keeps no process.
    """
    if seconds == math.inf:
        return call()
    helper = _take_helper()
    helper.asked.put(call)
    try:
        result, error = helper.done.get(timeout=seconds)
    except BaseException as stopped:  # also of an interrupt: it would give this result to the next call
        helper.end()
        if isinstance(stopped, queue.Empty):
            raise TooSlow(f"no whole reply within {seconds:g} s") from None
        raise
    _own.helper = helper
    if error is not None:
        try:
            raise error
        finally:
            del error, result  # the traceback has this frame: a circle would keep both until the collector finds it
    return result  # type: ignore[no-any-return]


class _Helper:
    """A thread that works for one other thread, since a new one for each request costs .2 ms; it ends with that one."""

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=_work, args=(self.asked, self.done), daemon=True, name="request")
        self.thread.start()

    def end(self) -> None:
        """After the call that it is at."""
        self.asked.put(None)

    __del__ = end  # with the thread's last reference to it; its own thread knows the queues alone


def _take_helper() -> _Helper:
    """The idle helper of this thread, which has none while it is at work; a fork has none of its parent's threads."""
    kept: _Helper | None = _own.__dict__.pop("helper", None)
    return kept if kept is not None and kept.thread.is_alive() else _Helper()


def _work(asked: "queue.SimpleQueue[Any]", done: "queue.SimpleQueue[Any]") -> None:
    while (call := asked.get()) is not None:
        done.put(_outcome(call))
        del call  # what it refers to may be large, and the next may never come


def _outcome(call: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return call(), None
    except BaseException as error:
        return None, error
