"""Which of all that the ranks raised is the cause, and that it survives the way to the driver."""

import pickle

from cluster.errors import WorkerError, is_echo, root_cause


class Unpicklable(ValueError):
    def __reduce__(self):
        raise TypeError("this exception cannot leave its process")


def test_the_root_cause_is_a_ranks_own_error_not_the_echoes_of_it():
    echo = WorkerError(0, "RuntimeError", "[gloo] Connection closed by peer [10.0.0.2]", when=1.0)
    peer = WorkerError(2, "PeerError", "reading failed on rank 1: ValueError: no", when=2.0)
    own = WorkerError(1, "ValueError", "no", when=3.0)
    assert root_cause({0: echo, 1: own, 2: peer}, 3) is own


def test_the_earliest_of_several_own_errors_is_the_root_cause():
    first, second = WorkerError(1, "ValueError", "a", when=1.0), WorkerError(0, "KeyError", "b", when=2.0)
    assert root_cause({0: second, 1: first}, 2) is first


def test_a_lost_process_explains_the_echoes_of_the_others():
    echo = WorkerError(0, "RuntimeError", "Connection reset by peer", when=1.0)
    lost = RuntimeError("The actor died.\n\tactor_id: 0a1b\n\tpid: 12\nexit detail: code 137")
    cause = root_cause({0: echo, 1: lost}, 2)
    assert (cause.rank, cause.kind, cause.message) == (1, "WorkerLost", "The actor died. exit detail: code 137")


def test_with_nothing_but_echoes_the_silent_ranks_are_named():
    echo = WorkerError(0, "RuntimeError", "[gloo] Timed out waiting 60000ms for recv", when=1.0)
    assert "rank 1, 3" in root_cause({0: echo, 2: echo}, 4).message


def test_an_ordinary_runtime_error_is_not_an_echo():
    assert not is_echo(WorkerError(0, "RuntimeError", "shape (3, 4) does not match"))
    assert not is_echo(WorkerError(0, "OSError", "Connection refused"))


def test_a_worker_error_survives_pickling_with_its_traceback():
    try:
        raise Unpicklable("inner")
    except Unpicklable as error:
        before = WorkerError.of(3, error)
    after = pickle.loads(pickle.dumps(before))
    assert (after.rank, after.kind, after.message, after.when) == (3, "Unpicklable", "inner", before.when)
    assert 'raise Unpicklable("inner")' in after.log
