"""What files of a layout say, in a form that a test can write by hand."""

from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.data.config import SourceConfig
from jpo_dist.data.read import read_source, scan
from jpo_dist.data.read_report import ReadReport
from jpo_dist.records.comparisons import Item
from tests.support.rows import write_rows


class Said(NamedTuple):
    """Comparisons as "winner > loser", or "first = second" for a tie; scores by response; the report."""

    comparisons: list[str]
    scores: dict[str, float | None]
    instructions: list[list[tuple[str, str]]]
    """Turns of the items, in order, each instruction once."""
    report: ReadReport


def said(folder: Path, rows: list[Any], on_bad_row: str = "error", name: str = "a.jsonl") -> Said:
    """What rows say whose layout is found by their columns. The counts of the report add up."""
    return said_by(write_rows(folder / name, rows), on_bad_row)


def said_by(path: str, on_bad_row: str = "error") -> Said:
    built, report = scan(path, on_bad_row=on_bad_row)  # type: ignore[arg-type]
    items = built.all_items()
    ends = zip(built.winners_C.tolist(), built.losers_C.tolist(), built.is_tie_C.tolist(), strict=True)
    comparisons = [f"{items[w].response} {'=' if tie else '>'} {items[v].response}" for w, v, tie in ends]
    skipped = sum(report.skipped.values())
    if report.responses:
        assert report.responses == report.items + report.duplicates + skipped
    else:
        assert report.rows == report.comparisons + report.ties + skipped
    scores = dict(zip((item.response for item in items), built.items["score"].to_pylist(), strict=True))
    return Said(comparisons, scores, turns_of(items), report)


def turns_of(items: list[Item]) -> list[list[tuple[str, str]]]:
    """Instructions of items as (role, content) of each turn, in order of appearance."""
    return [list(map(tuple, turns)) for turns in dict.fromkeys(item.instruction for item in items)]


def compared(folder: Path, rows: list[Any], **source: Any) -> list[str]:
    """The comparisons that a source of `jpo data build` states, with settings of its own."""
    found = read_source(SourceConfig.model_validate({"path": write_rows(folder / "s.jsonl", rows), **source}), "error")
    return [f"{c.winner.response} {'=' if c.tie else '>'} {c.loser.response}" for c in found.comparisons]
