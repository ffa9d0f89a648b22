"""Commits: written aside, then renamed. kill -9 at any moment leaves the previous commit or the new one, never half.

All ranks call each public function together, on a run folder that all of them see (run_folder.py says what is in it).
Nothing here knows what is in a shard: the caller saves through a function, and what it wrote is synced, digested, named
in a manifest and renamed into place. Nothing of a commit may be loaded before it is verified (search.py).
"""

import errno
import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from jpo_dist.checkpoint import manifest as manifests
from jpo_dist.checkpoint import run_folder
from jpo_dist.checkpoint.manifest import Manifest
from jpo_dist.digests import size_and_digests
from jpo_dist.distributed import ranks
from jpo_dist.distributed.fault_injection import fault_during, fault_point
from jpo_dist.files import sync_file

PEERS_LEAVE_S = 5.0
"""How long a rank whose save failed waits for the others to come out of theirs.

Short: where they have died, or cannot come out before this rank ends, it is only a delay. Where they come out later,
they see a closed connection."""
_saves = itertools.count()


class CheckpointError(RuntimeError):
    """A commit that cannot be made or found. What was committed before is as it was."""


class FencedError(CheckpointError):
    """A newer attempt of this run has started: this one must end, it can never commit again."""


class DiskFullError(CheckpointError):
    """The file system of run.dir has no room for a commit."""


@dataclass(frozen=True)
class Commit:
    """A complete checkpoint. `facts` is what the caller gave to `commit`, as JSON reads it back."""

    step: int
    path: Path
    attempt: int
    num_ranks: int
    """How many ranks wrote it."""
    facts: dict[str, Any]
    bytes: int
    seconds: float
    """Time that making it took."""


def as_commit(path: Path, manifest: Manifest, seconds: float) -> Commit:
    """The commit in `path`, as its manifest has it."""
    return Commit(manifest.step, path, manifest.attempt, manifest.num_ranks, manifest.facts, manifest.bytes, seconds)


def open_attempt(run_dir: Path, above: int = 0) -> int:
    """This start's fencing token, higher than any before and than rank 0's `above`: no older attempt can commit now.

    Also clears away what older attempts left half done. Raises CheckpointError when a rank does not see the folder that
    rank 0 sees.
    """
    attempt = 0
    with ranks.together("opening the attempt"), _disk_full_explained(run_dir, run_folder.stage_folder(run_dir, 0, 0)):
        if ranks.rank() == 0:
            attempt = run_folder.claim_attempt(run_dir, above)
            run_folder.tidy(run_dir, attempt)
    attempt = int(ranks.broadcast(attempt))
    with ranks.together("looking for the attempt"):
        if not run_folder.appears(run_folder.attempt_file(run_dir, attempt)):
            raise CheckpointError(
                f"run.dir ({run_dir}) on host {socket.gethostname()} does not show the attempt that rank 0 opened; "
                "it must be one folder for all hosts: use an absolute path on a shared disk"
            )
    return attempt


def commit(
    run_dir: Path,
    step: int,
    attempt: int,
    save_shards: Callable[[Path], None],
    *,
    facts: dict[str, Any],
    keep: int,
    spare: frozenset[str] = frozenset(),
) -> Commit:
    """Save through `save_shards(folder)`, which writes this rank's files and may use collectives, and make it count.

    `facts` (JSON; rank 0's are kept) travel in the manifest. After the commit, only the newest `keep` stay, and those
    that rank 0 has in `spare`. When any rank fails all raise, the stage is dropped and earlier commits are intact:
    FencedError (on every rank), DiskFullError, the rank's own error, or PeerError naming the rank.
    """
    started = time.monotonic()
    stage, final = run_folder.stage_folder(run_dir, attempt, step), run_folder.commit_folder(run_dir, step)
    try:
        with _on_rank_0("starting the commit", run_dir, attempt, stage) as first:
            if first:
                _make_stage(run_dir, attempt, stage)
        fault_point("commit:before-shards", step)
        _save(run_dir, stage, step, save_shards)
        fault_point("commit:after-shards", step)
        files, num_ranks = _digests(run_dir, stage)
        seconds = time.monotonic() - started
        with _on_rank_0("writing the manifest", run_dir, attempt, stage) as first:
            done = Manifest(step, attempt, num_ranks, seconds, json.loads(json.dumps(facts)), files)
            if first:
                manifests.write(stage, done)
        fault_point("commit:after-manifest", step)
        with _on_rank_0("renaming the stage", run_dir, attempt, stage) as first:
            if first:
                run_folder.rename_into_place(stage, final)
        fault_point("commit:after-rename", step)
        # Asks for the token once more: a fenced attempt could delete what the newer one is reading.
        with _on_rank_0("deleting old commits", run_dir, attempt, stage) as first:
            if first:
                run_folder.retain(run_dir, keep, spare)
    except Exception as error:
        if ranks.rank() == 0:
            run_folder.drop_stage(run_dir, attempt)
        if not isinstance(error, FencedError):
            _check_token(run_dir, attempt, error)
        raise
    return as_commit(final, done, time.monotonic() - started)


