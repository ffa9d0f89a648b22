"""What a command says to who waits for it, and whether that is an end or a sentence, and never a long silence."""

import os
import re
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.commands import ROOT, environment

SILENCE_S = 30
"""The longest time without a word."""


def told(words: list[str], env: dict[str, str]) -> tuple[int, str, float]:
    """Exit code of a command, all that it said, and the longest time in which it said nothing, less what it had to wait
    for a core."""
    process = subprocess.Popen(
        words, env=environment(env), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    waited: dict[int, float] = {}
    said, last, longest = b"", time.monotonic(), 0.0
    over = threading.Timer(600, lambda: os.killpg(process.pid, 9))
    over.start()
    while True:
        is_something = select.select([process.stdout], [], [], 1.0)[0]
        waited |= waits(process.pid)
        now = time.monotonic() - sum(waited.values())
        if not is_something:
            continue
        piece = os.read(process.stdout.fileno(), 65536)
        said, longest, last = said + piece, max(longest, now - last), now
        if not piece:
            break
    code = process.wait()
    over.cancel()
    return code, said.decode("utf-8", "replace"), longest


def waits(pid: int) -> dict[int, float]:
    """The seconds in which a process and its children were ready to work and other work had the cores, by process."""
    found = {}
    with suppress(psutil.NoSuchProcess):
        for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with suppress(OSError):
                found[one.pid] = int(Path(f"/proc/{one.pid}/schedstat").read_text().split()[1]) / 1e9
    return found


def check(code: int, said: str, quiet_s: float, may_fail: bool) -> None:
    """Exit code 0, or one sentence and no traceback; no silence."""
    assert code in ((0, 1, 2) if may_fail else (0,)), f"exit code {code}\n{said[-3000:]}"
    assert "Traceback" not in said, said[-3000:]
    assert code == 0 or re.search(r"error \(exit \d+\):|error:", said), said[-3000:]
    assert quiet_s < SILENCE_S, f"{quiet_s:.0f} s without a word"


def came(code: int) -> dict[str, int]:
    """What the table says of a command that has passed `check`."""
    return {"done as elsewhere" if code == 0 else "ended in a sentence, and done when the host was good again": 1}


def jpo_words(words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "launcher", *words]
