"""How far `jpo generate` is, by the files it leaves."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from launcher.show.answering import Answers, Counter, progress_of
from launcher.show.board import Board


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


def test_lines_tell_how_many_there_are_and_the_last_one_all_of_them(tmp_path: Path) -> None:
    screen, now = io.StringIO(), [0.0]
    (tmp_path / "progress").mkdir()
    made = tmp_path / "progress" / "1.jsonl"
    on = Board(Console(file=screen, width=200), lambda: now[0])
    source = Answers(Counter(tmp_path), 9, lambda: now[0])
    on.sources.append(source)
    for now[0], count in ((0.0, 1), (5.0, 3), (12.0, 4), (30.0, 5)):
        made.write_text("{}\n" * count)
        on.look()
    made.unlink()
    (tmp_path / "part-00000.jsonl").write_text("{}\n" * 9)
    on.sources.clear()
    source.end(on)
    on.look()
    assert screen.getvalue().splitlines() == [
        "generating: 4/9 answers  20 a minute  12 s",
        "generating: 9/9 answers  18 a minute  30 s",
    ]


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
