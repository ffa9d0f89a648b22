"""Whether a run goes on, and from where: decided by what was found, whatever that was."""

from pathlib import Path
from typing import Any

import pytest

from jpo_dist.checkpoint.commit import Commit, commit, open_attempt
from jpo_dist.checkpoint.search import Found, ResumeRefused, find_valid, list_names, resume_point, verified

RUN = Path("/runs/a")
FORTY = Commit(40, RUN / "checkpoints/step-00000040", 1, 2, {}, 5048, 1.5)
NONE = Found(RUN)
ONE = Found(RUN, FORTY, ["step-00000050: model.pt is missing; now bad-step-00000050-1"])
ALL_BAD = Found(RUN, None, ["step-00000040: model.pt is missing; now bad-step-00000040-1"], ["bad-step-00000040-1"])
HERE = Found(RUN, names=["step-00000020", "step-00000040"])
THERE = Found(RUN, url="s3://runs/a", stored=["step-00000040.000002", "step-00000020.000001"])

ALLOWED = [
    ("auto", NONE, None), ("auto", ONE, FORTY), ("auto", ALL_BAD, None), ("must", ONE, FORTY), ("never", NONE, None),
]  # fmt: skip
REFUSED = [
    ("must", NONE, "(must) found no valid commit in /runs/a/checkpoints: there is none (set aside so far: none)."),
    ("must", ALL_BAD, "model.pt is missing; now bad-step-00000040-1 (set aside so far: bad-step-00000040-1)."),
    ("never", HERE, "(never) needs a run.dir without commits, /runs/a has step-00000040; use another run.dir, or"),
    ("never", THERE, "(never) needs a checkpoint.storage without commits, s3://runs/a has step-00000040.000002; use"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "found", "commit"), ALLOWED)
def test_a_policy_that_is_met_gives_the_commit_or_a_start_from_nothing(
    policy: Any, found: Found, commit: Commit | None
) -> None:
    assert resume_point(policy, found) == commit


@pytest.mark.parametrize(("policy", "found", "says"), REFUSED)
def test_a_policy_that_is_not_met_says_what_is_there_and_what_to_do(policy: Any, found: Found, says: str) -> None:
    with pytest.raises(ResumeRefused) as caught:
        resume_point(policy, found)
    assert says in str(caught.value)
    assert "checkpoint.resume=auto" in str(caught.value)


def save(folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"0" * 100)


def test_names_are_listed_without_judging_them_and_a_search_judges_them(tmp_path: Path) -> None:
    assert list_names(tmp_path) == Found(tmp_path, names=[])
    assert find_valid(tmp_path) == Found(tmp_path, None, [], [])
    attempt = open_attempt(tmp_path)
    for step in (20, 40):
        commit(tmp_path, step, attempt, save, facts={}, keep=5)
    (tmp_path / "checkpoints/step-00000040/model.pt").unlink()
    assert list_names(tmp_path) == Found(tmp_path, names=["step-00000020", "step-00000040"])
    found = find_valid(tmp_path)
    assert found.commit is not None
    assert found.commit.step == 20
    assert found.set_aside == ["step-00000040: model.pt is missing; now bad-step-00000040-1"]
    assert list_names(tmp_path).names == ["step-00000020"]


def test_a_commit_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    assert verified(tmp_path / "checkpoints/step-00000099") == (None, "its folder is not there")
