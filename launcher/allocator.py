"""A process whose memory allocator suits tensors. glibc reads its settings once, when a process starts."""

import os
import sys

from jpo_dist.distributed.allocator import NO_TCACHE

COMPUTING = {"train", "sft", "evaluate", "score", "generate", "judge", "winrate", "bench"}
TUNABLES = "GLIBC_TUNABLES"


def begin_again(arguments: list[str]) -> None:
    """Start this process anew with glibc set as in Ray's workers, if `arguments` name a command that computes.

    Pid and command line stay the same, and so does what the person has set in GLIBC_TUNABLES. The reason for it stands
    in jpo_dist.distributed.allocator.keep_freed_memory.
    """
    if sys.platform == "linux" and set(arguments[:1]) & COMPUTING and TUNABLES not in os.environ:
        os.environ[TUNABLES] = NO_TCACHE
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
