"""Ctrl-C and SIGTERM on the driver of a run, of which Ray makes something else."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ended_by_signals() -> Iterator[Callable[[], None]]:
    """Inside, Ctrl-C and SIGTERM end the run as any Python code: by an exception, so that callers can tidy up.

    Ray's own handlers would end the process with status 0 for the first and abort it for the second. Yields a function
    that takes the signals back from Ray; call it after whatever sets Ray's handlers. In a thread other than the main
    one signals stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    terminated = []

    def on_sigterm(number: int, frame: object) -> None:
        terminated.append(number)
        sys.exit(128 + number)

    def take() -> None:
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        signal.signal(signal.SIGTERM, on_sigterm)

    take()
    try:
        yield take
    except SystemExit:  # on its way through Ray its code becomes 1
        if terminated:
            raise SystemExit(128 + terminated[0]) from None
        raise KeyboardInterrupt from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
