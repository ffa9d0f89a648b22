"""The next batch is made while this one is used."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def ahead(make: Callable[[T], U], things: Iterable[T]) -> Iterator[U]:
    """`map(make, things)`, one thing ahead in a thread: while the device computes, the host prepares what comes next.

    An error of `make` is raised where its result would have come. Leaving the iterator early leaves no thread behind.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as worker:
        waiting = None
        for thing in things:
            coming = worker.submit(make, thing)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
