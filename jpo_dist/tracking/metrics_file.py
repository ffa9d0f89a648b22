"""What a run measured, written to disk before anything else sees it.

`<run.dir>/metrics.jsonl` (Spool): one line a step, {"step": int, "ts_ms": int, "metrics": {name: finite float}}.
A resumed run cuts the lines behind its checkpoint and writes those steps again: this file is what the run that
counts has computed. What the tracking server gets is a copy of it (outbox.py).
"""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SPOOL, OUTBOX = "metrics.jsonl", "tracking.jsonl"
NONFINITE = "train/nonfinite_metrics"
"""How many of a step's values were left out because they were not finite; present only where there are any."""


def read_lines(path: Path, offset: int = 0, start: bytes = b"{") -> Iterator[tuple[dict[str, Any], int]]:
    """The JSON objects of `path` from byte `offset`, each with the offset behind it. A missing file has none.

    `start`: only lines that begin so; the others are not even parsed.

    A last line without its newline is still being written, or was torn by a kill: it is not there yet. A damaged line
    is skipped.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            value = _parse(line) if line.startswith(start) else None
            if value is not None:
                yield value, offset


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class JsonLines:
    """A JSON-lines file with one writer: the newest process that opened it.

    Opening, and every cut, puts a copy in the file's place. A process of an older attempt that hangs and wakes up
    later still holds the file that was replaced: what it appends is lost and cannot mix with ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = -1
        self.offset = _complete_bytes(path)
        self.truncate(self.offset)

    def truncate(self, offset: int) -> None:
        """Keep the first `offset` bytes; a crash leaves the old file or the new one.

        Raises ValueError when there are fewer bytes, or when a line would be torn.
        """
        kept = self.path.read_bytes()[:offset] if self.path.exists() else b""
        if len(kept) < offset or (kept and not kept.endswith(b"\n")):
            raise ValueError(f"{self.path}: byte {offset} is not the end of a line of this file; cut by step instead")
        aside = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        fd = os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            _write(fd, kept, aside)
            os.fsync(fd)
            os.replace(aside, self.path)
        except BaseException:
            os.close(fd)
            raise
        self.close()
        self._fd, self.offset = fd, offset
        sync_folder(self.path.parent)

    def append(self, value: Mapping[str, Any]) -> None:
        """One line in one write to the system: a killed process keeps it, a crashed machine may not (see `sync`)."""
        line = json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            _write(self._fd, line, self.path)
        except OSError:
            os.ftruncate(self._fd, self.offset)  # a full disk takes half a line: the next one must not stick to it
            raise
        self.offset += len(line)

    def sync(self) -> None:
        """Return when every line is on the disk."""
        os.fsync(self._fd)

    @property
    def superseded(self) -> bool:
        """Another process has opened the file since: this one belongs to an attempt that is over."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return True
        mine = os.fstat(self._fd)
        return (mine.st_dev, mine.st_ino) != (now.st_dev, now.st_ino)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _write(fd: int, data: bytes, path: Path) -> None:
    written = os.write(fd, data) if data else 0
    while written < len(data):
        more = os.write(fd, data[written:])
        if more == 0:
            raise OSError(f"{path}: only {written} of {len(data)} bytes could be written; is the disk full?")
        written += more


def _complete_bytes(path: Path) -> int:
    """Bytes up to and with the last newline."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def sync_folder(folder: Path) -> None:
    """Return when the names in `folder` (after a create or a rename) are on the disk."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Spool:
    """`metrics.jsonl`, written by rank 0: exactly one line a step, steps ascending, whatever was killed before."""

    def __init__(self, path: str | Path) -> None:
        """Open or create; a torn last line is cut."""
        self.path = Path(path)
        self._lines = JsonLines(self.path)
        self._last_step: int | None = None
        self._sent_times: dict[int, int] = {}
        self._look_back()

    @property
    def offset(self) -> int:
        """Bytes so far: what a checkpoint keeps for `truncate_to`."""
        return self._lines.offset

    @property
    def last_step(self) -> int | None:
        """The newest step in the file."""
        return self._last_step

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step, done when this returns as far as a kill of the process is concerned. No waiting for a disk.

        Values that are not finite are left out and counted in `train/nonfinite_metrics`: JSON has no word for them
        and MLflow stores inf as 1.8e308. Raises ValueError when the step is not after the last one.
        """
        if self._last_step is not None and step <= self._last_step:
            raise ValueError(
                f"{self.path}: step {step} comes after step {self._last_step}; "
                f"a resumed run must call truncate_after({step - 1}) first"
            )
        values = {name: float(value) for name, value in metrics.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if len(finite) < len(values):
            finite[NONFINITE] = float(len(values) - len(finite))
        # A step done again keeps the time of its first version where the server has that one: one time per step.
        ts_ms = self._sent_times.pop(step, None) or time.time_ns() // 1_000_000
        self._lines.append({"step": step, "ts_ms": ts_ms, "metrics": finite})
        self._last_step = step

    def truncate_after(self, step: int) -> None:
        """Cut every line of a later step: `step` is the checkpoint's, -1 for a start from nothing."""
        keep = 0
        for line, end in read_lines(self.path):
            if line.get("step", step + 1) > step:
                break
            keep = end
        self._cut(keep)

    def truncate_to(self, offset: int) -> None:
        """Cut every line behind byte `offset`. Raises ValueError when it is not the end of a line."""
        self._cut(offset)

    def sync(self) -> None:
        """Return when every line is on the disk; call it before a checkpoint that counts on them is committed."""
        self._lines.sync()

    def close(self) -> None:
        self._lines.close()

    def _cut(self, offset: int) -> None:
        self._lines.truncate(offset)
        self._look_back()

    def _look_back(self) -> None:
        self._last_step = max((line["step"] for line, _ in read_lines(self.path)), default=None)
        sent = (line for line, _ in read_lines(self.path.with_name(OUTBOX)) if line.get("stream") == SPOOL)
        last = -1 if self._last_step is None else self._last_step
        self._sent_times = {line["step"]: line["ts_ms"] for line in sent if line["step"] > last}
