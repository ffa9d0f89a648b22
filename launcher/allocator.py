"""A process whose memory allocator suits tensors: its settings are read once, when a process starts."""

import os
import sys

from jpo_dist.distributed.allocator import NO_TCACHE

COMPUTING = {"train", "evaluate", "judge", "bench"}
TUNABLES = "GLIBC_TUNABLES"


def begin_again(arguments: list[str]) -> None:
    """Put this process in place of itself, with glibc set as in Ray's workers, if `arguments` are of a command that
    computes. Same pid, same command line. What the person has set in GLIBC_TUNABLES stays as it is.

    See jpo_dist.distributed.allocator.keep_freed_memory for what it is good for.
    """
    if sys.platform == "linux" and set(arguments[:1]) & COMPUTING and TUNABLES not in os.environ:
        os.environ[TUNABLES] = NO_TCACHE
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
