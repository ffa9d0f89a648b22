"""The table of docs/security.md: what was tried, how often, and what came of it, as the tests counted it.

`make attacks` runs the tests and renders; `python -m tests.support.attacks` only renders.
"""

import os
from collections import Counter
from typing import Any, NamedTuple

from tests.support.measured import ROOT, Measured

KEPT = Measured(
    ROOT / "tests" / "support" / "attacks.json",
    ROOT / "docs" / "security.md",
    begin="<!-- attacks:begin -->",
    end="<!-- attacks:end -->",
)
HEAD = "| what was tried | how often | what came of it |\n| --- | --: | --- |"


class Attack(NamedTuple):
    words: str
    test: str
    """File and function that record it, FILE::NAME."""


_FUZZ, _KILL, _CLASH = "tests/fuzz/test_fuzz.py", "tests/integration/test_killed.py", "tests/integration/test_clash.py"
_HOST = "tests/integration/test_hostile_host.py"
ATTACKS = {
    "rows": Attack("rows of every layout with values replaced, cut, renamed, doubled", f"{_FUZZ}::test_rows"),
    "exports": Attack(
        "exports of Label Studio with values replaced, cut, renamed, doubled",
        "tests/unit/judge/test_annotated_templates.py::test_twenty_thousand_damaged_exports",
    ),
    "damage-foreign": Attack(
        "damaged bytes in JSONL, JSON, CSV, gzip, Parquet and Arrow files, and in model folders",
        f"{_FUZZ}::test_damage",
    ),
    "damage-ours": Attack(
        "damaged bytes or missing files in sets, answers, replies and caches", f"{_FUZZ}::test_damage"
    ),
    "killed": Attack("`kill -9` of a command that writes, at a random moment", f"{_KILL}::test_killed"),
    "clash": Attack("the same command twice at once on one output", f"{_CLASH}::test_the_same_command_twice"),
    "clash-others": Attack(
        "two different commands at once on one output, run folder or cache",
        f"{_CLASH}::test_different_commands_on_one_output",
    ),
    "full-disk": Attack("a full disk below the output, then room again", f"{_HOST}::test_a_full_disk"),
    "host": Attack(
        "a host against it; all of it: 64 file descriptors, 64 MB of shared memory, a read-only HOME, no TMPDIR, "
        "locale C, no name of the user in the environment and a dead proxy at once; clock put back: by an hour every "
        "two seconds",
        f"{_HOST}::test_a_host_that_lacks_something",
    ),
    "names": Attack(
        "folders with quotes, line breaks, unicode and 200 characters in their names", f"{_HOST}::test_names_of_folders"
    ),
}


def record(attack: str, part: str, tries: int, came: dict[str, int]) -> None:
    """Keep what a test counted of a `part` of an attack, if JPO_RECORD_ATTACKS is set. `came`: outcomes in words, and
    how often."""
    print(f"{attack}, {part}: {tries} tries: {came}")  # noqa: T201
    assert attack in ATTACKS, f"a row for {attack} is missing in tests/support/attacks.py"
    if os.environ.get("JPO_RECORD_ATTACKS"):
        counted = {"tries": tries, "came": dict(sorted(came.items()))}
        KEPT.keep(lambda rows: rows.setdefault(attack, {}).update({part: counted}))


def table() -> str:
    """In the order of ATTACKS; the parts of each are added up. One that nobody has counted is left out."""
    known = KEPT.rows()
    return "\n".join([HEAD, *(_line(attack.words, known[name]) for name, attack in ATTACKS.items() if name in known)])


def _line(words: str, parts: dict[str, dict[str, Any]]) -> str:
    total = Counter[str]()
    for part in parts.values():
        total.update(part["came"])
    tries = sum(part["tries"] for part in parts.values())
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(total.items(), key=lambda kv: -kv[1]))
    first, second = ({part.partition(", ")[place] for part in parts} - {""} for place in (0, 2))
    if not second and len({part["tries"] for part in parts.values()}) > 1:
        first = {f"{name} {part['tries']}" for name, part in parts.items()}
    of = "; ".join(", ".join(sorted(names)) for names in (first, second) if names)
    of += "; not each with each" if len(parts) < len(first) * max(1, len(second)) else ""
    return f"| {words}{f' ({of})' if len(parts) > 1 else ''} | {tries:,} | {told} |"


if __name__ == "__main__":
    KEPT.render(table())
