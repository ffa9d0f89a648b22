"""The queue for the tracking server: what is in it, in what order, and what the server still lacks."""

from pathlib import Path

from jpo_dist.files import JsonLines
from jpo_dist.run_dir import METRICS
from jpo_dist.tracking.metrics_file import MetricsFile
from jpo_dist.tracking.outbox import Outbox


def filled(folder: Path, steps: range, value: float = 0.0) -> MetricsFile:
    metrics_file = MetricsFile(folder / METRICS)
    for step in steps:
        metrics_file.append(step, {"loss": value + step})
    return metrics_file


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
