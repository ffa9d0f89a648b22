"""Which rank holds up the others, told from the pulses of all."""

import pytest

from jpo_dist.distributed import stragglers


def pulses(*work_and_tokens: tuple[float, int], step_s: float) -> list[stragglers.Pulse]:
    return [stragglers.Pulse(1, 1, 1, "", work, step_s, tokens, {}) for work, tokens in work_and_tokens]


def test_ranks_are_compared_by_their_own_time_and_a_recovered_one_is_told_of_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stragglers, "WINDOW_S", 0.0)
    one = stragglers.RankSpeeds(["a", "a", "b"])
    assert one.take(pulses((0, 0), (0, 0), (0, 0), step_s=0)) == ({}, [])
    assert one.take(pulses((0, 0), (1, 100), (1, 100), step_s=1)) == ({}, [])  # no step of rank 0 has ended yet
    told, now = [], [(0.0, 0), (0.0, 0), (0.0, 0)]
    slow = {1, 2, 3, 4, 6, 7, 8}
    for window in range(10):
        took = [5.0, 10.0 if window in slow else 5.0, 5.0]
        now = [(work + more, tokens + 100) for (work, tokens), more in zip(now, took, strict=True)]
        numbers, said = one.take(pulses(*now, step_s=10.0 * (window + 1)))
        told += [(window, text) for text in said]
        if window == 1:
            assert numbers == {
                "perf/rank_tokens_per_second/0": 20.0, "perf/rank_tokens_per_second/1": 10.0,
                "perf/rank_tokens_per_second/2": 20.0, "perf/host_tokens_per_second/a": 30.0,
                "perf/host_tokens_per_second/b": 20.0, "perf/waiting_share": pytest.approx(1 / 3),
            }  # fmt: skip
    assert [window for window, _ in told] == [3, 8]
    assert "rank 1 (a) is a straggler: the median rank is 2.0 times as fast" in told[0][1]
