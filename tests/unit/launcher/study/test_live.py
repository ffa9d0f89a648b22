"""A study while it runs: a table on a terminal, whole lines elsewhere."""

import io

from rich.console import Console

from launcher.show.study.live import LiveTable, Progress

PROGRESS = [
    Progress("jpo", "share=0.5", 2, 1, 4, 5400.0, 0.3125),
    Progress("dpo", "share=0.5", 0, 0, 4, 0.0, None),
]


def shown(terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, _environ={"TERM": "xterm"})
    with LiveTable(console, "cells", "pass") as board:
        board.tell("", PROGRESS, "stages: 0 of 9, 0 s")
        board.tell("train failed (train-0a)", PROGRESS, "stages: 3 of 9, 70 s")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_each_stage_that_ends_has_its_lines() -> None:
    assert shown(terminal=False).splitlines() == [
        "cells: 2 of 8 done, 1 failed, stages: 0 of 9, 0 s; pass so far: jpo share=0.5 0.312 (2)",
        "train failed (train-0a)",
        "cells: 2 of 8 done, 1 failed, stages: 3 of 9, 70 s; pass so far: jpo share=0.5 0.312 (2)",
    ]


def test_on_a_terminal_it_is_a_table_that_is_drawn_again() -> None:
    said = shown(terminal=True)
    assert said.count("2 of 4") >= 2
    assert "1.5 hours" in said
    assert "31.2 %" in said
    assert said.count("train failed (train-0a)") == 1
    assert "\x1b[" in said  # the cursor goes back to where the table begins
