"""One thing ahead, in order, with errors where they belong."""

import threading

import pytest

from jpo_dist.batches.prefetch import ahead


def test_results_come_in_order_and_one_is_always_under_way():
    started: list[int] = []
    second_started = threading.Event()

    def make(n: int) -> int:
        started.append(n)
        if n == 1:
            second_started.set()
        return n * n

    results = ahead(make, range(4))
    assert next(results) == 0
    assert second_started.wait(10), "the second is made while the first is used"
    assert 3 not in started, "not the whole rest"
    assert list(results) == [1, 4, 9]
    assert started == [0, 1, 2, 3]


def test_an_error_comes_where_its_result_would_have_come():
    results = ahead(lambda n: 1 // n, [2, 1, 0, 5])
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_nothing_to_make_and_leaving_early_leave_no_thread():
    before = threading.active_count()
    assert list(ahead(str, [])) == []
    results = ahead(str, range(10))
    assert next(results) == "0"
    results.close()
    assert threading.active_count() == before
