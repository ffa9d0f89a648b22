"""The metrics file: what a run measured, written to disk before anything else sees it.

`<run.dir>/metrics.jsonl`: one line a step, {"step": int, "ts_ms": int, "metrics": {name: finite float}}.
A resumed run cuts the lines behind its checkpoint and writes those steps again: this file is what the run that
counts has computed. What the tracking server gets is a copy of it (outbox.py).
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path

from jpo_dist.files import JsonLines, read_lines
from jpo_dist.run_dir import METRICS, OUTBOX

NONFINITE = "train/nonfinite_metrics"
"""How many of a step's values were left out because they were not finite; present only where there are any."""

IN_WORDS = (
    ("accuracy", "rewards/accuracies", "{:.3f}"),
    ("loss", "loss", "{:.4f}"),
    ("margin (beta z)", "rewards/margins", "{:+.3f}"),
    ("margin, instruction part (nats)", "margin/instruction", "{:+.3f}"),
    ("margin, response part (nats)", "margin/response", "{:+.3f}"),
)
"""What every table of an evaluation shows: label, metric, and how its value is written."""


class Stamps:
    """Times of things that come one after the other, in milliseconds since 1970: none is before the last one.

    MLflow makes durations of them, and the clock of a host may be put back between two. Then it goes on from the last
    one, as fast as time does, until the clock has caught up.
    """

    def __init__(self) -> None:
        self._last, self._at = 0, 0.0

    def note(self, ts_ms: int) -> None:
        """Take the time of something that is past, of an earlier process too."""
        if ts_ms > self._last:
            self._last, self._at = ts_ms, time.monotonic()

    def now(self) -> int:
        clock = time.time_ns() // 1_000_000
        passed = int((time.monotonic() - self._at) * 1000)
        self.note(clock if clock >= self._last else self._last + passed)
        return self._last


class MetricsFile:
    """Writes `metrics.jsonl`, for rank 0: exactly one line a step, steps ascending, whatever was killed before."""

    def __init__(self, path: str | Path) -> None:
        """Open or create; a torn last line is cut."""
        self.path = Path(path)
        self._lines = JsonLines(self.path)
        self._last_step: int | None = None
        self._sent_times: dict[int, int] = {}
        self._stamps = Stamps()
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
        ts_ms = self._sent_times.pop(step, None) or self._stamps.now()
        self._stamps.note(ts_ms)
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
        self._last_step = None
        for line, _ in read_lines(self.path):
            self._last_step = max(line["step"], -1 if self._last_step is None else self._last_step)
            self._stamps.note(line["ts_ms"])
        last = -1 if self._last_step is None else self._last_step
        self._sent_times = {}
        for line, _ in read_lines(self.path.with_name(OUTBOX)):
            self._stamps.note(line.get("ts_ms", 0))  # the run's start, said by its driver, is before its first step
            if line.get("stream") == METRICS and line["step"] > last:
                self._sent_times[line["step"]] = line["ts_ms"]


def metrics_of(run_dir: Path) -> list[dict[str, float]]:
    """All of metrics.jsonl, one entry a step: its number under `step`, its metrics under their names."""
    return [{"step": line["step"], **line["metrics"]} for line, _ in read_lines(run_dir / METRICS)]


def metrics_at(run_dir: Path, step: int) -> dict[str, float]:
    """What metrics.jsonl says of `step`; {} where it says nothing."""
    lines = (line for line, _ in read_lines(run_dir / METRICS))
    return next((dict(line["metrics"]) for line in lines if line.get("step") == step), {})
