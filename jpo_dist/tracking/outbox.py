"""What goes to the tracking server: written to disk, then carried there, in order, however long it takes.

`<run.dir>/tracking.jsonl` is the queue, `<run.dir>/tracking.ack.json` how much of it the server has confirmed. Losing
the latter is harmless: everything is sent again and changes nothing.

Why a second file beside the spool. A killed run goes back to its last checkpoint and does some steps again; their
lines are cut from the spool and written anew. The server may have the first version of such a step already, rows
cannot be taken back there, and a second version (its tokens per second differ for certain, on GPUs its losses may)
would be a second row. Remembering only what the server confirmed is not enough: between its commit and our note of it
a kill may strike. So a step is first copied to the outbox, on disk, and from then on that copy is what is sent,
however often: a repeated row is equal in run, key, step, timestamp and value, and the server keeps it once. The outbox
is never cut on resume; where values differ, the server shows the first version of a step and the spool the last.
"""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from jpo_dist.redact import redact
from jpo_dist.tracking.metrics_file import OUTBOX, SPOOL, JsonLines, read_lines

ACK_FILE = "tracking.ack.json"
ROWS_PER_BATCH = 1000
_TRIES = 3
_GIVE_UP_S = 5.0
_LONGEST_WAIT_S = 10.0

log = logging.getLogger(__name__)


