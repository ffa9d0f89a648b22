"""The shards of one number of ranks, made into shards for any other by DeepSpeed's universal conversion.

ZeRO cuts weights and optimizer state into as many parts as there are ranks. The conversion puts every parameter
together again, one file each for its weights and its two moments; every rank then reads its new part of each. It runs
once, before a model is loaded, in a process of its own: its memory is gone when training begins.

The result serves the start that made it and no other: it lies under a name that no reader looks for and that the next
start deletes, so a half-converted folder can never be taken for a commit.
"""

import logging
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from jpo_dist.checkpoint import run_folder
from jpo_dist.checkpoint.commit import CheckpointError, Commit, DiskFullError
from jpo_dist.checkpoint.manifest import list_files
from jpo_dist.distributed import ranks
from jpo_dist.distributed.fault_injection import fault_during

logger = logging.getLogger(__name__)

# 1, 9: PR_SET_PDEATHSIG, SIGKILL. A killed rank must not leave a process behind that writes into its run folder.
CONVERTER = """
import ctypes, runpy
ctypes.CDLL(None).prctl(1, 9)
runpy.run_module("deepspeed.checkpoint.ds_to_universal", run_name="__main__", alter_sys=True)
"""
SHARDS = "engine"  # the folder of DeepSpeed's shards inside a commit; engine.TAG, without importing deepspeed


def reshape(commit: Commit) -> Path:
    """A folder that `Engine.load(folder, universal=True)` reads, made from `commit`. All ranks call it.

    `commit` must have been verified: its shards are unpickled. Delete the folder with `discard` once it is loaded.
    """
    token = ranks.broadcast(uuid.uuid4().hex[:8])
    # `.old-`: what attempt opens next sweeps it, whatever became of this one.
    folder = commit.path.with_name(f".old-reshaped-{commit.path.name}-{token}")
    started = time.monotonic()
    # Rank 0 may be at it for minutes, longer than a collective may last.
    ranks.unhurried("converting the shards", lambda: _convert(commit, folder) if ranks.rank() == 0 else None)
    with ranks.together("looking for the converted shards"):
        if not run_folder.appears(folder / SHARDS / "zero" / "optimizer_state.pt"):
            raise CheckpointError(f"{folder} is not there; is run.dir on a disk that all hosts share?")
    if ranks.rank() == 0:
        logger.info(
            "converted step %d from %d to %d ranks in %.1f s (%.0f MB)",
            commit.step, commit.num_ranks, ranks.num_ranks(), time.monotonic() - started, commit.bytes / 1e6,
        )  # fmt: skip
    return folder


def discard(folder: Path) -> None:
    """Delete what `reshape` made, when all ranks have read it."""
    ranks.barrier()
    if ranks.rank() == 0:
        run_folder.remove(folder)


def bytes_needed(commit: Commit) -> int:
    """Most disk a conversion takes at once: every fragment and the parameter made of it, and rank 0's state."""
    return round((2 + 1 / commit.num_ranks) * commit.bytes * 1.05)


def _convert(commit: Commit, folder: Path) -> None:
    run_dir = commit.path.parent.parent
    free = run_folder.free_bytes(run_dir)
    if free is not None and free < bytes_needed(commit):
        raise DiskFullError(
            f"no room on the disk of run.dir ({run_dir}) to convert {commit.path.name} from {commit.num_ranks} to "
            f"{ranks.num_ranks()} ranks: it needs {bytes_needed(commit) / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are "
            f"free. Free space, or set cluster.workers={commit.num_ranks}"
        )
    workers = str(min(4, len(os.sched_getaffinity(0))))
    # Relative names: the converter takes its paths for patterns, and run.dir may have a + or a [ in it. -P: its
    # working folder is no place to import from.
    command = [
        sys.executable, "-P", "-c", CONVERTER, "--input_folder", f"{commit.path.name}/{SHARDS}",
        "--output_folder", f"{folder.name}/{SHARDS}", "--inject_missing_state",
        "--num_extract_workers", workers, "--num_merge_workers", workers,
    ]  # fmt: skip
    with fault_during("reshape:mid", commit.step, lambda: folder.exists() and any(list_files(folder).values())):
        done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        run_folder.remove(folder)
        last = " ".join(done.stderr.strip().splitlines()[-1:])
        raise CheckpointError(
            f"{commit.path.name} could not be converted from {commit.num_ranks} to {ranks.num_ranks()} ranks "
            f"(exit code {done.returncode}): {last}; set cluster.workers={commit.num_ranks} to go on without that"
        )
