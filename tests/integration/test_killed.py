"""A command that is killed at any moment leaves what was there before or all of what it makes, and is gone on with.

JPO_KILLS: how often each is killed, twenty times without it.
"""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.support.attacks import record
from tests.support.commands import Files, Warm
from tests.support.writing import COMMANDS, prepare

KILLS = int(os.environ.get("JPO_KILLS", "20"))
OF_PROCESSES = ("run", "study")
"""Commands that run others: every second kill meets the parent alone."""


def kill_often(name: str, kills: int, tiny: Files, warm: Warm, tmp_path: Path) -> Counter[str]:
    """Kill the command `kills` times while it works, and look at what is there each time. One that was through before
    its moment came is no kill; what a killed one left is gone on with by the next.
    """
    undisturbed = prepare(name, tmp_path / "undisturbed", tiny, warm)
    seconds = warm(*undisturbed.words).check().seconds
    after = undisturbed.state(undisturbed.output)
    assert after is not None
    came, drawn = Counter[str](), random.Random(name)
    made = prepare(name, tmp_path / "0", tiny, warm)
    before = made.state(made.output)
    for number in range(1, 6 * kills):
        whole = name not in OF_PROCESSES or number % 2 == 0  # else the stages end when they see that their parent did
        code, _, _, took = warm.killed(drawn.random() * seconds, *made.words, group=whole)
        found = made.state(made.output)
        assert found in (before, after), f"{name}, kill {number}: neither what was there nor what is made"
        if code < 0:
            came["whole, all new" if found == after else "whole, all old"] += 1
        if came.total() == kills:
            break
        if code >= 0:
            seconds = min(seconds, took)  # the first one may have met a busier machine
        if code >= 0 or found == after:  # it is through: from the start again
            assert warm(*made.words).check()
            assert made.state(made.output) == after
            made = prepare(name, tmp_path / str(number), tiny, warm)
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
