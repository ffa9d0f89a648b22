"""The fault matrix of docs/reliability.md: a row a fault, with what its test measured.

`make faults` runs the tests and renders; `python -m tests.support.matrix` only renders.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
MEASURED = Path(__file__).with_name("faults.json")
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by `make faults` -->", "<!-- end of faults -->"
HEAD = "| fault | detected after | recovered after | work lost | result |\n| --- | --: | --: | --: | --- |"


class Fault(NamedTuple):
    words: str
    test: str
    """Of tests/multihost/test_faults.py."""


FAULTS = {
    "worker-killed": Fault("`kill -9` of a worker", "test_a_killed_worker_is_replaced"),
    "host-killed": Fault("`kill -9` of a whole host", "test_a_spare_host_takes_over_from_one_that_is_killed"),
}


def record(fault: str, detected_s: float | None, recovered_s: float | None, work_lost: int, result: str) -> None:
    """Keep what a test measured of a row, if JPO_RECORD_FAULTS is set. None: there is nothing to detect or recover."""
    row = {"detected_s": detected_s, "recovered_s": recovered_s, "work_lost": work_lost, "result": result}
    print(f"{fault}: {row}")  # noqa: T201
    assert fault in FAULTS, f"a row for {fault} is missing in tests/support/matrix.py"
    if os.environ.get("JPO_RECORD_FAULTS"):
        MEASURED.write_text(json.dumps(recorded() | {fault: row}, indent=1) + "\n", encoding="utf-8")


def recorded() -> dict[str, dict[str, Any]]:
    return dict(json.loads(MEASURED.read_text(encoding="utf-8"))) if MEASURED.exists() else {}


def table() -> str:
    """In the order of FAULTS; a row that nobody has measured is left out."""
    rows = recorded()
    return "\n".join([HEAD, *(_line(fault.words, rows[name]) for name, fault in FAULTS.items() if name in rows)])


def _line(words: str, row: dict[str, Any]) -> str:
    lost = f"{row['work_lost']} step{'' if row['work_lost'] == 1 else 's'}"
    return f"| {words} | {_seconds(row['detected_s'])} | {_seconds(row['recovered_s'])} | {lost} | {row['result']} |"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def render(page: str) -> str:
    """`page` with the table of now between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, f"{PAGE} has lost its markers"
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
