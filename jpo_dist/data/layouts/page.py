"""The layouts for people: `jpo data layouts`, and the table of docs/data.md
(`python -m jpo_dist.data.layouts.page` writes it)."""

import json
import sys
from difflib import get_close_matches
from typing import Any, NamedTuple

from jpo_dist.data.layouts.detect import LAYOUTS, NAMES
from jpo_dist.data.layouts.layout import WEIGHTS, Layout


class Described(NamedTuple):
    """A name, and the sets of columns that rows of it may have."""

    name: str
    layouts: tuple[Layout, ...]

    @property
    def of(self) -> list[str]:
        """Public data sets and tools that write it, each once."""
        return list(dict.fromkeys(layout.public for layout in self.layouts if layout.public))

    @property
    def columns(self) -> list[str]:
        """Each set of columns by which it is found, most telling ones first."""
        return [" ".join(layout.columns) for layout in self.layouts]

    @property
    def also(self) -> list[str]:
        """Columns that are read where they are there."""
        return sorted({name for layout in self.layouts for name in layout.also} - WEIGHTS)

    @property
    def means(self) -> list[str]:
        """Which side its label means, each way once."""
        return list(dict.fromkeys(layout.means for layout in self.layouts if layout.means))

    @property
    def examples(self) -> list[dict[str, Any]]:
        """One row of each of its forms that has one."""
        return [dict(row) for layout in self.layouts for row in layout.example]

    def as_dict(self) -> dict[str, Any]:
        """All of it, for programs."""
        first = self.layouts[0]
        return {
            "name": self.name, "kind": first.kind, "of": self.of, "columns": self.columns, "also": self.also,
            "means": self.means, "examples": self.examples,
        }  # fmt: skip


def described(name: str | None = None) -> list[Described]:
    """All layouts, or the one of that name. Raises ValueError for a name that none has."""
    if name is not None and name not in NAMES:
        near = get_close_matches(name, NAMES, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"layout ({name}) is none of {', '.join(NAMES)}; {meant}name one of them, or none for all")
    wanted = NAMES if name is None else (name,)
    return [Described(one, tuple(layout for layout in LAYOUTS if layout.name == one)) for one in wanted]


def lines(one: Described) -> list[str]:
    """A layout for a terminal, its example as it stands in a file."""
    found = [f"{one.name}: {'; '.join(one.of)}"]
    found += [f"  columns: {columns}" for columns in one.columns]
    found += [f"  read where they are there: {' '.join(one.also)}"] if one.also else []
    found += [f"  {means}" for means in one.means]
    return found + [f"  {json.dumps(row, ensure_ascii=False)}" for row in one.examples]


def table() -> str:
    """All layouts as the table of docs/data.md."""
    rows = ["| layout | written by | columns | which side |", "| --- | --- | --- | --- |"]
    for one in described():
        columns = "; ".join(f"`{columns}`" for columns in one.columns[:2]) + ("; …" if len(one.columns) > 2 else "")
        cells = [f"`{one.name}`", "; ".join(one.of), columns, "; ".join(one.means[:2])]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
