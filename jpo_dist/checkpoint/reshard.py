"""A commit of one number of ranks is made into a folder for any other; the caller hands in what converts the shards.

ZeRO cuts weights and optimizer state into as many parts as there are ranks. The conversion puts every parameter
together again, one file each for its weights and its two moments; every rank then reads its new part of each. It runs
once, before a model is loaded.

The result serves the start that made it and no other: it lies under a name that no reader looks for and that the next
start deletes, so a half-converted folder can never be taken for a commit.
"""

import logging
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from jpo_dist.checkpoint import run_folder
from jpo_dist.checkpoint.commit import CheckpointError, Commit, DiskFullError
from jpo_dist.checkpoint.manifest import list_files
from jpo_dist.distributed import ranks
from jpo_dist.distributed.fault_injection import fault_during

logger = logging.getLogger(__name__)

Convert = Callable[[Path, Path, int], None]
"""Makes a folder (the second) from that of a commit, by so many processes. Raises RuntimeError. See model/engine.py."""


def reshard(commit: Commit, convert: Convert) -> Path:
    """Make a folder from `commit` that an engine loads on any number of ranks. All ranks call it, rank 0 works.

    `commit` must have been verified: its shards are unpickled. Delete the folder with `discard` once it is loaded.
    Raises DiskFullError before anything is written, and CheckpointError when the conversion fails or a rank does not
    see all of its files; PeerError on the other ranks.
    """
    token = ranks.broadcast(uuid.uuid4().hex[:8])
    # `.old-`: what attempt opens next sweeps it, whatever became of this one.
    folder = commit.path.with_name(f".old-reshaped-{commit.path.name}-{token}")
    started = time.monotonic()
    # Rank 0 may be at it for minutes, longer than a collective may last.
    made = ranks.run_without_timeout(
        "converting the shards", lambda: _convert(commit, folder, convert) if ranks.rank() == 0 else []
    )
    made = ranks.broadcast(made)
    with ranks.together("looking for the converted shards"):
        if not all(run_folder.appears(folder / name) for name in made):
            raise CheckpointError(f"{folder} is not there; is run.dir on a disk that all hosts share?")
    if ranks.rank() == 0:
        logger.info(
            "converted step %d from %d to %d ranks in %.1f s (%.0f MB)",
            commit.step, commit.num_ranks, ranks.num_ranks(), time.monotonic() - started, commit.bytes / 1e6,
        )  # fmt: skip
    return folder


def discard(folder: Path) -> None:
    """Delete what `reshard` made, when all ranks have read it."""
    ranks.barrier()
    if ranks.rank() == 0:
        run_folder.remove(folder)


def bytes_needed(commit: Commit) -> int:
    """Most disk a conversion takes at once: every fragment and the parameter made of it, and rank 0's state."""
    return round((2 + 1 / commit.num_ranks) * commit.bytes * 1.05)


def _convert(commit: Commit, folder: Path, convert: Convert) -> list[str]:
    """Names of the files that were made."""
    run_dir = commit.path.parent.parent
    free = run_folder.free_bytes(run_dir)
    if free is not None and free < bytes_needed(commit):
        raise DiskFullError(
            f"no room on the disk of run.dir ({run_dir}) to convert {commit.path.name} from {commit.num_ranks} to "
            f"{ranks.num_ranks()} ranks: it needs {bytes_needed(commit) / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are "
            f"free. Free space, or set cluster.workers={commit.num_ranks}"
        )
    try:
        with fault_during("reshape:mid", commit.step, lambda: folder.exists() and any(list_files(folder).values())):
            convert(commit.path, folder, min(4, len(os.sched_getaffinity(0))))
    except RuntimeError as error:
        run_folder.remove(folder)
        raise CheckpointError(
            f"{commit.path.name} could not be converted from {commit.num_ranks} to {ranks.num_ranks()} ranks "
            f"({error}); set cluster.workers={commit.num_ranks} to go on without that"
        ) from error
    return list(list_files(folder))
