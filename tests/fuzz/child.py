"""The process that a fuzzing test runs: `python -m tests.fuzz.child rows|damage NAME SEED COUNT`.

Writes a line for each try before it, so that the last one of a process that crashed is known, and at the end what came
of all: {"outcomes": {outcome: count}, "findings": [what is not as it should be]}.
"""

import json
import logging
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["JPO_CACHE"] = tempfile.mkdtemp(prefix="jpo-fuzz-")

from jpo_dist.data.layouts.page import described
from jpo_dist.data.read import read, read_candidates
from tests.fuzz.strange import damaged, mutated
from tests.fuzz.things import SENTENCES, THINGS

AT_ONCE = 100
"""Rows of a file."""


def say(line: str) -> None:
    """To the test, at once: this process may be gone in a moment."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


Outcomes = tuple[Counter[str], list[str]]


def rows(seed: int, count: int, folder: Path) -> Outcomes:
    """Mutated rows of all layouts, AT_ONCE in a file."""
    outcomes, findings = Counter[str](), list[str]()
    known = [one for one in described() if one.examples]
    for file_number in range(-(-count // AT_ONCE)):
        say(f"file {file_number}")
        chance = random.Random(f"{seed} {file_number}")
        layout = known[file_number % len(known)]
        made = [mutated(chance.choice(layout.examples), chance) for _ in range(AT_ONCE)]
        file = folder / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in made))
        reads: Callable[..., Any] = read_candidates if layout.name.startswith("candidates") else read
        try:
            _, report = reads(str(file), on_bad_row="skip")
            bad = sum(report.skipped.values())
            outcomes.update({"read": report.rows - min(bad, report.rows), "skipped as bad rows": min(bad, report.rows)})
            if report.rows != AT_ONCE:
                findings.append(f"file {file_number} of {layout.name}: {report.rows} rows of {AT_ONCE}")
        except SENTENCES as error:
            outcomes["refused with their file"] += AT_ONCE
            if not str(error).strip():
                findings.append(f"file {file_number} of {layout.name}: an error without a word")
        except Exception:
            findings.append(f"file {file_number} of {layout.name}: {traceback.format_exc()[-600:]}")
    return outcomes, findings


def damage(name: str, seed: int, count: int, folder: Path) -> Outcomes:
    """Damaged bytes of one thing."""
    thing = THINGS[name]
    place, whole = folder / "place", folder / "whole"
    place.mkdir()
    os.environ["JPO_CACHE"] = str(place)
    thing.make(place)
    expected = thing.read(place)
    shutil.copytree(place, whole)
    files = sorted(file.relative_to(whole) for file in whole.rglob("*") if file.is_file() and file.stat().st_size)
    files = [file for file in files if not file.name.startswith(".") and file.suffix != ".lock"]
    outcomes, findings = Counter[str](), list[str]()
    for number in range(count):
        say(f"try {number}")
        shutil.rmtree(place)
        shutil.copytree(whole, place)
        chance = random.Random(f"{seed} {number}")
        file = chance.choice(files)
        if chance.random() < 0.03 and thing.is_ours:
            (place / file).unlink()
        elif thing.has_settings and file.suffix == ".json" and chance.random() < 0.7:
            (place / file).write_text(json.dumps(mutated(json.loads((whole / file).read_bytes()), chance)))
        else:
            (place / file).write_bytes(damaged((whole / file).read_bytes(), chance))
        try:
            found = thing.read(place)
            outcome = "as before" if found == expected else "less" if _is_part(found, expected) else "other data"
        except SENTENCES as error:
            outcome = (
                "refused" if str(place) in str(error) or "no answers" in str(error) else "refused without its name"
            )
        except Exception:
            outcome = "traceback"
            findings.append(f"try {number} of {file}: {traceback.format_exc()[-600:]}")
        outcomes[outcome] += 1
        wrong = {"other data", "refused without its name"} | (set() if thing.may_lack else {"less"})
        if thing.is_ours and outcome in wrong:
            findings.append(f"try {number} of {file}: {outcome}")
    return outcomes, findings


def _is_part(found: Any, expected: Any) -> bool:
    return isinstance(found, list) and len(found) < len(expected) and all(one in expected for one in found)


def main() -> None:
    logging.disable(logging.CRITICAL)
    what, name, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory() as folder:
        done = rows(seed, count, Path(folder)) if what == "rows" else damage(name, seed, count, Path(folder))
    say(json.dumps({"outcomes": done[0], "findings": done[1][:20]}))


if __name__ == "__main__":
    main()
