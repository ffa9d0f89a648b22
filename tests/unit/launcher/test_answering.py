"""How far `jpo generate` is, by the files it leaves."""

import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from launcher.show.answering import Counter, log_lines, progress_of


def test_answers_are_counted_as_files_grow(tmp_path: Path) -> None:
    (tmp_path / "progress").mkdir()
    (tmp_path / "part-00000.jsonl").write_text("{}\n{}\n")
    counter, one, two = Counter(tmp_path), *(tmp_path / "progress" / f"{n}.jsonl" for n in (1, 2))
    assert counter.look() == 2
    one.write_text('{}\n{"torn')
    assert counter.look() == 3
    one.write_text('{}\n{"torn": 1}\n')
    two.write_text("{}\n")
    assert (counter.look(), counter.look()) == (5, 5)
    one.unlink()
    assert counter.look() == 5


def test_lines_come_only_while_answers_do(tmp_path: Path) -> None:
    out, stop = io.StringIO(), threading.Event()

    class Scripted(Counter):
        """Looks that find so many answers; the last one ends the run."""

        found = iter([1, 4, 4, 9])

        def look(self) -> int:
            count = next(self.found)
            if count == 9:
                stop.set()
            return count

    log_lines(Console(file=out), Scripted(tmp_path), 9, stop, every_s=0.001)
    assert [line.split("  ")[0] for line in out.getvalue().splitlines()] == ["4/9 answers", "9/9 answers"]


def test_the_bar_of_a_terminal_ends_with_all_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run moves its answers into parts as it ends, between two looks."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes standard error for a terminal
    (tmp_path / "progress").mkdir()
    made = tmp_path / "progress" / "1.jsonl"
    made.write_text("{}\n")
    with progress_of(tmp_path, 4):
        (tmp_path / "part-00000.jsonl").write_text("{}\n" * 4)
        made.unlink()
        (tmp_path / "progress").rmdir()
    assert "4/4" in capsys.readouterr().err
