"""Commits of several real ranks: kill -9 at every point of the protocol, failing ranks, two attempts alive."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.checkpoint import commit as checkpoint
from jpo_dist.checkpoint import run_folder
from jpo_dist.checkpoint.commit import CheckpointError, commit, open_attempt
from jpo_dist.checkpoint.search import find_valid, resume_point
from jpo_dist.distributed import ranks
from jpo_dist.distributed.ranks import PeerError
from tests.support.disk import small_disk
from tests.support.procs import Outcome, RankError, run_ranks

pytestmark = pytest.mark.slow

SHARD = 300_000


def shard(rank: int, step: int) -> bytes:
    return bytes([rank + 1, step % 251]) * (SHARD // 2)


def save(folder: Path, step: int) -> None:
    """Two writes a shard; a rank that is to die in the middle waits there for it. Rank 0 adds a file of all."""
    rank = ranks.rank()
    with (folder / f"rank{rank}.pt").open("wb") as file:
        file.write(shard(rank, step)[: SHARD // 3])
        file.flush()
        if os.environ.get("JPO_FAULT", "") == f"commit:mid-shard@{rank}@{step}" and not _fired():
            signal.pause()
        file.write(shard(rank, step)[SHARD // 3 :])
    if rank == 0:
        (folder / "model").mkdir()
        (folder / "model/config.json").write_text("{}")


def _fired() -> bool:
    return os.path.exists(os.environ.get("JPO_FAULT_ONCE", ""))


def run(run_dir: Path, *steps: int, keep: int = 2) -> tuple[int | None, list[str]]:
    """One start of a training run: open, look for a commit, commit the steps after it. -> (resumed step, set aside)."""
    attempt = open_attempt(run_dir)
    found = find_valid(run_dir)
    resumed = found.commit.step if found.commit else None
    for step in steps:
        if resumed is None or step > resumed:
            commit(run_dir, step, attempt, partial(save, step=step), facts={"s": step}, keep=keep)
    return resumed, list(found.set_aside)


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def assert_whole(run_dir: Path, step: int, num_ranks: int = 2) -> None:
    folder = run_dir / f"checkpoints/step-{step:08d}"
    for rank in range(num_ranks):
        assert (folder / f"rank{rank}.pt").read_bytes() == shard(rank, step)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begun")
    assert run_ranks(run, 2, folder, 20) == [(None, []), (None, [])]
    return folder


@pytest.fixture
def run_dir(begun: Path, tmp_path: Path) -> Path:
    """A run folder with a commit of step 20 by two ranks."""
    return Path(shutil.copytree(begun, tmp_path / "run"))


POINTS = ("before-shards", "mid-shard", "after-shards", "after-manifest", "after-rename")


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("point", POINTS)
def test_kill_9_leaves_the_previous_or_the_new_commit_and_the_next_start_goes_on(
    run_dir: Path, point: str, killed: int
) -> None:
    env = {"JPO_FAULT": f"commit:{point}@{killed}@40", "JPO_FAULT_ONCE": str(run_dir / "fired")}
    outcomes: list[Outcome] = run_ranks(_keep_1, 2, run_dir, 40, env=env, check=False)
    assert outcomes[killed].exit_code == -signal.SIGKILL
    # the other one hears of it at once, from the closed connection, not from a time limit
    assert outcomes[1 - killed].exception is not None, outcomes

    [(resumed, set_aside), other] = run_ranks(run, 2, run_dir, 40, 60, env=env)
    assert other == (resumed, set_aside)
    assert set_aside == []
    # rank 1 dies beside rank 0, which may or may not get as far as the rename
    expected = {"after-rename": {40}, "after-manifest": {20} if killed == 0 else {20, 40}}.get(point, {20})
    assert resumed in expected
    assert names(run_dir) == ["step-00000040", "step-00000060"]  # and no stage
    assert_whole(run_dir, 40)
    assert_whole(run_dir, 60)


def _keep_1(run_dir: Path, *steps: int) -> tuple[int | None, list[str]]:
    return run(run_dir, *steps, keep=1)


def test_retention_does_not_run_when_rank_0_dies_after_the_rename(run_dir: Path) -> None:
    env = {"JPO_FAULT": "commit:after-rename@0@40"}
    run_ranks(_keep_1, 2, run_dir, 40, env=env, check=False)
    assert [n for n in names(run_dir) if not n.startswith(".")] == ["step-00000020", "step-00000040"]


def test_a_dying_rank_leaves_a_stage_that_is_no_commit_until_the_next_attempt_sweeps_it(run_dir: Path) -> None:
    both = {"JPO_FAULT": "commit:after-manifest@0@40"}
    run_ranks(run, 2, run_dir, 40, env=both, check=False)
    assert names(run_dir) == [".stage-000002", "step-00000020"]
    assert (run_dir / "checkpoints/.stage-000002/step-00000040/manifest.json").exists()
    assert run_ranks(run, 2, run_dir) == [(20, []), (20, [])]
    assert names(run_dir) == ["step-00000020"]


def test_a_fault_fires_once_with_a_marker_and_always_without(tmp_path: Path) -> None:
    for once, second in ((None, -signal.SIGKILL), (tmp_path / "fired", 0)):
        env = {"JPO_FAULT": "commit:before-shards@0@20"} | ({"JPO_FAULT_ONCE": str(once)} if once else {})
        codes = [run_ranks(run, 1, tmp_path / str(once is None), 20, env=env, check=False)[0].exit_code for _ in "ab"]
        assert codes == [-signal.SIGKILL, second]


def _damaged(run_dir: Path) -> tuple[Any, ...]:
    found = find_valid(run_dir)
    return found.commit.step if found.commit else None, found.commit and found.commit.num_ranks, found.set_aside


@pytest.mark.parametrize("name", ["rank0.pt", "rank1.pt", "model/config.json"])
def test_all_ranks_agree_on_a_flipped_bit_in_whoever_s_share_it_is(run_dir: Path, name: str) -> None:
    run_ranks(run, 2, run_dir, 40)
    path = run_dir / "checkpoints/step-00000040" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    first, second = run_ranks(_damaged, 2, run_dir)
    assert first == second
    step, _, set_aside = first
    assert step == 20
    assert set_aside == [f"step-00000040: {name} has another digest than when it was written; now bad-step-00000040-1"]


@pytest.mark.parametrize("readers", [1, 3])
def test_a_commit_of_two_ranks_verifies_on_any_number(run_dir: Path, readers: int) -> None:
    assert run_ranks(_damaged, readers, run_dir) == [(20, 2, [])] * readers


def _must(run_dir: Path) -> str:
    try:
        resume_point("must", find_valid(run_dir))
    except CheckpointError as error:
        return str(error)
    return ""


def test_all_bad_and_must_fails_alike_on_all_ranks(run_dir: Path) -> None:
    os.truncate(run_dir / "checkpoints/step-00000020/rank1.pt", 5)
    first, second = run_ranks(_must, 2, run_dir)
    assert first == second
    assert "step-00000020: rank1.pt has 5 bytes, 300000 were written; now bad-step-00000020-1" in first


def _fails_on(run_dir: Path, failing: int) -> list[str]:
    """Rank `failing` raises in its save; then, in the same processes, a commit that works."""
    attempt = open_attempt(run_dir)

    def bad(folder: Path) -> None:
        save(folder, 40)
        if ranks.rank() == failing:
            raise ValueError("bad tensor")

    said = []
    try:
        commit(run_dir, 40, attempt, bad, facts={}, keep=2)
    except (ValueError, PeerError) as error:
        ranks.barrier()  # rank 0 drops the stage
        said = [type(error).__name__, str(error), *names(run_dir)]
    ranks.barrier()
    commit(run_dir, 60, attempt, lambda folder: save(folder, 60), facts={}, keep=2)
    return said


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_fails_is_named_on_all_others_and_the_next_commit_works(run_dir: Path, failing: int) -> None:
    said = run_ranks(_fails_on, 2, run_dir, failing)
    assert said[failing] == ["ValueError", "bad tensor", "step-00000020"]
    assert said[1 - failing] == [
        "PeerError", f"saving step 40 failed on rank {failing}: ValueError: bad tensor", "step-00000020",
    ]  # fmt: skip
    assert names(run_dir) == ["step-00000020", "step-00000060"]
    assert_whole(run_dir, 60)


def _fails_beside_a_collective(run_dir: Path, how: str) -> None:
    """As in DeepSpeed: a barrier at the end of the save, which the failing rank never reaches."""
    checkpoint.PEERS_LEAVE_S = 0.5

    def bad(folder: Path) -> None:
        save(folder, 40)
        if ranks.rank() == 1 and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if ranks.rank() == 1:
            raise ValueError("bad tensor")
        ranks.barrier()

    commit(run_dir, 40, open_attempt(run_dir), bad, facts={}, keep=2)


@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_rank_that_fails_while_others_wait_inside_the_save_ends_and_frees_them(run_dir: Path, how: str) -> None:
    started = time.monotonic()
    outcomes = run_ranks(_fails_beside_a_collective, 2, run_dir, how, check=False)
    assert outcomes[1].exit_code == (-signal.SIGKILL if how == "kill" else 0)
    assert (outcomes[0].exit_code, outcomes[0].exception) == (0, "RuntimeError"), outcomes
    assert how == "kill" or outcomes[1].exception == "ValueError"
    assert time.monotonic() - started < 150, "they waited for the time limit of the collective (192 s)"
    assert run_ranks(run, 2, run_dir) == [(20, []), (20, [])]
    assert names(run_dir) == ["step-00000020"]


def _old_attempt(run_dir: Path, saving: str, done: str) -> str:
    attempt = open_attempt(run_dir)

    def slow(folder: Path) -> None:
        save(folder, 40)
        if ranks.rank() == 0:  # as a host that was cut off and comes back
            Path(saving).write_text("x")  # a pipe: both ends wait for each other
            Path(done).read_text()
        ranks.barrier()

    try:
        commit(run_dir, 40, attempt, slow, facts={}, keep=1)
    except CheckpointError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _new_attempt(run_dir: Path, saving: str, done: str) -> list[str]:
    if ranks.rank() == 0:
        Path(saving).read_text()
    ranks.barrier()
    run(run_dir, 30)
    if ranks.rank() == 0:
        Path(done).write_text("x")
    return names(run_dir)


def test_of_two_attempts_alive_the_older_is_fenced_on_every_rank_and_changes_nothing(run_dir: Path) -> None:
    pipes = [str(run_dir / "saving"), str(run_dir / "done")]
    for pipe in pipes:
        os.mkfifo(pipe)
    with ThreadPoolExecutor(2) as pool:
        old = pool.submit(run_ranks, _old_attempt, 2, run_dir, *pipes)
        new = pool.submit(run_ranks, _new_attempt, 2, run_dir, *pipes)
        said, listed = old.result(), new.result()
    assert all(
        text == f"FencedError: attempt 2 of the run in {run_dir} may not commit: attempt 3 has started; end this one"
        for text in said
    ), said
    assert listed[0] == ["step-00000020", "step-00000030"]
    assert names(run_dir) == ["step-00000020", "step-00000030"]
    assert_whole(run_dir, 30)


def _own_folder(run_dir: Path) -> None:
    run_folder.appears.__defaults__ = (0.2,)
    open_attempt(run_dir / str(ranks.rank()))


def test_a_folder_that_is_not_shared_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(RankError, match=r"run.dir \(.*/1\) on host .* must be one folder for all hosts"):
        run_ranks(_own_folder, 2, tmp_path)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def _fill(run_dir: Path) -> str:
    attempt = open_attempt(run_dir)
    commit(run_dir, 20, attempt, lambda folder: save(folder, 20), facts={}, keep=1)

    def much(folder: Path) -> None:
        save(folder, 40)
        if ranks.rank() == 1:
            (folder / "more.pt").write_bytes(b"x" * (9 << 20))

    try:
        commit(run_dir, 40, attempt, much, facts={}, keep=1)
    except (CheckpointError, PeerError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_a_disk_that_is_full_for_one_rank_is_said_on_all_and_the_previous_commit_stays(disk: Path) -> None:
    peer, full = run_ranks(_fill, 2, disk)
    assert full.startswith("DiskFullError: no room for a commit on the disk of run.dir")
    assert "0.0 MiB are free" in full
    assert "step-00000020 is intact" in full
    assert peer.startswith("PeerError: saving step 40 failed on rank 1: DiskFullError: no room for a commit")
    assert run_ranks(run, 2, disk) == [(20, []), (20, [])]
    assert names(disk) == ["step-00000020"]
