"""A deadline for a whole piece of work, such as a request: libraries bound each wait of it, and not their sum."""

import math
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TooSlow(Exception):
    """The work has lasted too long as a whole."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` returns or raises; with infinity it is simply called.

    Raises TooSlow after so many seconds; the thread that then still works is left behind, and keeps no process.
    """
    if seconds == math.inf:
        return call()
    found: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            found.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True, name="request")
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not found:
        raise TooSlow(f"no whole reply within {seconds:g} s")
    return found[0]
