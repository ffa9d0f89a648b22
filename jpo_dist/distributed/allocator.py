"""glibc's allocator, set so that freed tensors make room for the next ones."""

import ctypes
import os
from contextlib import suppress

NO_TCACHE = "glibc.malloc.tcache_count=0"
"""In GLIBC_TUNABLES of a process: see keep_freed_memory."""


def keep_freed_memory() -> None:
    """Have glibc keep freed tensors for the next ones. Without glibc nothing happens.

    Left alone it gives every page back and faults it in again, a fifth of a CPU step.

    Kept memory can fragment. Tensors are aligned, and glibc before 2.38 cuts the unaligned end off each one's block.
    Where threads keep these small pieces for themselves (`tcache`), a freed block never merges with its piece again and
    is too small for the next tensor of the same size: SmolLM2-135M took 0.1 GB more a second. Only the environment of
    a new process can switch `tcache` off (launcher/allocator.py). Where it is on, large tensors are given back.
    """
    fits = NO_TCACHE in os.environ.get("GLIBC_TUNABLES", "")
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        fast_bins, trim_threshold, mmap_threshold = 1, -1, -3  # M_MXFAST, M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        libc.mallopt(fast_bins, 0)  # they keep such pieces too
        libc.mallopt(mmap_threshold, 2**27 if fits else 2**22)
        libc.mallopt(trim_threshold, 2**29)


def trim() -> None:
    """Have glibc give back what is free now. Without glibc nothing happens."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
