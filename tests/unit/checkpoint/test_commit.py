"""Commits by one process: what verifies, what is set aside, what is kept, who may commit."""

import errno
import hashlib
import json
import logging
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
import torch
import xxhash

from jpo_dist.checkpoint import commit as checkpoint
from jpo_dist.checkpoint import manifest, run_folder
from jpo_dist.checkpoint.commit import (
    CheckpointError,
    Commit,
    DiskFullError,
    FencedError,
    commit,
    open_attempt,
)
from jpo_dist.checkpoint.search import find_valid, resume_point
from jpo_dist.distributed.fault_injection import OrderedError, fault_during, fault_point
from tests.support.disk import fill_up, small_disk

SHARDS = {"shards/rank0.pt": b"0" * 3000, "shards/rank1.pt": bytes(range(256)) * 8, "empty": b""}


def save(folder: Path) -> None:
    for name, data in SHARDS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def make(run_dir: Path, *steps: int, keep: int = 10) -> int:
    attempt = open_attempt(run_dir)
    for step in steps:
        commit(run_dir, step, attempt, save, facts={"step": step}, keep=keep)
    return attempt


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def test_a_commit_reads_back_as_it_was_made_and_its_digests_are_those_of_the_files(tmp_path: Path) -> None:
    attempt = open_attempt(tmp_path)
    facts = {"loss": 0.1 + 0.2, "names": ["é", None], "n": {10: "a", 9: "b"}}
    made = commit(tmp_path, 40, attempt, save, facts=facts, keep=2)
    assert made == Commit(
        40, tmp_path / "checkpoints/step-00000040", 1, 1, json.loads(json.dumps(facts)), 5048, made.seconds
    )
    assert made.seconds > 0
    written = json.loads((made.path / "manifest.json").read_text())
    assert written["files"] == {
        name: {
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "xxh3": xxhash.xxh3_128(data).hexdigest(),
        }
        for name, data in SHARDS.items()
    }
    found = find_valid(tmp_path).commit
    assert found is not None
    assert (found.step, found.path, found.facts, found.bytes) == (40, made.path, made.facts, 5048)
    assert names(tmp_path) == ["step-00000040"]
    with pytest.raises(FrozenInstanceError):
        found.step = 41  # type: ignore[misc]


