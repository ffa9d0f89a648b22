"""A command that is killed at any moment leaves what was there before or all of what it makes, and is gone on with.

JPO_KILLS: how often each is killed, twenty times without it.
"""

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.attacks import record
from tests.support.changes import changes
from tests.support.commands import Files, Warm
from tests.support.writing import COMMANDS, prepare

KILLS = int(os.environ.get("JPO_KILLS", "20"))
OF_PROCESSES = ("run", "study")
"""Commands that run others: every second kill meets the parent alone."""


def kill_often(name: str, kills: int, tiny: Files, warm: Warm, tmp_path: Path) -> Counter[str]:
    """Kill the command `kills` times while it works, and look at what is there each time. One that was through before
    its moment came is no kill; what a killed one left is gone on with by the next.

    Every second moment is drawn from the time between the first change of its files and its end, every other from their
    changes: where all is written at the end, hardly one of the former would meet the writing.
    """
    undisturbed = prepare(name, tmp_path / "undisturbed", tiny, warm)
    with changes(tmp_path / "undisturbed") as seen:
        warm(*undisturbed.words).check()
        seconds, number_of_changes = seen.worked_s(), seen.count
    after = undisturbed.state(undisturbed.output)
    assert after is not None
    came, drawn = Counter[str](), random.Random(name)
    made, folder = prepare(name, tmp_path / "0", tiny, warm), tmp_path / "0"
    before = made.state(made.output)
    for number in range(1, 6 * kills):
        whole = name not in OF_PROCESSES or number % 4 < 2  # else the stages end when they see that their parent did
        nth, later_s = (1, drawn.random() * seconds) if number % 2 else (drawn.randint(1, number_of_changes), 0.0)
        with changes(folder) as seen:
            code = warm.killed(seen.reached(nth), later_s, *made.words, group=whole).code
            worked = seen.worked_s()
        found = made.state(made.output)
        assert code in (0, -signal.SIGKILL), f"{name}, try {number}: what a killed one left is not gone on with"
        assert found in (before, after), f"{name}, try {number}: neither what was there nor what is made"
        if code < 0:
            came["whole, all new" if found == after else "whole, all old"] += 1
        if came.total() == kills:
            break
        if code == 0:  # what went on from a killed one has less to do, and the first may have met a busier machine
            seconds, number_of_changes = min(seconds, worked), min(number_of_changes, max(1, seen.count))
        if code == 0 or found == after:  # it is through: from the start again
            warm(*made.words).check()
            assert made.state(made.output) == after
            folder = tmp_path / str(number)
            made = prepare(name, folder, tiny, warm)
    assert came.total() == kills, f"{name} was through before its kill in {number} of {number} tries"
    warm(*made.words).check()
    assert made.state(made.output) == after, f"{name}: the same command does not go on to the same end"
    assert not [path for path in made.output.iterdir() if path.name.startswith((".new-", ".placing"))]
    return came


@pytest.mark.nightly
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", COMMANDS)
def test_killed(name: str, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    record("killed", name, KILLS, kill_often(name, KILLS, tiny, warm, tmp_path))


@pytest.mark.slow
def test_a_killed_build_leaves_the_old_set_or_the_new(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    kill_often("build", 1, tiny, warm, tmp_path)