class Outbox:
    """`tracking.jsonl`: entries {"op": name, ...} in the order in which the server shall get them.

    Metric entries are {"op": "metrics", "stream", "step", "ts_ms", "metrics"}; in one stream the first version of a
    step is the only one.
    """

    def __init__(self, folder: Path) -> None:
        """Open or create the outbox of a run folder; an older process that has it open is superseded."""
        self.folder, self.spool_path = folder, folder / SPOOL
        self._lines = JsonLines(folder / OUTBOX)
        self._newest: dict[str, int] = {}
        self._spool_offset = 0
        self._lock = threading.RLock()  # training queues entries while the sending thread takes the spool
        for entry, _ in self.entries():
            self._note(entry)

    @property
    def last_step(self) -> int:
        """The newest training step that was queued; -1: none."""
        return self._newest.get(SPOOL, -1)

    @property
    def superseded(self) -> bool:
        """A newer process has opened this outbox: stop sending."""
        return self._lines.superseded

    def entries(self, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """Entries from byte `offset`, each with the offset behind it."""
        return read_lines(self._lines.path, offset)

    def put(self, op: str, **fields: Any) -> None:
        """Queue anything but metrics. It must do no harm when it is sent twice."""
        with self._lock:
            self._lines.append({"op": op, **fields})

    def put_metrics(self, stream: str, step: int, ts_ms: int, metrics: Mapping[str, float]) -> None:
        """Queue a step's values, unless the stream already has that step or a later one."""
        with self._lock:
            if step > self._newest.get(stream, -1):
                entry = {"op": "metrics", "stream": stream, "step": step, "ts_ms": ts_ms, "metrics": dict(metrics)}
                self._lines.append(entry)
                self._note(entry)

    def take_spool(self, num_rows: float = math.inf) -> None:
        """Copy new lines of the spool here: all, or until they hold `num_rows` values."""
        with self._lock:
            for line, end in read_lines(self.spool_path, self._spool_offset):
                self.put_metrics(SPOOL, line["step"], line["ts_ms"], line["metrics"])
                self._spool_offset = end
                num_rows -= len(line["metrics"])
                if num_rows <= 0:
                    return

    def sync(self) -> None:
        """Return when every entry is on the disk: what is sent before that could be forgotten and sent otherwise."""
        self._lines.sync()

    def close(self) -> None:
        self._lines.close()

    def _note(self, entry: Mapping[str, Any]) -> None:
        if entry["op"] == "metrics":
            stream = entry["stream"]
            self._newest[stream] = max(entry["step"], self._newest.get(stream, -1))

    def next_batch(self, start: int) -> tuple[list[dict[str, Any]], int]:
        """What to send from byte `start`: metric entries of up to 1000 values together, others alone. And its end."""
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
        ack = read_json(self.folder / ACK_FILE)
        ours = ack.get("run_id") == run_id and ack["offset"] <= self._lines.offset
        return int(ack["offset"]) if ours else 0

    def confirm(self, run_id: str, offset: int) -> None:
        write_json(self.folder / ACK_FILE, {"run_id": run_id, "offset": offset})

    def count_unsent(self) -> int:
        """Training steps that the server has not confirmed, those that are only in the spool included."""
        sent = int(read_json(self.folder / ACK_FILE).get("offset", 0))
        queued = sum(end > sent for entry, end in self.entries() if entry.get("stream") == SPOOL)
        only_spooled = sum(int(line["step"]) > self.last_step for line, _ in read_lines(self.spool_path))
        return queued + only_spooled


def read_json(path: Path) -> dict[str, Any]:
    """The object in a small file of ours; empty when it is missing or was torn by a crash."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a small file: readers see the old object or the new one."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with aside.open("w") as file:
        file.write(json.dumps(value, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def brief(error: Exception) -> str:
    """An error in one short line for the log, without secrets: HTTP errors carry the address, and pages of causes."""
    return str(redact(str(error)))[:300]


class Link(Protocol):
    """A run on a server. What `send` has done once it may do again without a trace."""

    @property
    def run_id(self) -> str: ...

    def send(self, entries: list[dict[str, Any]]) -> None: ...

    def check(self) -> None:
        """Raise when the server is away."""


class Superseded(Exception):
    """A newer process sends for this run."""


class Courier:
    """Brings an outbox to the server, in order, as far as it gets."""

    def __init__(self, outbox: Outbox, connect: Callable[[], Link]) -> None:
        self.outbox = outbox
        self.link: Link | None = None
        self._connect = connect
        self._refused = (0, 0)  # offset behind the entry that was refused last, and how often it was

    def carry(self, deadline: float) -> None:
        """Send what there is, or what can be until `deadline` (time.monotonic). Raises whatever stopped it."""
        try:
            link = self.link = self.link or self._connect()
            # A little at a time, and only with a server there: what is queued is fixed, and what was not sent yet
            # should rather be fixed by the attempt that counts.
            self.outbox.take_spool(ROWS_PER_BATCH)
            while self._carry_next(link) and time.monotonic() < deadline:
                self.outbox.take_spool(ROWS_PER_BATCH)
        except BaseException:
            self.link = None  # look again next time: the server may have lost its data and need all of it
            raise

    def _carry_next(self, link: Link) -> bool:
        batch, end = self.outbox.next_batch(self.outbox.confirmed(link.run_id))
        if not batch:
            return False
        self.outbox.sync()
        if self.outbox.superseded:
            raise Superseded
        try:
            link.send(batch)
        except Exception as error:
            if batch[0]["op"] == "metrics":
                raise
            self._refuse(link, batch[0]["op"], end, error)
        self.outbox.confirm(link.run_id, end)
        return True

    def _refuse(self, link: Link, op: str, end: int, error: Exception) -> None:
        """An entry that cannot be sent (an upload without rights, a lost file) must not hold up all metrics behind it.

        Raises `error` while it may still go: the server is away, or it was tried fewer than three times.
        """
        link.check()
        times = self._refused[1] + 1 if self._refused[0] == end else 1
        self._refused = (end, times)
        if times < _TRIES:
            raise error
        log.warning("the tracking server does not take this %s, left out: %s", op, brief(error))


class CourierThread:
    """Carries beside training, for ever; nothing in the process waits for it but `close`."""

    def __init__(self, courier: Courier, interval_s: float) -> None:
        self._courier, self._interval_s = courier, interval_s
        self._deadline = self._gives_up = float("inf")
        self._unsent = 0
        self._closing, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> int:
        """Send the rest, for at most `timeout_s`; a server that takes nothing at all gets a few seconds. Returns the
        number of steps left unsent.
        """
        self._deadline = time.monotonic() + timeout_s
        self._gives_up = time.monotonic() + _GIVE_UP_S
        self._closing.set()
        self._thread.join(timeout_s)
        self._closed.set()
        return self._courier.outbox.count_unsent()

    def _work(self) -> None:
        failures = 0
        while not self._closed.is_set():
            last_round = self._closing.is_set()
            try:
                self._courier.carry(self._deadline)
                failures = 0
            except Superseded:
                log.warning("another attempt of %s tracks it now; this one stops", self._courier.outbox.folder)
                return
            except ImportError as error:
                log.warning("nothing is tracked (%s): pip install mlflow, or set tracking.uri=none", error)
                return
            except Exception as error:
                failures += 1
                if failures == 1 or self._progressed():
                    self._gives_up = time.monotonic() + _GIVE_UP_S if last_round else self._gives_up
                if failures == 1:
                    log.warning("no tracking now, trying on beside training: %s", brief(error))
            if last_round and (failures == 0 or time.monotonic() > min(self._deadline, self._gives_up)):
                return
            self._pause(failures)

    def _progressed(self) -> bool:
        """Whether the server has taken anything since this was last asked."""
        before, self._unsent = self._unsent, self._courier.outbox.count_unsent()
        return self._unsent < before

    def _pause(self, failures: int) -> None:
        if self._closing.is_set():
            self._closed.wait(0.2)
        else:
            wait_s = self._interval_s if failures == 0 else min(_LONGEST_WAIT_S, 0.5 * 2 ** min(failures, 10))
            self._closing.wait(wait_s)
