"""What all ranks do together, in a process that is alone: the same calls, and the same errors."""

import threading

import pytest

from jpo_dist.distributed import ranks


def test_work_without_a_time_limit_runs_beside_the_calling_thread_and_gives_its_value() -> None:
    here = threading.get_ident()
    assert ranks.run_without_timeout("counting", threading.get_ident) != here
    assert ranks.run_without_timeout("counting", lambda: 7) == 7


def test_an_error_of_the_work_is_the_error_of_the_call() -> None:
    def fails() -> int:
        raise OSError("no such disk")

    with pytest.raises(OSError, match="no such disk"):
        ranks.run_without_timeout("fetching", fails)
    with pytest.raises(OSError, match="no such disk"), ranks.together("fetching"):
        fails()


def test_alone_everything_that_is_told_to_all_is_what_one_has() -> None:
    assert (ranks.rank(), ranks.num_ranks()) == (0, 1)
    assert ranks.gather("a") == ["a"]
    assert ranks.broadcast({"a": 1}) == {"a": 1}
    assert not ranks.any_true(None)
    assert ranks.any_true(lambda: True)
