"""A wait that says what it waits for: on the screen after some seconds, and from then on again and again."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
