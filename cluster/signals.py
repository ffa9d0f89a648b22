"""Ctrl-C, SIGTERM and SIGHUP on a command, and on the driver of a run, where Ray makes something else of them."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def exit_when_terminated() -> None:
    """SIGTERM and SIGHUP end this process as Ctrl-C does, by an exception, so that what is open is closed.

    A signal that is ignored already, as nohup wants it, stays so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


@contextmanager
def ended_by_signals() -> Iterator[Callable[[], None]]:
    """Inside, Ctrl-C and SIGTERM end the run as any Python code: by an exception, so that callers can tidy up.

    Ray's own handlers would end the process with status 0 for the first and abort it for the second. Yields a function
    that takes the signals back from Ray; call it after whatever sets Ray's handlers. A handler of SIGTERM that the
    caller has set stays in its place. In a thread other than the main one signals stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    terminated = []

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        terminated.append(number)
        sys.exit(128 + number)

    def take() -> None:
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        own = before[signal.SIGTERM]
        is_callers = callable(own) and own is not _exit and not str(getattr(own, "__module__", "")).startswith("ray.")
        signal.signal(signal.SIGTERM, own if is_callers else on_sigterm)

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
