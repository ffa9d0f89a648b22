"""`cluster.jsonl`: what has become of the workers of a run, start after start. Plain files, no Ray."""

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.errors import is_regroup, root_cause

logger = logging.getLogger(__name__)


class History:
    """A line for each commit that was reported and for each end of the workers before the run's own.

    Ray keeps metrics only for reports that carry a checkpoint, and its account of a loss only as long as the driver
    lives. `num_workers`: how many the present start has.
    """

    def __init__(self, path: str, num_workers: int = 0) -> None:
        self.path, self.num_workers = path, num_workers

    def committed(self, run: str, metrics: dict[str, Any]) -> None:
        self._write(run, {"event": "commit", "metrics": metrics})

    def ended(self, run: str, failures: Mapping[int, BaseException]) -> None:
        """`failures`: what each rank raised, by rank."""
        cause = root_cause(failures, self.num_workers)
        event = "regroup" if is_regroup(cause) else "failure"
        self._write(run, {"event": event, "rank": cause.rank, "kind": cause.kind, "message": cause.message})

    def _write(self, run: str, event: dict[str, Any]) -> None:
        """Never raises: a full disk would end Ray's controller, with words about something else."""
        data = json.dumps({"ts_ms": time.time_ns() // 10**6, "run": run, **event}, default=str).encode() + b"\n"
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab", buffering=0) as file:
                begin = file.tell()
                if file.write(data) < len(data):
                    file.truncate(begin)  # half a line would spoil the next
        except OSError as error:
            logger.warning("%s cannot be written: %s", self.path, error)

    def events(self, run: str, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind, of the starts whose Ray name begins with `run`."""
        lines = []
        with suppress(FileNotFoundError):
            for text in Path(self.path).read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, TypeError, KeyError):  # a line that a power cut has torn
                    line = json.loads(text)
                    if line["run"].startswith(run) and line["event"] == kind:
                        lines.append(line)
        return lines
