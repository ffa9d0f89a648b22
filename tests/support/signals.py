"""Signals as a terminal's command has them, whatever the tests were started by."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def usual_signals() -> Iterator[None]:
    """Inside, no signal is ignored: under nohup or in the background a shell has SIGHUP and SIGINT ignored, and what
    tests start inherits that."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
