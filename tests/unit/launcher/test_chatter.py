"""What libraries print goes to a file of the run, whatever they print by; the command's own words stay."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from launcher.chatter import aside
from launcher.show.board import progress_bar
from launcher.show.progress import describe
from tests.support.commands import environment

CHILD = """
import logging, os, sys
from pathlib import Path
from launcher.chatter import aside
from launcher.console import err, say
from launcher.environment import start_logging

start_logging(os.environ)
with aside() as chatter:
    print("by Python")
    os.write(2, b"by number\\n")
    os.system("echo by a child")
    say("our line")
    if sys.argv[1] != "none" and chatter:
        chatter.keep_in(Path(sys.argv[1]), "train")
    print("later")
    logging.getLogger("library").info("a remark")
    logging.getLogger("library").warning("a warning that matters")
    logging.getLogger("jpo_dist.train").info("our remark")
    if len(sys.argv) > 2:
        raise SystemExit("an error")
print("after")
"""


def ran(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", CHILD, *words], env=environment(env), capture_output=True, text=True, check=False
    )


def test_libraries_are_out_of_sight_and_in_the_file_of_the_run(tmp_path: Path) -> None:
    done = ran(str(tmp_path / "run"))
    assert done.stdout.splitlines() == ["our line", "after"]
    assert done.stderr.splitlines() == ["W library: a warning that matters", "I jpo_dist.train: our remark"]
    kept = (tmp_path / "run" / "log" / "train.log").read_text()
    assert sorted(kept.splitlines()) == ["by Python", "by a child", "by number", "later"]


def test_an_error_is_seen_and_without_a_run_nothing_is_kept(tmp_path: Path) -> None:
    done = ran("none", "fails")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "an error")
    assert done.stdout.splitlines() == ["our line"]
    assert list(tmp_path.iterdir()) == []


def test_everything_is_seen_by_who_asks_for_it() -> None:
    done = ran("none", JPO_LOG="debug")
    assert "by Python" in done.stdout
    assert "I library: a remark" in done.stderr


def test_a_process_without_an_output_of_its_own_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with aside() as chatter:
        assert chatter is None


def test_a_narrow_terminal_cuts_the_figures_and_not_the_step() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=True, color_system=None)
    metrics = {"loss": 0.6789, "rewards/accuracies": 0.5, "rewards/margins": 0.25, "margin/response": 2.5,
               "margin/instruction": -1.25, "perf/tokens_per_second": 2345.0}  # fmt: skip
    with progress_bar(console) as progress:
        progress.add_task("train", completed=12, total=24, status=describe({"step": 12, "metrics": metrics}))
        progress.refresh()
    last = [line for line in screen.getvalue().splitlines() if "train" in line][-1]
    assert " 12/24 " in last
    assert "loss 0.6789  accuracy 0.50" in last
    assert "…" in last


def test_ties_at_the_start_are_no_accuracy_of_zero() -> None:
    tied = {"loss": 0.6931, "rewards/accuracies": 0.0, "rewards/margins": -0.0, "eval/rewards/accuracies": 0.0,
            "eval/rewards/margins": 0.0}  # fmt: skip
    assert describe({"step": 1, "metrics": tied}) == "loss 0.6931"
    apart = {"loss": 0.69, "rewards/accuracies": 0.0, "rewards/margins": -0.002}
    assert describe({"step": 1, "metrics": apart}) == "loss 0.6900  accuracy 0.00  margin -0.002"
