"""Notices: what a person should hear while a run goes on, from ranks whose log nobody reads.

`<run.dir>/notices.jsonl`: one line each, {"ts_ms": int, "text": str}. The driver shows them as they come.
"""

import json
import logging
import os
import time
from pathlib import Path

from jpo_dist.run_dir import NOTICES

logger = logging.getLogger(__name__)


def notify(run_dir: Path, text: str) -> None:
    """Log `text` and add it to the notices. Never raises: a full disk must not end a thread that only wants to warn."""
    logger.warning("%s", text)
    line = json.dumps({"ts_ms": time.time_ns() // 10**6, "text": text}) + "\n"
    try:
        # One write to a file opened for appending: lines of two ranks do not mix.
        file = os.open(run_dir / NOTICES, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
    except OSError as error:
        logger.warning("%s cannot be written: %s", run_dir / NOTICES, error)
