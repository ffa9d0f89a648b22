"""What a person sees of a training in a terminal of 80 columns: our own lines, each whole, and nobody else's."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Files, environment

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900)]
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
OURS = re.compile(
    r"run \S+ in |train +[━╸╺ ]+ *\S+/\S+ |data\.|held out|nothing is held out|network|[IW] (jpo_dist|launcher|cluster)"
    r"|warning: |exported model: |resumed at |network: |\d+ ranks "
)


def seen(words: list[str], columns: int = 80) -> tuple[int, str]:
    """Exit code and everything that a terminal gets."""
    master, slave = pty.openpty()
    env = environment({"COLUMNS": str(columns), "TERM": "xterm"})
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher", *words], stdin=slave, stdout=slave, stderr=slave, env=env, close_fds=True
    )
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the last one that had it open is gone
            break
        parts.append(part)
    os.close(master)
    return process.wait(), b"".join(parts).decode()


@pytest.mark.parametrize("workers", [0, 2])
def test_every_line_on_the_screen_is_ours(tiny: Files, tmp_path: Path, workers: int) -> None:
    words = ["train", tiny.config, f"run.dir={tmp_path / 'run'}", f"cluster.workers={workers}"]
    code, screen = seen(words)
    text = CONTROLS.sub("", screen)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert code == 0, text
    # Long lines are broken by the terminal alone: none of ours ends in the middle.
    assert [line for line in lines if not OURS.match(line)] == []
    assert "6/6" in text
    assert lines[0].startswith("run tiny in ")
    assert "built successfully" not in text
    if not workers:
        assert "built successfully" in (tmp_path / "run" / "log" / "train.log").read_text()