# -- the steps of a commit


@contextmanager
def _on_rank_0(what: str, run_dir: Path, attempt: int, stage: Path) -> Iterator[bool]:
    """Yield True on rank 0, whose work the block is, if this is still the newest attempt. Ranks leave it together."""
    with ranks.together(what), _disk_full_explained(run_dir, stage):
        first = ranks.rank() == 0
        if first:
            _check_token(run_dir, attempt)
        yield first


def _check_token(run_dir: Path, attempt: int, cause: Exception | None = None) -> None:
    newest = run_folder.newest_attempt(run_dir)
    if newest > attempt:
        raise FencedError(
            f"attempt {attempt} of the run in {run_dir} may not commit: attempt {newest} has started; end this one"
        ) from cause


@contextmanager
def _disk_full_explained(run_dir: Path, stage: Path) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        if run_folder.is_disk_full(run_dir, stage, error):
            raise DiskFullError(run_folder.disk_message(run_dir, stage)) from error
        cut = run_folder.cut_by_limit(stage)
        if cut is not None:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(cut)) from error
        raise


def _make_stage(run_dir: Path, attempt: int, stage: Path) -> None:
    run_folder.drop_stage(run_dir, attempt)
    if not run_folder.has_room(run_dir):
        raise DiskFullError(run_folder.disk_message(run_dir, stage))
    stage.mkdir(parents=True)


def _save(run_dir: Path, stage: Path, step: int, save_shards: Callable[[Path], None]) -> None:
    error: Exception | None = None
    try:
        with _disk_full_explained(run_dir, stage), fault_during("commit:mid-shard", step, lambda: _has_bytes(stage)):
            if not run_folder.appears(stage):
                raise CheckpointError(
                    f"{stage} is not there on host {socket.gethostname()}; is run.dir on a shared disk?"
                )
            save_shards(stage)
    except Exception as caught:
        error = caught
    if not _peers_left(failed=error is not None) and error is not None:
        raise error
    with ranks.together(f"saving step {step}"):
        if error is not None:
            raise error


def _has_bytes(stage: Path) -> bool:
    return any(manifests.list_files(stage).values())


def _peers_left(failed: bool) -> bool:
    """Whether all ranks are out of `save_shards`; only a rank that failed waits to know.

    A save has collectives of its own (DeepSpeed's ends with a barrier). A rank that failed must not meet peers that
    wait in one of those with a collective of ours: all would hang. So ranks say through the store that they are out.
    While the others are not, the failed one has to end with its error: the end of its process is what frees them.
    """
    if not dist.is_initialized():
        return True
    store = dist.distributed_c10d._get_default_store()  # no public name for the store that the group was made with
    save = next(_saves)
    keys = [f"jpo/out-of-save/{save}/{r}" for r in range(ranks.num_ranks())]
    store.set(keys[ranks.rank()], "out")
    if failed:
        try:
            store.wait(keys, timedelta(seconds=PEERS_LEAVE_S))
        except RuntimeError:
            return False
    return True


def _digests(run_dir: Path, stage: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Sync and digest every file of the stage; returns (files of the manifest, number of ranks).

    Ranks share one folder, so none knows which files are its own. After all have written, each host syncs every file
    (only the host that wrote it has anything left to write), its ranks taking turns. Then the files that any rank sees
    (a network disk may show one of them less) are dealt out, each to one rank, to be read and digested.
    """
    with ranks.together("listing the shards"):
        mine = manifests.list_files(stage)
    seen = ranks.gather((socket.gethostname(), mine))
    me = ranks.rank() if len(seen) > 1 else 0
    sizes = {name: size for _, listing in seen for name, size in listing.items()}
    here = [r for r, (host, _) in enumerate(seen) if host == seen[me][0]]
    part: dict[str, dict[str, Any]] = {}
    with ranks.together("writing the shards to disk"), _disk_full_explained(run_dir, stage):
        irregular = [name for name, size in sizes.items() if size < 0]
        if irregular or not sizes:
            raise CheckpointError(f"a commit is made of files, save_shards made {irregular or 'none'}")
        for name in sorted(sizes)[here.index(me) :: len(here)]:
            sync_file(stage / name)
    with ranks.together("digesting the shards"):
        for name in manifests.files_by_rank(sizes, len(seen))[me]:
            part[name] = size_and_digests(stage / name, "sha256", "xxh3")
    return {name: file for one in ranks.gather(part) for name, file in one.items()}, len(seen)
