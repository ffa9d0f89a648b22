"""A run that is told to end: what a signal does to the process that a person started."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jpo_dist.distributed import stopping
from jpo_dist.distributed.stopping import Stopped, asked, obeyed, stoppable
from jpo_dist.run_dir import NOTICES, PLAN, STOP
from tests.support.signals import usual_signals


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    with usual_signals():
        yield


def begin_steps(run_dir: Path) -> None:
    """What rank 0 does before its first step."""
    (run_dir / PLAN).write_text("{}")


def run(run_dir: Path, *does: Callable[[], object], grace_s: float = 60.0) -> None:
    """A run in its steps, in which one thing happens after the other."""
    with stoppable(run_dir, grace_s):
        begin_steps(run_dir)
        for do in does:
            do()


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: signal.raise_signal(number)


def test_the_first_signal_asks_and_the_run_ends_as_stopped(tmp_path: Path) -> None:
    seen = []
    with pytest.raises(Stopped, match="SIGTERM; step 7 is committed, and the same command goes on") as stopped:
        run(
            tmp_path,
            lambda: seen.append(asked(tmp_path)),
            send(signal.SIGTERM),
            lambda: seen.append(asked(tmp_path)),
            lambda: obeyed(tmp_path, 7),
        )
    assert seen == [False, True]
    assert stopped.value.number == signal.SIGTERM
    assert not (tmp_path / STOP).exists()
    assert "once more ends it at once" in json.loads((tmp_path / NOTICES).read_text())["text"]


def test_a_run_that_was_at_its_end_is_finished(tmp_path: Path) -> None:
    run(tmp_path, send(signal.SIGINT))
    assert not (tmp_path / STOP).exists()


def test_before_the_first_step_there_is_nothing_to_commit(tmp_path: Path) -> None:
    """A plan.json of an earlier start does not count."""
    begin_steps(tmp_path)
    with pytest.raises(KeyboardInterrupt), stoppable(tmp_path, 60.0):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("number", "end"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)],
)
def test_a_second_signal_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, end: type[BaseException]
) -> None:
    monkeypatch.setattr(stopping, "SAME_S", -1.0)
    with pytest.raises(end) as ended:
        run(tmp_path, send(signal.SIGINT), send(number))
    if isinstance(ended.value, SystemExit):
        assert ended.value.code == 128 + number


def test_one_signal_that_arrives_twice_is_one(tmp_path: Path) -> None:
    """A terminal and the command that started this one both send Ctrl-C."""
    seen = []
    run(tmp_path, send(signal.SIGINT), send(signal.SIGTERM), lambda: seen.append(asked(tmp_path)))
    assert seen == [True]


def test_the_end_of_the_grace_is_a_second_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "SAME_S", -1.0)
    with pytest.raises(SystemExit) as ended:  # the wait ends when a signal is handled
        run(tmp_path, send(signal.SIGTERM), lambda: signal.sigtimedwait([], 30), grace_s=0.01)
    assert ended.value.code == 143


def test_an_exit_code_that_was_lost_on_its_way_is_that_of_the_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray turns every SystemExit that passes through it into status 1."""
    monkeypatch.setattr(stopping, "SAME_S", -1.0)

    def lost(raise_it: Callable[[], None]) -> None:
        try:
            raise_it()
        except SystemExit:
            raise SystemExit(1) from None

    with pytest.raises(SystemExit) as ended:
        run(tmp_path, send(signal.SIGTERM), lambda: lost(send(signal.SIGTERM)))
    assert ended.value.code == 143


def test_handlers_are_put_back_and_a_stop_of_an_earlier_start_is_forgotten(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    (tmp_path / STOP).write_text('{"signal": 15, "step": 3}')
    with stoppable(tmp_path, 60.0):
        assert not asked(tmp_path)
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


def test_nohup_is_respected(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable(tmp_path, 60.0):
            begin_steps(tmp_path)
            signal.raise_signal(signal.SIGHUP)
            assert not asked(tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
