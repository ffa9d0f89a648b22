"""glibc's allocator, set so that freed tensors make room for the next ones."""

import ctypes
import os
from contextlib import suppress

NO_TCACHE = "glibc.malloc.tcache_count=0"
"""In GLIBC_TUNABLES of a process: see keep_freed_memory."""


def keep_freed_memory() -> None:
    """Have glibc keep freed tensors for the next ones instead of giving every page back and faulting it in again, a
    fifth of a CPU step. Without glibc nothing happens.

    Tensors are aligned, and glibc before 2.38 cuts a splinter off each. Where threads keep splinters for themselves
    (`tcache`, which only the environment of a new process can switch off: launcher/allocator.py), a freed tensor never
    merges with its own again, and the next one of the same size does not fit: SmolLM2-135M took 0.1 GB more a second.
    There, large tensors have to be faulted in anew.
    """
    fits = NO_TCACHE in os.environ.get("GLIBC_TUNABLES", "")
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        fast_bins, trim_threshold, mmap_threshold = 1, -1, -3  # M_MXFAST, M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        libc.mallopt(fast_bins, 0)  # another keeper of splinters
        libc.mallopt(mmap_threshold, 2**27 if fits else 2**22)
        libc.mallopt(trim_threshold, 2**29)
