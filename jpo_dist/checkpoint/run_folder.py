"""Attempts and commits as files of one run. Local file operations only: rank 0's part of commit.py.

<run.dir>/attempts/000007                        one file a start of the run; only the highest may commit
<run.dir>/checkpoints/.stage-000007/step-...     being written; a commit that fails is dropped here
<run.dir>/checkpoints/step-00000040              a commit; complete, because it got its name by one rename
<run.dir>/checkpoints/bad-step-00000040-1        a commit that no longer verifies, set aside
<run.dir>/checkpoints/.old-...                   on its way out; under its own name nothing is ever half deleted
<run.dir>/checkpoints/.old-reshaped-...          a commit converted for the ranks of one start (reshard.py)
<run.dir>/checkpoints/.old-fetched-...           a commit on its way here from checkpoint.storage (upload.py)
"""

import errno
import itertools
import json
import logging
import os
import re
import resource
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

from jpo_dist.checkpoint import manifest as manifests
from jpo_dist.checkpoint.manifest import Manifest, ManifestError
from jpo_dist.files import sync_folder
from jpo_dist.run_dir import ATTEMPTS, CHECKPOINTS

logger = logging.getLogger(__name__)

SPACE_FACTOR = 1.2
"""A commit starts only with this many times the size of the last one free."""


def attempt_file(run_dir: Path, attempt: int) -> Path:
    """The file that says that `attempt` has started."""
    return run_dir / ATTEMPTS / f"{attempt:06d}"


def commit_folder(run_dir: Path, step: int) -> Path:
    """Where the commit of `step` is, or would be."""
    return run_dir / CHECKPOINTS / f"step-{step:08d}"


def stage_folder(run_dir: Path, attempt: int, step: int) -> Path:
    """Where `attempt` writes the commit of `step`: beside the commits, for a rename works on one file system only."""
    return run_dir / CHECKPOINTS / f".stage-{attempt:06d}" / commit_folder(run_dir, step).name