def _flip(path: Path, at: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= bit
    path.write_bytes(bytes(data))


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _link(folder: Path) -> None:
    (folder / "empty").unlink()
    (folder / "empty").symlink_to("/dev/null")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda f: os.truncate(f / "shards/rank0.pt", 2999), "shards/rank0.pt has 2999 bytes, 3000"),
    "missing": (lambda f: (f / "shards/rank1.pt").unlink(), "shards/rank1.pt is missing"),
    "missing folder": (lambda f: shutil.rmtree(f / "shards"), "shards/rank0.pt is missing"),
    "extra": (lambda f: (f / "shards/rank2.pt").write_bytes(b"evil"), "shards/rank2.pt is not in the manifest"),
    "flipped bit": (lambda f: _flip(f / "shards/rank1.pt", 2047, 128), "shards/rank1.pt has another digest"),
    "link": (_link, "empty has -1 bytes"),
    "empty manifest": (lambda f: (f / "manifest.json").write_bytes(b""), "manifest.json (0 bytes) is not a manifest"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
    "torn manifest": (lambda f: os.truncate(f / "manifest.json", 100), "manifest.json (100 bytes) is not a manifest"),
    "a list": (lambda f: (f / "manifest.json").write_text("[1]"), "is not a manifest"),
    "not text": (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe\x00"), "is not a manifest"),
    "other num_ranks": (lambda f: _edit(f / "manifest.json", num_ranks=2), "manifest.json was changed"),
    "other facts": (lambda f: _edit(f / "manifest.json", facts={"step": 39}), "manifest.json was changed"),
    "other step": (lambda f: f.rename(f.with_name("step-00000041")), "its manifest is that of step 40"),
    "unknown key": (lambda f: _edit(f / "manifest.json", more=1), "is not a manifest"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_commit_is_set_aside_with_the_reason_and_the_one_before_it_is_used(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, 20, 40)
    hurt, reason = DAMAGES[damage]
    hurt(tmp_path / "checkpoints/step-00000040")
    with caplog.at_level(logging.WARNING):
        found = find_valid(tmp_path)
    assert found.commit is not None
    assert found.commit.step == 20
    name = "step-00000041" if damage == "other step" else "step-00000040"
    assert names(tmp_path) == [f"bad-{name}-1", "step-00000020"]
    assert len(found.set_aside) == 1
    assert reason in found.set_aside[0]
    assert f"bad-{name}-1" in found.set_aside[0]
    assert reason in caplog.text


@pytest.mark.parametrize("kept", ["sha256", "xxh3", "blake9"])
def test_a_commit_of_another_version_is_verified_by_the_digest_that_it_has(tmp_path: Path, kept: str) -> None:
    make(tmp_path, 40)
    folder = tmp_path / "checkpoints/step-00000040"
    known = manifest.read(folder)
    files = {name: {"bytes": file["bytes"], kept: file.get(kept, "0" * 32)} for name, file in known.files.items()}
    manifest.write(folder, replace(known, files=files))
    if kept == "blake9":
        assert "has no digest that this version knows" in find_valid(tmp_path).set_aside[0]
        return
    found = find_valid(tmp_path).commit
    assert found is not None
    assert found.step == 40
    _flip(folder / "shards/rank1.pt", 5)
    assert "shards/rank1.pt has another digest" in find_valid(tmp_path).set_aside[0]


def test_every_single_byte_of_a_commit_is_covered(tmp_path: Path) -> None:
    """Flip one bit at every 97th byte of every file, the manifest included: never valid, or the same content."""
    make(tmp_path, 40)
    folder = tmp_path / "checkpoints/step-00000040"
    good = manifest.read(folder)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        for at in range(0, path.stat().st_size, 97):
            _flip(path, at)
            try:
                read = manifest.read(folder)
                assert manifest.problem_with(folder, read, read.files) or (
                    path.name == "manifest.json" and read == good
                ), (path, at)
            except manifest.ManifestError:
                assert path.name == "manifest.json"
            _flip(path, at)
    assert manifest.problem_with(folder, manifest.read(folder), good.files) is None


def test_nothing_is_unpickled_before_it_verified(tmp_path: Path) -> None:
    """A pickle that writes a file when it is loaded, slipped in under a shard's name and with its size."""
    make(tmp_path, 40)
    trap = tmp_path / "sprung"
    payload = b"cos\nsystem\n(S'touch " + str(trap).encode() + b"'\ntR."
    (tmp_path / "checkpoints/step-00000040/shards/rank0.pt").write_bytes(payload.ljust(3000, b"."))
    assert find_valid(tmp_path).commit is None
    assert not trap.exists()


def test_two_bad_commits_of_one_step_get_different_names(tmp_path: Path) -> None:
    for _ in range(2):
        make(tmp_path, 40)
        DAMAGES["missing"][0](tmp_path / "checkpoints/step-00000040")
        assert find_valid(tmp_path).commit is None
    assert names(tmp_path) == ["bad-step-00000040-1", "bad-step-00000040-2"]


def test_only_the_newest_are_kept_and_never_fewer(tmp_path: Path) -> None:
    make(tmp_path, 10, 20, keep=2)
    assert names(tmp_path) == ["step-00000010", "step-00000020"]
    make(tmp_path, 30, 40, keep=2)
    assert names(tmp_path) == ["step-00000030", "step-00000040"]
    make(tmp_path, 50, keep=1)
    assert names(tmp_path) == ["step-00000050"]


def test_an_older_commit_goes_only_after_the_new_one_is_complete(tmp_path: Path) -> None:
    attempt = make(tmp_path, 10, keep=1)

    def fails(folder: Path) -> None:
        save(folder)
        assert names(tmp_path) == [".stage-000001", "step-00000010"]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        commit(tmp_path, 20, attempt, fails, facts={}, keep=1)
    assert names(tmp_path) == ["step-00000010"]
    commit(tmp_path, 20, attempt, save, facts={}, keep=1)
    assert names(tmp_path) == ["step-00000020"]


def test_an_older_attempt_cannot_commit_after_a_newer_one_opened(tmp_path: Path) -> None:
    old = make(tmp_path, 10)
    new = open_attempt(tmp_path)
    assert (old, new) == (1, 2)
    with pytest.raises(FencedError, match=r"attempt 1 of the run in .* attempt 2 has started"):
        commit(tmp_path, 20, old, lambda folder: pytest.fail("nothing may be written"), facts={}, keep=1)
    assert names(tmp_path) == ["step-00000010"]
    commit(tmp_path, 20, new, save, facts={}, keep=2)


def test_an_attempt_that_is_fenced_while_it_saves_commits_nothing_and_deletes_nothing(tmp_path: Path) -> None:
    old = make(tmp_path, 10)

    def overtaken(folder: Path) -> None:
        save(folder)
        open_attempt(tmp_path)  # sweeps this stage away as well

    with pytest.raises(FencedError):
        commit(tmp_path, 20, old, overtaken, facts={}, keep=1)
    assert names(tmp_path) == ["step-00000010"]


def test_an_attempt_fenced_between_rename_and_retention_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make(tmp_path, 10)
    points: list[str] = []

    def at(name: str, step: int) -> None:
        points.append(name)
        if name == "commit:after-rename":
            open_attempt(tmp_path)

    monkeypatch.setattr(checkpoint, "fault_point", at)
    with pytest.raises(FencedError):
        commit(tmp_path, 20, old, save, facts={}, keep=1)
    assert names(tmp_path) == ["step-00000010", "step-00000020"]
    assert points == [f"commit:{p}" for p in ("before-shards", "after-shards", "after-manifest", "after-rename")]


def test_a_late_commit_of_an_older_attempt_does_not_count_over_one_of_its_successor(tmp_path: Path) -> None:
    """The moment that no token can close: the old attempt asked just before the new one opened, and renamed after."""
    make(tmp_path, 10, 60)
    late, aside = tmp_path / "checkpoints/step-00000060", tmp_path / "late"
    late.rename(aside)
    make(tmp_path, 40)
    aside.rename(late)
    found = find_valid(tmp_path).commit
    assert found is not None
    assert (found.step, found.attempt) == (40, 2)
    make(tmp_path, 60)  # the same step again: the newer attempt's stays
    found = find_valid(tmp_path).commit
    assert found is not None
    assert (found.step, found.attempt) == (60, 3)
    assert names(tmp_path) == ["step-00000010", "step-00000040", "step-00000060"]


def test_a_replacement_that_stopped_half_way_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, 40)
    with monkeypatch.context() as patch:
        rename = Path.rename

        def dies(self: Path, target: Path) -> Path:
            if self.parent.name.startswith(".stage"):
                raise KeyboardInterrupt  # no handler of ours runs, as with a kill
            return rename(self, target)

        patch.setattr(Path, "rename", dies)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, 40)
    assert names(tmp_path) == [".old-replaced-step-00000040", ".stage-000002"]
    open_attempt(tmp_path)
    found = find_valid(tmp_path).commit
    assert found is not None
    assert (found.step, found.attempt) == (40, 1)
    assert names(tmp_path) == ["step-00000040"]


def test_opening_sweeps_older_stages_and_half_deleted_commits_only(tmp_path: Path) -> None:
    make(tmp_path, 40)
    for name in (".stage-000001/step-00000060", ".stage-000009/step-00000060", ".old-step-00000020"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert open_attempt(tmp_path) == 2
    assert names(tmp_path) == [".stage-000009", "step-00000040"]


def test_what_is_no_attempt_or_commit_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts/README").touch()
    (tmp_path / "checkpoints/step-40").mkdir(parents=True)
    (tmp_path / "checkpoints/notes.txt").touch()
    make(tmp_path, 10, 20, keep=1)
    assert names(tmp_path) == ["notes.txt", "step-00000020", "step-40"]


def test_many_drivers_at_once_get_different_attempts(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        attempts = list(pool.map(lambda _: run_folder.claim_attempt(tmp_path), range(40)))
    assert sorted(attempts) == list(range(1, 41))


def test_a_save_that_writes_nothing_or_a_link_is_no_commit(tmp_path: Path) -> None:
    attempt = open_attempt(tmp_path)
    with pytest.raises(CheckpointError, match="made none"):
        commit(tmp_path, 1, attempt, lambda folder: None, facts={}, keep=1)
    with pytest.raises(CheckpointError, match=r"made .'link'"):
        commit(tmp_path, 1, attempt, lambda folder: (folder / "link").symlink_to("/dev/null"), facts={}, keep=1)
    with pytest.raises(ValueError, match="JSON"):
        commit(tmp_path, 1, attempt, save, facts={"loss": float("nan")}, keep=1)
    assert names(tmp_path) == []


def test_all_bad_stops_a_run_that_must_resume_and_names_each_with_its_reason(tmp_path: Path) -> None:
    make(tmp_path, 20, 40)
    DAMAGES["truncated"][0](tmp_path / "checkpoints/step-00000020")
    DAMAGES["empty manifest"][0](tmp_path / "checkpoints/step-00000040")
    with pytest.raises(CheckpointError) as caught:
        resume_point("must", find_valid(tmp_path))
    assert "step-00000020: shards/rank0.pt has 2999 bytes" in str(caught.value)
    assert "step-00000040: manifest.json (0 bytes)" in str(caught.value)
    with pytest.raises(CheckpointError, match="set aside so far: bad-step-00000020-1, bad-step-00000040-1"):
        resume_point("must", find_valid(tmp_path))
    assert resume_point("auto", find_valid(tmp_path)) is None


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = make(tmp_path, 40)
    monkeypatch.setattr(run_folder, "free_bytes", lambda run_dir: 6000)  # 1.2 x 5048 = 6057.6
    with pytest.raises(DiskFullError, match=r"needs about 0.0 MiB \(1.2 x the last commit\).*step-00000040 is intact"):
        commit(tmp_path, 60, attempt, lambda folder: pytest.fail("nothing may be written"), facts={}, keep=1)
    monkeypatch.setattr(run_folder, "free_bytes", lambda run_dir: 6058)
    commit(tmp_path, 60, attempt, save, facts={}, keep=1)


def test_a_full_disk_is_recognised_behind_other_errors(tmp_path: Path) -> None:
    attempt = make(tmp_path, 40)

    def quota(folder: Path) -> None:
        try:
            raise OSError(errno.EDQUOT, "quota")
        except OSError as error:
            raise RuntimeError("writer failed") from error

    with pytest.raises(DiskFullError):
        commit(tmp_path, 60, attempt, quota, facts={}, keep=1)
    assert names(tmp_path) == ["step-00000040"]


def test_a_limit_of_the_size_of_files_is_told_with_the_file(tmp_path: Path) -> None:
    """torch reports it as a RuntimeError about positions too."""
    attempt = make(tmp_path, 40)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: .*weights\.pt") as caught:
            commit(tmp_path, 60, attempt, _save_tensors(1), facts={}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert names(tmp_path) == ["step-00000040"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def _save_tensors(mib: float) -> Callable[[Path], None]:
    return lambda folder: torch.save(torch.ones(int(mib * 2**18)), folder / "weights.pt")


def test_a_disk_that_fills_up_in_the_first_save_is_named_and_the_stage_is_gone(disk: Path) -> None:
    """torch reports it as a RuntimeError about positions, without an errno."""
    attempt = open_attempt(disk)
    with pytest.raises(DiskFullError, match=r"needs more than .* MiB, 0.0 MiB are free with .* Free space"):
        commit(disk, 1, attempt, _save_tensors(12), facts={}, keep=1)
    assert names(disk) == []
    assert commit(disk, 2, attempt, _save_tensors(2), facts={}, keep=1).step == 2


def test_a_disk_that_fills_up_later_leaves_the_previous_commit_valid(disk: Path) -> None:
    attempt = open_attempt(disk)
    commit(disk, 1, attempt, _save_tensors(3), facts={}, keep=1)
    with pytest.raises(DiskFullError, match="step-00000001 is intact"):
        commit(disk, 2, attempt, _save_tensors(6), facts={}, keep=1)
    assert names(disk) == ["step-00000001"]
    (disk / "other").write_bytes(b"x" * (3 << 20))
    with pytest.raises(DiskFullError, match=r"needs about 3.6 MiB \(1.2 x the last commit\), 2.0 MiB are free;"):
        commit(disk, 2, attempt, lambda folder: pytest.fail("known beforehand"), facts={}, keep=1)
    found = find_valid(disk).commit
    assert found is not None
    assert found.step == 1


def test_a_disk_that_is_full_at_a_start_is_named_too(disk: Path) -> None:
    """With the words of the commit that failed before: another try cannot mend it, and the launcher sees that."""
    attempt = open_attempt(disk / "run")
    commit(disk / "run", 1, attempt, _save_tensors(2), facts={}, keep=1)
    fill_up(disk)
    with pytest.raises(DiskFullError) as while_saving:
        commit(disk / "run", 2, attempt, _save_tensors(2), facts={}, keep=1)
    with pytest.raises(DiskFullError) as at_start:
        open_attempt(disk / "run")
    assert str(at_start.value) == str(while_saving.value)
    with pytest.raises(DiskFullError, match="Free space"):
        open_attempt(disk / "another")


def test_a_fault_that_could_never_fire_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("train:step@1", "train:step@one@1", "train:step@0@1@kil", "train:step@0@1@stop@2"):
        monkeypatch.setenv("JPO_FAULT", wrong)
        with pytest.raises(ValueError, match=rf"JPO_FAULT \({wrong}\) must be POINT@RANK@STEP"):
            fault_point("train:step", 5)
    monkeypatch.setenv("JPO_FAULT", "train:step@0@1@wait")
    with pytest.raises(ValueError, match="JPO_FAULT_ONCE, which is not set"):
        fault_point("train:step", 5)
    monkeypatch.setenv("JPO_FAULT", "commit:mid-shard@0@1@hang")  # it would only stop a thread beside the writer
    with pytest.raises(ValueError, match="must end in kill, stop, exit"), fault_during("commit:mid-shard", 1, bool):
        pass
    monkeypatch.setenv("JPO_FAULT", "train:step@0@7")
    fault_point("train:step", 6)  # alive
    fault_point("commit:after-rename", 7)


def test_a_fault_can_be_an_error_and_leaves_a_marker_with_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JPO_FAULT", "train:start@0@0@raise")
    monkeypatch.setenv("JPO_FAULT_ONCE", str(tmp_path / "once"))
    with pytest.raises(OrderedError, match="ordered by JPO_FAULT"):
        fault_point("train:start", 0)
    assert (tmp_path / "once").read_text() == str(os.getpid())
    fault_point("train:start", 0)  # only once
    monkeypatch.setenv("JPO_FAULT", "train:start@0@0@wait")
    (tmp_path / "once").unlink()
    (tmp_path / "once.go").touch()
    fault_point("train:start", 0)  # it may go on
    assert (tmp_path / "once").exists()
