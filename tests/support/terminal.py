"""A command of `jpo` on a terminal of its own: what it shows is read all the time, and keys can be typed."""

import fcntl
import os
import pty
import re
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import ROOT, environment

CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CTRL_C = b"\x03"


class Terminal:
    """A session with a terminal of 200 columns."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "launcher", *words], env=environment({"TERM": "xterm", **(env or {})}), cwd=cwd,
            start_new_session=True, stdin=slave, stdout=slave, stderr=slave, preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(slave)
        self._shown = b""
        self.changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """All that was shown so far, without colors and movements."""
        return CONTROLS.sub("", self._shown.decode(errors="replace"))

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in re.split(r"[\r\n]+", self.text) if line.strip()]

    def wait_for(self, text: str, timeout: float = 300) -> None:
        """Until it is shown, or the command has ended."""
        with self.changed:
            seen = self.changed.wait_for(lambda: text in self.text or not self._reader.is_alive(), timeout)
        assert seen, self.text[-3000:]
        assert text in self.text, self.text[-3000:]

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self, timeout: float = 300) -> int:
        """The exit code, when it has ended; whatever is left of its session is told."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        left = subprocess.run(["pgrep", "-s", str(self.process.pid)], capture_output=True, text=True, check=False)
        assert not left.stdout, f"processes are left: {left.stdout.split()}"
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(60)
        os.close(self._master)

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._master, 65536)
            except OSError:  # the last one that had it open is gone
                piece = b""
            with self.changed:
                self._shown += piece
                self.changed.notify_all()
            if not piece:
                return


def _take_terminal() -> None:
    """The terminal on standard input becomes the session's own, so that Ctrl-C in it is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def on_terminal(words: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Iterator[Terminal]:
    terminal = Terminal(words, env, cwd)
    try:
        yield terminal
    finally:
        terminal.close()
