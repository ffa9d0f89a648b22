import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.files import JsonLines, read_lines
from jpo_dist.redact import redact
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


def test_an_append_takes_well_under_five_milliseconds(tmp_path: Path) -> None:
    metrics_file = MetricsFile(tmp_path / METRICS)
    metrics = {f"train/metric_{n}": n / 7 for n in range(40)}
    times = []
    for step in range(200):
        start = time.perf_counter()
        metrics_file.append(step, metrics)
        times.append(time.perf_counter() - start)
    assert sorted(times)[100] < 0.005


def test_a_step_once_queued_for_the_server_never_changes(tmp_path: Path) -> None:
    filled(tmp_path, range(6))
    outbox = Outbox(tmp_path)
    outbox.take_metrics()
    first = [entry for entry, _ in outbox.entries()]
    metrics_file = MetricsFile(tmp_path / METRICS)
    metrics_file.truncate_after(2)
    for step in range(3, 9):
        metrics_file.append(step, {"loss": 1000.0 + step})
    again = Outbox(tmp_path)
    again.take_metrics()
    entries = [entry for entry, _ in again.entries()]
    assert entries[:6] == first
    assert [entry["step"] for entry in entries] == list(range(9))
    assert outbox.superseded
    assert not again.superseded


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


def test_batches_hold_metrics_in_order_up_to_a_thousand_and_other_entries_alone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for step in range(30):
        outbox.put_metrics(METRICS, step, step, {f"m{n}": 0.0 for n in range(40)})
    outbox.put("tags", tags={"a": "b"})
    outbox.put_metrics(METRICS, 30, 30, {"m": 1.0})
    sizes, start = [], 0
    while True:
        batch, start = outbox.next_batch(start)
        if not batch:
            break
        sizes.append((batch[0]["op"], len(batch)))
    assert sizes == [("metrics", 25), ("metrics", 5), ("tags", 1), ("metrics", 1)]


def test_a_torn_outbox_entry_was_never_sent_and_is_cut(tmp_path: Path) -> None:
    file = JsonLines(tmp_path / "tracking.jsonl")
    file.append({"op": "metrics", "stream": METRICS, "step": 4, "ts_ms": 1, "metrics": {}})
    with (tmp_path / "tracking.jsonl").open("ab") as torn:
        torn.write(b'{"op": "metrics", "stream": "metrics.jsonl", "step": 5')
    outbox = Outbox(tmp_path)
    assert outbox.last_step == 4
    outbox.put_metrics(METRICS, 5, 2, {"a": 1.0})
    assert [entry["step"] for entry, _ in outbox.entries()] == [4, 5]


def test_unsent_steps_are_those_behind_the_confirmation_and_those_only_in_file(tmp_path: Path) -> None:
    metrics_file = filled(tmp_path, range(4))
    outbox = Outbox(tmp_path)
    assert outbox.count_unsent() == 4
    outbox.take_metrics()
    ends = [end for _, end in outbox.entries()]
    outbox.confirm("run", ends[1])
    metrics_file.append(4, {"loss": 0.0})
    assert outbox.count_unsent() == 3
    assert outbox.confirmed("run") == ends[1]
    assert outbox.confirmed("another run") == 0, "a run that is new to the server needs everything"


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("judge.api_key", "sk-1", "***"),
        ("cluster.env.HF_TOKEN", "hf_1", "***"),
        ("password", 1234, "***"),
        ("client_secret", ["a"], "***"),
        ("train.tokens_per_micro_step", 4096, 4096),
        ("tokenizer", "gpt2", "gpt2"),
        ("tracking.uri", "https://ann:pw@host:1/x", "https://***@host:1/x"),
        ("data.train", "s3://bucket/a@b.jsonl", "s3://bucket/a@b.jsonl"),
        ("token", None, None),
        ("env.MINIO_ACCESS_KEY", "k", "***"),
        ("where", "abfss://c@h/x?a=1&client_secret=s&b=2", "abfss://***@h/x?a=1&client_secret=***&b=2"),
        ("where", "AccountName=n;AccountKey=k==;EndpointSuffix=e", "AccountName=n;AccountKey=***;EndpointSuffix=e"),
        ("where", "s3://bucket/x?region=eu&scheme=http", "s3://bucket/x?region=eu&scheme=http"),
        ("note", "read with hf_" + "a" * 34, "read with ***"),
    ],
)
def test_secrets_are_hidden_and_nothing_else_is(key: str, value: object, shown: object) -> None:
    assert redact(value, key) == shown
    assert redact({"section": {key: value}}) == {"section": {key: shown}}
