"""No damage ends in a crash, in a traceback, or in other data than were written."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.fuzz.things import THINGS
from tests.support.attacks import record

ROWS = int(os.environ.get("JPO_FUZZ_ROWS", "100000"))
"""Rows of a night."""
DAMAGE = int(os.environ.get("JPO_FUZZ_DAMAGE", "1000"))
"""Tries of a night on each thing."""
ROWS_BY_DAY, DAMAGE_BY_DAY = 500, 12
DAY = ("arrow", "set")


WORDS = {
    "as before": "read as written, or made again",
    "less": "read without what is damaged, which is said",
    "refused": "refused in a sentence",
}
FOREIGN = dict.fromkeys(("as before", "other data", "less"), "read as what stands there now, bad rows counted")
"""A file of somebody else has no digests: a letter that was changed is another letter."""


def tried(what: str, name: str, count: int) -> Counter[str]:
    """What came of so many tries in a process of their own, by outcome; a crash is a failure that says which it was."""
    command = [sys.executable, "-m", "tests.fuzz.child", what, name, os.environ.get("JPO_FUZZ_SEED", "0"), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3000)
    lines = done.stdout.splitlines() or ["nothing"]
    assert done.returncode == 0, (
        f"{what} {name}: {lines[-1]} ended the process ({done.returncode}): {done.stderr[-900:]}"
    )
    found = json.loads(lines[-1])
    assert found["findings"] == [], "\n".join(found["findings"])
    return Counter(found["outcomes"])


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_rows() -> None:
    record("rows", "all layouts", ROWS, tried("rows", "all", ROWS))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", THINGS)
def test_damage(name: str) -> None:
    came = tried("damage", name, DAMAGE)
    attack = "damage-ours" if THINGS[name].is_ours else "damage-foreign"
    words = WORDS | ({} if THINGS[name].is_ours else FOREIGN)
    told = Counter[str]()
    for outcome, count in came.items():
        told[words.get(outcome, outcome)] += count
    record(attack, name, DAMAGE, told)


@pytest.mark.slow
def test_a_few_seconds_of_it() -> None:
    tried("rows", "all", ROWS_BY_DAY)
    for name in DAY:
        tried("damage", name, DAMAGE_BY_DAY)
