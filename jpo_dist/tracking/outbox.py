"""The outbox: what goes to the tracking server is written to disk, then carried there in order.

`<run.dir>/tracking.jsonl` is the queue, `<run.dir>/tracking.ack.json` how much of it the server has confirmed. Losing
the latter is harmless: everything is sent again and changes nothing.

It is a second file beside the metrics file because a killed run does some steps again. Their lines are cut from the
metrics file and written anew. The server may have the first version of such a step already, and never takes a row back.
A second version (its tokens per second differ for certain, on GPUs its losses may) would be a second row. Remembering
what the server confirmed does not help: a kill may come between its commit and our note of it.

So a step is first copied to the outbox, on disk, and from then on that copy is sent, however often: a repeated row is
equal in run, key, step, timestamp and value, and the server keeps it once. The outbox is never cut on resume. Where
values differ, the server shows the first version of a step and the metrics file the last.
"""

import math
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jpo_dist.files import JsonLines, read_json, read_lines, write_json
from jpo_dist.run_dir import ACK, METRICS, OUTBOX
from jpo_dist.tracking.metrics_file import Stamps

ROWS_PER_BATCH = 1000


class Outbox:
    """`tracking.jsonl`: entries {"op": name, ...} in the order in which the server shall get them.

    Metric entries are {"op": "metrics", "stream", "step", "ts_ms", "metrics"}; in one stream the first version of a
    step is the only one.
    """

    def __init__(self, folder: Path) -> None:
        """Open or create the outbox of a run folder; an older process that has it open is superseded."""
        self.folder, self.metrics_path = folder, folder / METRICS
        self._lines = JsonLines(folder / OUTBOX)
        self._newest: dict[str, int] = {}
        self._metrics_offset = 0
        self._stamps = Stamps()
        self._lock = threading.RLock()  # training queues entries while the sending thread takes the metrics file
        for entry, _ in self.entries():
            self._note(entry)

    @property
    def last_step(self) -> int:
        """The newest training step that was queued; -1: none."""
        return self._newest.get(METRICS, -1)

    @property
    def superseded(self) -> bool:
        """A newer process has opened this outbox: stop sending."""
        return self._lines.superseded

    def entries(self, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """Entries from byte `offset`, each with the offset behind it."""
        return read_lines(self._lines.path, offset)

    def now_ms(self) -> int:
        """The time, which is not before that of any entry."""
        with self._lock:
            return self._stamps.now()

    def put(self, op: str, **fields: Any) -> None:
        """Queue anything but metrics. It must do no harm when it is sent twice."""
        with self._lock:
            self._lines.append({"op": op, **fields})

    def put_metrics(self, stream: str, step: int, ts_ms: int, metrics: Mapping[str, float], **more: Any) -> None:
        """Queue a step's values, unless the stream already has that step or a later one. `more`: what else is known
        of all of them."""
        with self._lock:
            if step > self._newest.get(stream, -1):
                entry = {"op": "metrics", "stream": stream, "step": step, "ts_ms": ts_ms, "metrics": dict(metrics)}
                self._lines.append(entry | more)
                self._note(entry)

    def take_metrics(self, num_rows: float = math.inf) -> None:
        """Copy new lines of the metrics file here: all, or until they hold `num_rows` values."""
        with self._lock:
            for line, end in read_lines(self.metrics_path, self._metrics_offset):
                self.put_metrics(METRICS, line["step"], line["ts_ms"], line["metrics"])
                self._metrics_offset = end
                num_rows -= len(line["metrics"])
                if num_rows <= 0:
                    return

    def sync(self) -> None:
        """Return when every entry is on the disk: what is sent before that could be forgotten and sent otherwise."""
        self._lines.sync()

    def close(self) -> None:
        self._lines.close()

    def _note(self, entry: Mapping[str, Any]) -> None:
        self._stamps.note(entry.get("ts_ms", 0))
        if entry["op"] == "metrics":
            stream = entry["stream"]
            self._newest[stream] = max(entry["step"], self._newest.get(stream, -1))

    def next_batch(self, start: int) -> tuple[list[dict[str, Any]], int]:
        """What to send from byte `start`, and its end: metrics of up to ROWS_PER_BATCH values, others alone."""
        batch: list[dict[str, Any]] = []
        size, batch_end = 0, start
        for entry, end in self.entries(start):
            size += len(entry.get("metrics", ()))
            if batch and (entry["op"] != "metrics" or size > ROWS_PER_BATCH):
                break
            batch.append(entry)
            batch_end = end
            if entry["op"] != "metrics":
                break
        return batch, batch_end

    def confirmed(self, run_id: str) -> int:
        """Bytes that the server has confirmed for this run; 0 for one it does not know."""
        ack = read_json(self.folder / ACK)
        ours = ack.get("run_id") == run_id and ack["offset"] <= self._lines.offset
        return int(ack["offset"]) if ours else 0

    def confirm(self, run_id: str, offset: int) -> None:
        """Note that the server has everything before byte `offset`."""
        write_json(self.folder / ACK, {"run_id": run_id, "offset": offset})

    def count_unsent(self) -> int:
        """Training steps that the server has not confirmed, those that are only in the metrics file included."""
        sent = int(read_json(self.folder / ACK).get("offset", 0))
        queued = sum(end > sent for entry, end in self.entries() if entry.get("stream") == METRICS)
        only_in_file = sum(int(line["step"]) > self.last_step for line, _ in read_lines(self.metrics_path))
        return queued + only_in_file
