"""`cluster.jsonl`, and when a run is begun again: from what is written, without a Ray."""

from types import SimpleNamespace

import pytest
import ray.train

from cluster.config import ClusterConfig
from cluster.errors import WorkerError
from cluster.history import History
from cluster.ray_train import Recorder, run_until_done
from tests.support.disk import fill_up, small_disk


def failed_with(*errors):
    """What a start does: raise errors in turn as Ray would, after a commit where one is given; then succeed."""
    waiting = list(errors)

    def start(number):
        if not waiting:
            return
        commit, error = waiting.pop(0)
        if commit:
            commit()
        raise ray.train.WorkerGroupError("lost", {error.rank: error}) if isinstance(error, WorkerError) else error

    return start


def test_the_same_words_twice_end_a_run_only_when_it_got_nowhere_between(tmp_path):
    history, config = History(str(tmp_path / "cluster.jsonl"), 2), ClusterConfig(workers=2, max_failures=3)
    error = WorkerError(1, "TypeError", "a")
    with pytest.raises(WorkerError, match="TypeError: a"):
        run_until_done(failed_with((None, error), (None, error)), config, history, "r")
    commit = lambda: history.committed("r-1", {"step": 1})  # noqa: E731
    assert run_until_done(failed_with((None, error), (commit, error)), config, history, "r") == 3
    lost = WorkerError(0, "WorkerLost", "killed")
    assert run_until_done(failed_with(*[(None, lost)] * 3), config, history, "r") == 4
    leaves = WorkerError(0, "HostLeaves", "step 5")
    assert run_until_done(failed_with(*[(None, leaves)] * 9), config, history, "r") == 10
    with pytest.raises(WorkerError, match="killed"):
        run_until_done(failed_with(*[(None, lost)] * 4), config, history, "r")


def test_an_end_that_ray_tells_of_twice_is_one_and_a_torn_line_is_none(tmp_path):
    context = SimpleNamespace(run_config=SimpleNamespace(name="r"))
    history = History(str(tmp_path / "cluster.jsonl"), 2)
    recorder = Recorder(history)
    for _ in range(2):
        recorder.after_exception(context, {0: WorkerError(0, "HostLeaves", "step 5", when=2.0)})
    with open(history.path, "a") as file:
        file.write('{"ts_ms": 17, "run": "r", "eve\n')
    Recorder(history).after_exception(context, {1: WorkerError(1, "TypeError", "a", when=3.0)})
    assert [len(history.events("r", kind)) for kind in ("failure", "regroup")] == [1, 1]


def test_a_full_disk_costs_the_history_whole_lines_and_nothing_else(tmp_path):
    with small_disk(tmp_path / "disk", mib=1) as disk:
        history = History(str(disk / "cluster.jsonl"))
        history.committed("r", {"step": 1, "words": "x" * 3000})
        ballast = fill_up(disk)
        for step in (2, 3):
            history.committed("r", {"step": step, "words": "x" * 3000})
        ballast.unlink()
        history.committed("r", {"step": 4})
        assert [event["metrics"]["step"] for event in history.events("r", "commit")] == [1, 4]
