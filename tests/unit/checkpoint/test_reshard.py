"""A commit made into a folder for another number of ranks, by a conversion that is handed in."""

from pathlib import Path

import pytest

from jpo_dist.checkpoint import run_folder
from jpo_dist.checkpoint.commit import CheckpointError, Commit, DiskFullError, commit, open_attempt
from jpo_dist.checkpoint.reshard import bytes_needed, discard, reshard


@pytest.fixture
def four(tmp_path: Path) -> Commit:
    """The commit of step 4."""
    attempt = open_attempt(tmp_path)
    return commit(tmp_path, 4, attempt, lambda folder: save(folder / "model.pt"), facts={}, keep=1)


def save(path: Path) -> None:
    path.write_bytes(b"0123" * 100)


def doubled(source: Path, target: Path, workers: int) -> None:
    (target / "shards").mkdir(parents=True)
    (target / "shards/model.pt").write_bytes((source / "model.pt").read_bytes() * 2)
    assert workers >= 1


def breaks(source: Path, target: Path, workers: int) -> None:
    doubled(source, target, workers)
    raise RuntimeError("exit code 1: KeyError: 'param_shapes'")


def names(made: Commit) -> list[str]:
    return sorted(path.name for path in made.path.parent.iterdir())


def test_the_folder_holds_what_was_made_until_it_is_discarded_and_is_no_commit(four: Commit) -> None:
    folder = reshard(four, doubled)
    assert (folder / "shards/model.pt").read_bytes() == b"0123" * 200
    assert [path.name for path, _ in run_folder.commits(four.path.parent.parent)] == ["step-00000004"]
    discard(folder)
    assert names(four) == ["step-00000004"]


def test_a_conversion_that_fails_says_why_and_leaves_nothing(four: Commit) -> None:
    with pytest.raises(CheckpointError, match=r"from 1 to 1 ranks \(exit code 1: KeyError.*set cluster\.workers=1"):
        reshard(four, breaks)
    assert names(four) == ["step-00000004"]


def test_too_little_room_is_said_before_anything_is_written(four: Commit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "free_bytes", lambda run_dir: bytes_needed(four) - 1)
    with pytest.raises(DiskFullError, match="no room on the disk"):
        reshard(four, breaks)
    assert names(four) == ["step-00000004"]


def test_a_start_that_died_while_converting_is_swept_by_the_next(four: Commit) -> None:
    folder = reshard(four, doubled)
    assert folder.exists()
    open_attempt(four.path.parent.parent)
    assert names(four) == ["step-00000004"]
