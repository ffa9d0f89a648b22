"""Work with a deadline: what it returns or raises, and the helpers that do it."""

import contextlib
import gc
import math
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest

from jpo_dist.deadline import TooSlow, within

LONG_S = 60.0


def helper_of_this_thread() -> threading.Thread:
    return within(LONG_S, threading.current_thread)


def test_returns_what_the_call_returns_and_raises_what_it_raises() -> None:
    assert within(LONG_S, lambda: None) is None
    assert within(LONG_S, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(LONG_S, lambda: 1 / 0)
    with pytest.raises(SystemExit):
        within(LONG_S, lambda: exec("raise SystemExit(3)"))
    assert within(LONG_S, lambda: 8) == 8


def test_one_helper_does_all_calls_of_a_thread_and_none_without_a_deadline() -> None:
    helper = helper_of_this_thread()
    assert helper is not threading.current_thread()
    assert all(helper_of_this_thread() is helper for _ in range(20))
    assert within(math.inf, threading.current_thread) is threading.current_thread()


def test_a_call_within_a_call_has_a_helper_of_its_own() -> None:
    inner = within(LONG_S, helper_of_this_thread)
    assert inner not in (threading.current_thread(), helper_of_this_thread())


def test_late_work_is_left_behind_and_its_result_goes_to_nobody() -> None:
    release, late = threading.Event(), helper_of_this_thread()

    def slow() -> str:
        release.wait(LONG_S)
        return "late"

    with pytest.raises(TooSlow, match=r"within 0\.01 s"):
        within(0.01, slow)
    assert within(LONG_S, lambda: "next") == "next"
    assert helper_of_this_thread() is not late
    release.set()
    late.join(LONG_S)
    assert not late.is_alive()
    assert within(LONG_S, lambda: "after") == "after"


def test_an_interrupted_wait_leaves_its_work_behind_too() -> None:
    release, late = threading.Event(), helper_of_this_thread()

    def slow() -> str:
        release.wait(LONG_S)
        return "late"

    def interrupt(_: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code is within.__code__:  # the next alarm otherwise
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        with pytest.raises(KeyboardInterrupt):
            within(LONG_S, slow)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    release.set()
    assert within(LONG_S, lambda: "next") == "next"
    late.join(LONG_S)
    assert not late.is_alive()


def test_a_helper_ends_with_the_thread_it_works_for() -> None:
    with ThreadPoolExecutor(8) as pool:
        helpers = set(pool.map(lambda _: helper_of_this_thread(), range(200)))
    assert 1 <= len(helpers) <= 8
    for helper in helpers:
        helper.join(LONG_S)
        assert not helper.is_alive()


def test_keeps_neither_the_call_nor_what_came_of_it() -> None:
    class Large:
        pass

    def returns(large: Large) -> Callable[[], object]:
        return lambda: [large]

    def raises(large: Large) -> Callable[[], object]:
        def call() -> object:
            raise ValueError(large)

        return call

    gc.disable()  # freed at once, and not when the collector comes by
    try:
        for make in (returns, raises):
            large = Large()
            seen = weakref.ref(large)
            call = make(large)
            del large
            with contextlib.suppress(ValueError):
                within(LONG_S, call)
            del call
            helper_of_this_thread()  # the helper has come back for its next call
            assert seen() is None, make.__name__
    finally:
        gc.enable()


def test_a_fork_has_its_own_helper() -> None:
    helper_of_this_thread()
    forked = multiprocessing.get_context("fork").Process(target=lambda: os._exit(within(LONG_S, lambda: 5)))
    forked.start()
    forked.join(LONG_S)
    assert forked.exitcode == 5
