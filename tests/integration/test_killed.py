"""A command that is killed at any moment leaves what was there before or all of what it makes, and the same command
goes on. Of two on one output the second is told who holds the place.
"""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from jpo_dist.locks import alone_in
from tests.support.attacks import record
from tests.support.commands import Files, Warm
from tests.support.writing import COMMANDS, prepare

KILLS = int(os.environ.get("JPO_KILLS", "20"))


def kill_often(name: str, kills: int, tiny: Files, warm: Warm, tmp_path: Path) -> Counter[str]:
    undisturbed = prepare(name, tmp_path / "undisturbed", tiny, warm)
    seconds = warm(*undisturbed.words).check().seconds
    after = undisturbed.state(undisturbed.output)
    assert after is not None
    came, drawn = Counter[str](), random.Random(name)
    made = prepare(name, tmp_path / "0", tiny, warm)
    before = made.state(made.output)
    for number in range(1, kills + 1):
        code = warm.killed(drawn.random() * seconds, *made.words).code
        found = made.state(made.output)
        assert found in (before, after), f"{name}, kill {number}: neither what was there nor what is made"
        came["whole, all new" if found == after else "whole, all old"] += 1
        if code >= 0 or found == after:  # it is through: from the start again
            assert warm(*made.words).check()
            assert made.state(made.output) == after
            made = prepare(name, tmp_path / str(number), tiny, warm)
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


@pytest.mark.nightly
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", COMMANDS)
def test_clash(name: str, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    """While somebody holds the place: this process does what the first of two commands does."""
    made = prepare(name, tmp_path / "out", tiny, warm)
    before = made.state(made.output)
    with alone_in(made.output / made.lock[0], lock=made.lock[1]):
        done = warm(*made.words)
    assert done.code == 1, done.said
    assert "is in use by another" in done.said, done.said
    assert f"process {os.getpid()} on host" in done.said
    assert made.state(made.output) == before
    record("clash", name, 1, {"loser told who holds the place": 1})
