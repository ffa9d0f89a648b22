"""Reports as titled tables with notes: the same sections on a terminal, in Markdown and in HTML."""

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.markup import escape
from rich.table import Table

from launcher.show import html as pages


class Section(NamedTuple):
    """A table with its title; `notes` are sentences under it."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str]


def terminal(sections: Iterable[Section]) -> Iterator[Table | str]:
    """Each section as a table and its notes as lines, for a terminal."""
    for section in sections:
        made = Table(title=section.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for number, name in enumerate(section.head):
            made.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in section.rows:
            made.add_row(*map(escape, row))
        if section.rows:
            yield made
        yield "\n".join(section.notes)


def markdown(title: str, sections: Iterable[Section]) -> str:
    """The sections as Markdown tables, notes as paragraphs. A section without rows is its notes."""
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"## {section.title}")
        if section.rows:
            lines = [_row(section.head), _row(["---"] * len(section.head)), *map(_row, section.rows)]
            parts.append("\n".join(lines))
        parts += section.notes
    return "\n\n".join(parts) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def as_html(section: Section) -> str:
    """The section as HTML; every text is escaped."""
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in section.notes)
    table = pages.table(section.head, section.rows) if section.rows else ""
    return f"<h2>{html.escape(section.title)}</h2>{table}{notes}"


def percent(rate: float | None, sign: str = "") -> str:
    """`43.2 %`, or `-` for no rate."""
    return "-" if rate is None else f"{100 * rate:{sign}.1f} %"


def interval(ends: Sequence[float] | None, sign: str = "") -> str:
    """`[40.1, 46.3]` in percent, or `-`."""
    return "-" if ends is None else f"[{100 * ends[0]:{sign}.1f}, {100 * ends[1]:{sign}.1f}]"


def duration(seconds: float) -> str:
    """Hours, or minutes where it is less than one, or seconds.

    >>> duration(11520), duration(95), duration(29.6)
    ('3.2 hours', '2 minutes', '30 s')
    """
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"


def p_value(value: float | None) -> str:
    """Two digits, or `-`."""
    return "-" if value is None else f"{value:.2g}"
