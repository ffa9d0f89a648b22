"""The thread beside training: who is missing in a collective that does not end, and who holds up the others."""

import json
import os
import signal
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from jpo_dist.distributed import ranks, stragglers, watchdog
from tests.support.procs import run_ranks

pytestmark = [pytest.mark.slow, pytest.mark.alone]

HOSTS = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def quick() -> None:
    watchdog.BEAT_S, watchdog.LOOK_S, watchdog.STORE_S, stragglers.WINDOW_S = 0.1, 0.02, 1.0, 1.0


def notices(folder: Path) -> list[str]:
    path = folder / "notices.jsonl"
    return [json.loads(line)["text"] for line in path.read_text().splitlines()] if path.exists() else []


def late_until_told(folder: Path) -> None:
    while not notices(folder):
        time.sleep(0.05)


def one_comes_late(folder: Path) -> None:
    quick()
    with watchdog.watching(folder, HOSTS, 6.0, False) as watcher:
        with watcher.step(6, 10):
            dist.all_reduce(torch.ones(1))
            if ranks.rank() == 1:
                late_until_told(folder)
            dist.all_reduce(torch.ones(1))
        while watcher.finding:
            time.sleep(0.05)


def test_who_comes_late_is_named_once_with_its_place_and_when_it_goes_on(tmp_path: Path) -> None:
    run_ranks(one_comes_late, 3, tmp_path)
    late, again = notices(tmp_path)
    assert late.startswith(
        "step 7: a collective has been waiting for 2 s; rank 1 (10.0.0.2) has not arrived, it is in "
    )
    assert "late_until_told (test_watch.py:" in late
    assert "rank 2" not in late
    assert again == "step 7: all ranks have arrived, it goes on"


def all_work_alone(folder: Path) -> str:
    quick()
    with watchdog.watching(folder, HOSTS, 6.0, False) as watcher:
        dist.all_reduce(torch.ones(1))
        time.sleep(3)  # the work
        finding = watcher.finding
        dist.all_reduce(torch.ones(1))
    return finding


def test_long_work_without_a_collective_on_all_ranks_is_nothing_to_tell_of(tmp_path: Path) -> None:
    assert run_ranks(all_work_alone, 3, tmp_path) == ["", "", ""]
    assert notices(tmp_path) == []


def one_is_stopped(folder: Path, stopped: int) -> None:
    quick()
    dist.init_process_group("gloo", timeout=timedelta(seconds=6))  # the limit of the collective
    pids = ranks.gather(os.getpid())
    try:
        with watchdog.watching(folder, HOSTS, 6.0, False):
            if ranks.rank() == stopped:
                os.kill(os.getpid(), signal.SIGSTOP)
            dist.all_reduce(torch.ones(1))
    finally:
        with suppress(ProcessLookupError):
            os.kill(pids[stopped], signal.SIGKILL)  # nobody has to wait for it


@pytest.mark.parametrize("stopped", [0, 2])
def test_a_stopped_process_is_named_in_the_error_of_those_that_waited(tmp_path: Path, stopped: int) -> None:
    """The limit of the collective ends the wait; the error says whom it was for."""
    outcomes = run_ranks(one_is_stopped, 3, tmp_path, stopped, group=False, check=False)
    assert outcomes[stopped].exit_code == -signal.SIGKILL
    named = f"rank {stopped} ({HOSTS[stopped]}) gives no sign of life: stopped, gone or cut off"
    for rank in {0, 1, 2} - {stopped}:
        assert named in str(outcomes[rank].error), outcomes[rank].error
    assert [named in text for text in notices(tmp_path)] == [True]


def one_is_slow(folder: Path, seconds: float) -> dict[str, float]:
    """Steps of equal work; rank 1 takes longer for it. All do as many steps as rank 0 says."""
    quick()
    numbers: dict[str, float] = {}
    with watchdog.watching(folder, HOSTS, 60.0, True) as watcher:
        started, index = time.monotonic(), 0
        while ranks.broadcast(time.monotonic() - started < seconds):
            with watcher.step(index, 100):
                time.sleep(0.1 if ranks.rank() == 1 else 0.04)  # the work, not a synchronisation
                dist.all_reduce(torch.ones(1))
            index += 1
            numbers |= watcher.numbers()
    return numbers


def test_a_straggler_is_named_once_and_its_speed_is_that_of_its_own_work(tmp_path: Path) -> None:
    numbers, others, _ = run_ranks(one_is_slow, 3, tmp_path, 7.0)
    assert {name for name in others if not name.startswith("system/")} == set()  # rank 0 has them
    fast, slow, fast_too = (numbers[f"perf/rank_tokens_per_second/{rank}"] for rank in range(3))
    assert slow < 1100, numbers  # 100 tokens in 0.1 s, or more where the machine is busy
    assert fast > 1.5 * slow < fast_too
    assert numbers["perf/host_tokens_per_second/10.0.0.2"] == slow
    assert 0.2 < numbers["perf/waiting_share"] < 0.6  # two of three ranks wait for 60 % of a step
    [said] = notices(tmp_path)
    assert said.startswith("rank 1 (10.0.0.2) is a straggler: the median rank is 2.")
    for host in HOSTS:
        assert 0 < numbers[f"system/{host}/system_memory_usage_percentage"] < 100
    assert numbers["system/10.0.0.1/cpu_utilization_percentage"] >= 0
