"""What people see of works: bars on a terminal, lines at a bounded rate elsewhere, the last one with the total."""

import io
import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from jpo_dist.distributed import waiting
from jpo_dist.distributed.waiting import News, heard_by, in_words, posted, read_posted, working
from launcher.show.board import EVERY_S, FIRST_LINES, LINE_S, Board, Pace, Workers


class Clock:
    """Time that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def board(*, terminal: str = "") -> tuple[Board, io.StringIO, Clock]:
    """On a terminal of a kind, as TERM says it, or on none."""
    screen, clock = io.StringIO(), Clock()
    console = Console(
        file=screen, width=100, force_terminal=bool(terminal), color_system=None, _environ={"TERM": terminal}
    )
    return Board(console, clock), screen, clock


def rows(done: int, total: int | None = None, *, over: bool = False) -> News:
    return News("1", "reading a.jsonl", done, total, "rows", over)


@pytest.mark.parametrize("terminal", ["", "dumb"])
def test_a_short_work_says_nothing_and_a_long_one_ends_with_its_total(terminal: str) -> None:
    on, screen, clock = board(terminal=terminal)
    on.hear(rows(0))
    on.look()
    on.hear(rows(10, 10, over=True))
    on.look()
    assert screen.getvalue() == ""
    on.hear(rows(0))
    for clock.now in (5.0, LINE_S, 12.0, 20.0, LINE_S + EVERY_S, 50.0):
        on.hear(rows(int(clock.now) * 100))
        on.look()
    on.hear(rows(7000, 7000, over=True))
    on.look()
    on.look()
    assert screen.getvalue().splitlines() == [
        "reading a.jsonl: 1,000 rows  10 s",
        "reading a.jsonl: 3,500 rows  35 s",
        "reading a.jsonl: 7,000/7,000 rows  50 s",
    ]


def test_a_wait_without_a_count_is_spoken_of_again_and_again() -> None:
    on, screen, clock = board()
    on.hear(News("1", "starting 2 workers"))
    for clock.now in range(0, 100):
        on.look()
    assert screen.getvalue().splitlines() == [f"starting 2 workers  {s} s" for s in (10, 35, 60, 85)]


def test_lines_of_a_run_of_any_length_are_bounded() -> None:
    clock = Clock()
    pace = Pace(clock)
    allowed = 0
    for clock.now in range(7 * 24 * 3600):
        allowed += pace.allows()
    assert FIRST_LINES < allowed < 1000


def test_a_terminal_has_a_bar_while_a_work_goes_on_and_a_line_behind_it() -> None:
    on, screen, clock = board(terminal="xterm")
    on.hear(rows(0, 400))
    on.look()
    assert screen.getvalue() == ""
    clock.now = 2.0
    on.hear(rows(100, 400))
    on.look()
    on.hear(rows(400, 400, over=True))
    on.look()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"reading a\.jsonl ━+[╸╺ ].* 100/400 ", shown)
    assert "reading a.jsonl: 400/400 rows  2 s" in shown


def test_works_tell_who_listens_and_end_where_their_total_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TELL_S", 0.0)
    heard: list[News] = []
    with heard_by(heard.append):
        with working("tokenizing", 3, "items") as work:
            assert list(work.each("ab")) == ["a", "b"]
        with suppress(ZeroDivisionError), working("reading", unit="rows") as work:
            work.add(7)
            work.add(1 // 0)
    told = [(in_words(news), news.over) for news in heard]
    assert told[0] == ("tokenizing: 0/3 items", False)
    assert ("tokenizing: 3/3 items", True) in told
    assert told[-1] == ("reading: 7 rows", True)  # no total that was never reached


def test_what_several_threads_have_done_adds_up() -> None:
    """An add that another thread comes between would lose its count: here each is come between."""
    told: list[News] = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with heard_by(told.append), working("counting", unit="things") as work:
            threads = [Thread(target=lambda: [work.add() for _ in range(3000)]) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)
    assert told[-1].done == 12_000


def test_the_driver_hears_of_a_worker_by_a_file(tmp_path: Path) -> None:
    file = tmp_path / "log" / "train.json"
    on, screen, clock = board()
    on.sources.append(Workers(file, "starting 2 workers"))
    on.look()
    clock.now = 12.0
    on.look()
    file.parent.mkdir()
    file.write_text(json.dumps([rows(5, 9)._asdict()]))
    on.look()
    clock.now = 30.0
    on.look()
    file.write_text(json.dumps([rows(9, 9, over=True)._asdict()]))
    on.look()
    file.write_text("[]")
    on.look()
    assert screen.getvalue().splitlines() == [
        "starting 2 workers  12 s",
        "starting 2 workers  12 s",
        "reading a.jsonl: 5/9 rows  18 s",
        "reading a.jsonl: 9/9 rows  18 s",
    ]


def test_what_is_posted_is_read_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "log" / "work.json"
    assert read_posted(file) is None
    with posted(file), working("scoring", 2, "items") as work:
        work.add(2)
    (found,) = read_posted(file) or []
    assert (found.name, found.done, found.total, found.over) == ("scoring", 2, 2, True)
    file.write_text('[{"torn": 1}]')
    assert read_posted(file) is None
