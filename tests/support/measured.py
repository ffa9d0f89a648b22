"""What tests measure for a table of the docs: kept in a JSON file, rendered between two markers of a page."""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]


class Measured(NamedTuple):
    file: Path
    page: Path
    begin: str
    """The marker before the table in the page."""
    end: str

    def rows(self) -> dict[str, Any]:
        return dict(json.loads(self.file.read_text(encoding="utf-8"))) if self.file.exists() else {}

    def keep(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the rows in place, and write them; several files of tests may do so at once."""
        with Path(__file__).open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            known = self.rows()
            change(known)
            self.file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def rendered(self, page: str, table: str) -> str:
        """`page` with the table between its markers."""
        before, _, rest = page.partition(self.begin)
        _, found, after = rest.partition(self.end)
        assert found, f"{self.page} has lost its markers"
        return f"{before}{self.begin}\n\n{table}\n\n{self.end}{after}"

    def render(self, table: str) -> None:
        """Write the page."""
        self.page.write_text(self.rendered(self.page.read_text(encoding="utf-8"), table), encoding="utf-8")
