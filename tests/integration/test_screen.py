"""What a person sees of a training in a terminal of 80 columns: our own lines, each whole, and nobody else's."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Files, environment, jpo
from tests.support.terminal import CTRL_C, on_terminal

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900)]
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
OURS = re.compile(
    r"run \S+ in |train +[━╸╺ ]+ |data\.|held out|nothing is held out|network|[IW] (jpo_dist|launcher|cluster)"
    r"|(reading|tokenizing|loading|starting|scoring|gathering|exporting|sending|opening)\b"
    r"|warning: |MLflow: |exported model: |resumed at |network: |\d+ ranks "
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


def test_init_asks_on_a_terminal_for_what_is_missing(tiny: Files, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    with on_terminal(["init", str(file)], cwd=tmp_path) as terminal:
        terminal.wait_for("Your data (a file, folder or hub id): ")
        terminal.type(f"{tiny.train}\n".encode())
        terminal.wait_for("The model to train (a folder or hub id): ")
        terminal.type(f"{tiny.model}\n".encode())
        terminal.wait_for("Folder for the run [runs/mine]: ")
        terminal.type(b"\n")
        assert terminal.end() == 0, terminal.text
        assert f"written: {file}; next: jpo check {file}, then jpo train {file}" in terminal.text
    assert jpo("check", str(file)).check().out.splitlines()[-1] == "# ok: a config of jpo train"
    with on_terminal(["init", str(tmp_path / "other.yaml")], cwd=tmp_path) as terminal:
        terminal.wait_for("Your data")
        terminal.type(CTRL_C)
        assert terminal.end() == 130, terminal.text
        assert "interrupted; nothing was written" in terminal.text
    assert not (tmp_path / "other.yaml").exists()
