"""The metrics file of a run: one line a step, whatever was killed and done again."""

import json
import math
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.files import read_lines
from jpo_dist.run_dir import METRICS
from jpo_dist.tracking.metrics_file import NONFINITE, MetricsFile
from jpo_dist.tracking.outbox import Outbox


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def filled(folder: Path, steps: range, value: float = 0.0) -> MetricsFile:
    metrics_file = MetricsFile(folder / METRICS)
    for step in steps:
        metrics_file.append(step, {"loss": value + step})
    return metrics_file


def test_a_step_is_one_line_with_its_time_and_values(tmp_path: Path) -> None:
    before = time.time_ns() // 1_000_000
    metrics_file = MetricsFile(tmp_path / METRICS)
    metrics_file.append(0, {"loss": 0.1 + 0.2, "lr": 5e-7})
    (line,) = lines(tmp_path / METRICS)
    assert set(line) == {"step", "ts_ms", "metrics"}
    assert line["metrics"] == {"loss": 0.1 + 0.2, "lr": 5e-7}, "values must come back bit by bit"
    assert before <= line["ts_ms"] <= time.time_ns() // 1_000_000
    assert metrics_file.offset == (tmp_path / METRICS).stat().st_size


def test_a_clock_that_is_put_back_puts_no_step_before_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow makes durations of the times: of steps, of a run that goes on in another process, of its end."""
    clock = [1_800_000_000_000, 1_800_000_005_000]

    def put_back() -> int:
        return (clock.pop(0) if clock else 1_799_996_400_000) * 1_000_000

    monkeypatch.setattr(time, "time_ns", put_back)
    filled(tmp_path, range(4)).close()
    filled(tmp_path, range(4, 6)).close()
    times = [line["ts_ms"] for line in lines(tmp_path / METRICS)]
    assert times[:2] == [1_800_000_000_000, 1_800_000_005_000]
    assert times == sorted(times)
    assert times[-1] < 1_800_000_065_000, "it goes on as time does"
    outbox = Outbox(tmp_path)
    outbox.take_metrics()
    assert outbox.now_ms() >= times[-1]
    outbox.close()
    assert Outbox(tmp_path).now_ms() >= times[-1], "another process too"


def test_no_step_is_before_the_start_of_its_run(tmp_path: Path) -> None:
    """The driver says when a run starts and rank 0 when its steps end, and a clock may be put back in between."""
    later = time.time_ns() // 1_000_000 + 3_600_000
    outbox = Outbox(tmp_path)
    outbox.put("status", status="RUNNING", ts_ms=later)
    outbox.close()
    filled(tmp_path, range(2)).close()
    assert later <= lines(tmp_path / METRICS)[0]["ts_ms"] < later + 60_000


def test_values_that_are_not_finite_are_left_out_and_counted(tmp_path: Path) -> None:
    metrics_file = MetricsFile(tmp_path / METRICS)
    metrics_file.append(1, {"loss": math.nan, "grad_norm": math.inf, "lr": 1.0})
    metrics_file.append(2, {"loss": 1.0})
    first, second = lines(tmp_path / METRICS)
    assert first["metrics"] == {"lr": 1.0, NONFINITE: 2.0}
    assert second["metrics"] == {"loss": 1.0}


def test_a_step_that_is_not_after_the_last_is_refused(tmp_path: Path) -> None:
    metrics_file = filled(tmp_path, range(3))
    with pytest.raises(ValueError, match=r"step 2 .* truncate_after\(1\)"):
        metrics_file.append(2, {"loss": 0.0})
    with pytest.raises(ValueError, match="step 2"):
        MetricsFile(tmp_path / METRICS).append(2, {"loss": 0.0})
    assert [line["step"] for line in lines(tmp_path / METRICS)] == [0, 1, 2]


def test_resume_cuts_the_later_steps_and_leaves_one_line_a_step(tmp_path: Path) -> None:
    filled(tmp_path, range(10))
    metrics_file = MetricsFile(tmp_path / METRICS)
    metrics_file.truncate_after(5)
    assert metrics_file.last_step == 5
    for step in range(6, 12):
        metrics_file.append(step, {"loss": 100.0 + step})
    assert [line["step"] for line in lines(tmp_path / METRICS)] == list(range(12))
    assert lines(tmp_path / METRICS)[6]["metrics"]["loss"] == 106.0, "the file shows what the resumed run computed"


@pytest.mark.parametrize("step", [-1, 0, 9, 50])
def test_truncate_after_keeps_exactly_the_steps_up_to_it(tmp_path: Path, step: int) -> None:
    metrics_file = filled(tmp_path, range(10))
    metrics_file.truncate_after(step)
    assert [line["step"] for line in lines(tmp_path / METRICS)] == list(range(min(step + 1, 10)))


def test_truncate_to_an_offset_of_a_checkpoint_restores_the_file_of_that_moment(tmp_path: Path) -> None:
    metrics_file = filled(tmp_path, range(4))
    then, content = metrics_file.offset, (tmp_path / METRICS).read_bytes()
    metrics_file.append(4, {"loss": 1.0})
    metrics_file.truncate_to(then)
    assert (tmp_path / METRICS).read_bytes() == content
    for wrong in (then - 1, then + 1):
        with pytest.raises(ValueError, match="not the end of a line"):
            metrics_file.truncate_to(wrong)
    metrics_file.append(4, {"loss": 2.0})
    assert lines(tmp_path / METRICS)[4]["metrics"] == {"loss": 2.0}


@given(cut=st.integers(min_value=0, max_value=10_000))
@settings(max_examples=60, deadline=None)
def test_after_a_kill_at_any_byte_the_file_is_a_prefix_of_whole_lines(tmp_path_factory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("metrics_file")
    filled(folder, range(12)).close()
    path = folder / METRICS
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    metrics_file = MetricsFile(path)
    kept = whole[:cut].count(b"\n")
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:kept])
    metrics_file.append(kept, {"loss": 0.0})
    assert [line["step"] for line in lines(path)] == list(range(kept + 1))


def test_a_line_being_written_is_not_read_yet(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_bytes(b'{"step":0}\n{"step":1}\n{"st')
    found = list(read_lines(path))
    assert [value["step"] for value, _ in found] == [0, 1]
    with path.open("ab") as file:
        file.write(b'ep":2}\n')
    assert [value["step"] for value, _ in read_lines(path, found[-1][1])] == [2]


def test_an_older_attempt_cannot_write_into_the_file_of_a_newer_one(tmp_path: Path) -> None:
    old = filled(tmp_path, range(5))
    new = MetricsFile(tmp_path / METRICS)
    new.truncate_after(2)
    old.append(5, {"loss": 0.0})
    new.append(3, {"loss": 0.0})
    assert [line["step"] for line in lines(tmp_path / METRICS)] == [0, 1, 2, 3]


def test_a_step_done_again_keeps_the_time_the_server_has(tmp_path: Path) -> None:
    metrics_file = filled(tmp_path, range(3))
    outbox = Outbox(tmp_path)
    outbox.put_metrics(METRICS, 0, 1000, {})
    outbox.put_metrics(METRICS, 1, 1001, {})
    for _ in range(2):  # twice: the second resume must not forget what the first has seen
        metrics_file = MetricsFile(tmp_path / METRICS)
        metrics_file.truncate_after(0)
        metrics_file.append(1, {"loss": 5.0})
        metrics_file.append(2, {"loss": 5.0})
    kept = {line["step"]: line["ts_ms"] for line in lines(tmp_path / METRICS)}
    assert kept[1] == 1001
    assert kept[2] > 1001


def test_an_append_is_one_write_and_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics_file, calls = filled(tmp_path, range(1)), list[str]()
    for name in ("write", "fsync", "fdatasync", "sync"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (calls.append(name), real(*given))[1])
    metrics_file.append(1, {f"train/metric_{n}": n / 7 for n in range(40)})
    assert calls == ["write"]
    metrics_file.sync()
    assert calls == ["write", "fsync"]