def claim_attempt(run_dir: Path, above: int = 0) -> int:
    """Create the file of the next attempt, above `above`; of two drivers that do this at once, each gets its own."""
    folder = run_dir / ATTEMPTS
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        attempt = max(newest_attempt(run_dir), above) + 1
        try:
            fd = os.open(attempt_file(run_dir, attempt), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            continue
        with os.fdopen(fd, "w") as file:
            json.dump({"host": socket.gethostname(), "pid": os.getpid(), "ts_ms": time.time_ns() // 1_000_000}, file)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(folder)
        return attempt


def newest_attempt(run_dir: Path) -> int:
    """The highest attempt that has started; 0 without one."""
    return max((int(name) for name in os.listdir(run_dir / ATTEMPTS) if name.isdigit()), default=0)


def appears(path: Path, patience_s: float = 10.0) -> bool:
    """Whether `path` exists; a network disk may show a name that another host made a little late."""
    deadline = time.monotonic() + patience_s
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def tidy(run_dir: Path, attempt: int) -> None:
    """Remove what attempts before `attempt` were writing or deleting; take back a replacement that stopped half-way."""
    folder = run_dir / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        stage = re.fullmatch(r"\.stage-(\d+)", path.name)
        replaced = re.fullmatch(r"\.old-replaced-(step-\d{8,})", path.name)
        if replaced and not (folder / replaced[1]).exists():
            path.rename(folder / replaced[1])
        elif (stage and int(stage[1]) < attempt) or path.name.startswith(".old-"):
            remove(path)
    sync_folder(folder)


def rename_into_place(stage: Path, final: Path) -> None:
    """Give the stage the name of a commit: from now on it counts. A commit of the same step moves away
    first; `tidy` takes it back if we die in between.
    """
    replaced = final.with_name(f".old-replaced-{final.name}")
    if final.exists():
        remove(replaced)
        final.rename(replaced)
    stage.rename(final)
    sync_folder(final.parent)
    remove(replaced)
    remove(stage.parent)


def commits(run_dir: Path) -> list[tuple[Path, Manifest | None]]:
    """Newest first, with manifests (None: unreadable, so its age is unknown and it comes before all others).

    Newest is by attempt, then step: what an older attempt commits at its last moment does not count over a commit of
    the attempt that took its place.
    """
    folder = run_dir / CHECKPOINTS
    found: list[tuple[Path, Manifest | None]] = []
    for path in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []:
        if re.fullmatch(r"step-\d{8,}", path.name):
            try:
                found.append((path, manifests.read(path)))
            except ManifestError:
                found.append((path, None))
            except FileNotFoundError:
                continue  # deleted since it was listed
    return sorted(found, key=lambda pair: (pair[1] is None, pair[1] and (pair[1].attempt, pair[1].step)), reverse=True)


def retain(run_dir: Path, keep: int, spare: frozenset[str] = frozenset()) -> None:
    """Delete all but the newest `keep` commits and those named in `spare`.

    One whose manifest cannot be read is neither counted nor deleted.
    """
    readable = [path for path, manifest in commits(run_dir) if manifest is not None]
    for path in (path for path in readable[max(keep, 1) :] if path.name not in spare):
        leaving = path.with_name(f".old-{path.name}")
        try:
            remove(leaving)
            path.rename(leaving)
        except OSError as error:
            logger.warning("old checkpoint %s could not be deleted: %s", path, error)
        remove(leaving)


def set_aside(path: Path) -> Path | None:
    """Rename a commit to `bad-<name>-<n>`; None when it is gone."""
    for n in itertools.count(1):
        bad = path.with_name(f"bad-{path.name}-{n}")
        if not bad.exists():
            break
    try:
        path.rename(bad)
    except FileNotFoundError:
        return None
    sync_folder(path.parent)
    return bad


def bad_commits(run_dir: Path) -> list[str]:
    """Names of the commits that were set aside, by this attempt or an earlier one."""
    return sorted(path.name for path in (run_dir / CHECKPOINTS).glob("bad-step-*"))


def drop_stage(run_dir: Path, attempt: int) -> None:
    """Remove what this attempt was writing.

    Empties the files first: a failed writer may still hold one open, and the disk would stay full for as long as its
    error is being handled.
    """
    stage = stage_folder(run_dir, attempt, 0).parent
    for parent, _, names in os.walk(stage):
        for name in names:
            path = Path(parent) / name
            if not path.is_symlink():
                with suppress(OSError):
                    os.truncate(path, 0)
    remove(stage)


def remove(path: Path) -> None:
    """Delete a folder."""
    # What cannot be deleted now (files still open on NFS, an older attempt writing into it) the next `tidy` deletes.
    shutil.rmtree(path, ignore_errors=True)


# -- room on the disk


def last_bytes(run_dir: Path) -> int:
    """Size of the newest readable commit, 0 without one."""
    return next((manifest.bytes for _, manifest in commits(run_dir) if manifest is not None), 0)


def free_bytes(run_dir: Path) -> int | None:
    """Bytes free for commits; None where the file system does not tell."""
    folder = run_dir / CHECKPOINTS
    status = os.statvfs(next(path for path in [folder, *folder.parents] if path.exists()))
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def has_room(run_dir: Path) -> bool:
    """Whether a commit the size of the last one fits, with a margin."""
    free = free_bytes(run_dir)
    return free is None or free >= SPACE_FACTOR * last_bytes(run_dir)


def is_disk_full(run_dir: Path, stage: Path, error: BaseException) -> bool:
    """Whether `error` came from a full disk. torch says only "unexpected pos" then, so what is free counts too."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        cause = cause.__cause__ or cause.__context__
    free = free_bytes(run_dir)
    return free is not None and free < max(1 << 20, last_bytes(run_dir) - _staged_bytes(stage))


def cut_by_limit(stage: Path) -> Path | None:
    """A file of the stage that is as large as this process may make one (`ulimit -f`): what ended the save, which torch
    does not say."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if most == resource.RLIM_INFINITY or not stage.is_dir():
        return None
    return next((path for path in stage.rglob("*") if path.is_file() and path.stat().st_size >= most), None)


def disk_message(run_dir: Path, stage: Path) -> str:
    """What a person is told when a commit does not fit: what it needs, what is free, what is safe, what to do."""
    last, free, staged = last_bytes(run_dir), free_bytes(run_dir), _staged_bytes(stage)
    needed = f"about {_mib(SPACE_FACTOR * last)} (1.2 x the last commit)" if last else f"more than {_mib(staged)}"
    kept = next((path.name for path, manifest in commits(run_dir) if manifest is not None), None)
    return (
        f"no room for a commit on the disk of run.dir ({run_dir}): it needs {needed}, {_mib(free or 0)} are free"
        + (f" with {_mib(staged)} of it written" if staged else "")
        + (f"; {kept} is intact" if kept else "")
        + ". Free space, lower checkpoint.keep, or use another disk"
    )


def _staged_bytes(stage: Path) -> int:
    try:
        return sum(manifests.list_files(stage).values())
    except OSError:
        return 0


def _mib(count: float) -> str:
    return f"{count / 2**20:.1f} MiB"
