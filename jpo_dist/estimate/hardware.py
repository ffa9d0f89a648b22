"""Speeds of devices and links, with where the numbers are from. Peaks are the makers'; what is reached is an assumption
that one measured step replaces: `perf/tokens_per_second` of a run says what it is on your machines."""

import os
import re
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

GIB = 2**30
REACHED = 0.4
"""Share of a device's peak that a training step reaches on real tokens."""
OF_LINE_RATE = 0.8
"""Share of a link's line rate that a collective reaches."""


class Device(NamedTuple):
    """What one rank computes with."""

    name: str
    bfloat16: float
    """Peak FLOP/s of dense products."""
    float32: float
    memory: float
    """Bytes that it has."""
    bandwidth: float
    """Bytes/s of that memory."""
    overlaps: bool = True
    """Whether communication runs beside computation."""
    source: str = ""
    """Where the numbers are from."""

    def reached(self, dtype: torch.dtype) -> float:
        """FLOP/s of products in `dtype` to reckon with."""
        return REACHED * (self.bfloat16 if dtype == torch.bfloat16 else self.float32)


DEVICES = {
    device.name: device
    for device in (
        Device("h100", 989e12, 67e12, 80e9, 3.35e12, source="NVIDIA H100 SXM data sheet"),
        Device("h200", 989e12, 67e12, 141e9, 4.8e12, source="NVIDIA H200 SXM data sheet"),
        Device("b200", 2250e12, 80e12, 180e9, 7.7e12, source="NVIDIA HGX B200 data sheet, an eighth"),
        Device("a100", 312e12, 19.5e12, 80e9, 2.04e12, source="NVIDIA A100 80GB SXM data sheet"),
        Device("a100-40gb", 312e12, 19.5e12, 40e9, 1.56e12, source="NVIDIA A100 40GB SXM data sheet"),
        Device("l40s", 362e12, 91.6e12, 48e9, 0.86e12, source="NVIDIA L40S data sheet"),
    )
}


class Link(NamedTuple):
    """What carries a rank's part of a collective."""

    name: str
    rate: float
    """Bytes/s that a rank sends, and receives, in a collective."""
    source: str


LINKS = {
    link.name: link
    for link in (
        Link("nvlink", 300e9, "NVLink 4: 450 GB/s a direction on the data sheet, two thirds of it reached"),
        Link("loopback", 0.17e9, "gloo all-gather of 100 MB, two processes of a busy 2-core machine"),
    )
}
STATED = ("nvlink", "400Gb", "100Gb", "100Gb/8")
"""The links of the extrapolation: in the node, two network cards, and a card that the eight GPUs of a node share."""


def link_of(text: str) -> Link:
    """The link that `text` names: `nvlink`, `loopback`, `400Gb` for each rank, `100Gb/8` shared by 8 ranks.

    Raises ValueError for any other text.
    """
    if text in LINKS:
        return LINKS[text]
    found = re.fullmatch(r"(\d+(?:\.\d+)?)Gb(?:/(\d+))?", text)
    if not found or not float(found[1]) or found[2] == "0":
        raise ValueError(
            f"network ({text}) is {', '.join(LINKS)}, or a line rate: 400Gb for each rank, 100Gb/8 shared by 8"
        )
    shared = int(found[2] or 1)
    rate = OF_LINE_RATE * float(found[1]) * 1e9 / 8 / shared
    return Link(text, rate, f"{found[1]} Gb/s line rate{f' shared by {shared}' if shared > 1 else ''}, 80 % reached")


def device_of(text: str, threads: int, ranks_here: int) -> Device:
    """The device that `text` names, or for `cpu` this machine, measured in about a second with so many `threads` of a
    rank and its memory shared by `ranks_here`. Raises ValueError for a name that is none."""
    if text == "cpu":
        return measured(threads, ranks_here)
    if text not in DEVICES:
        raise ValueError(f"device ({text}) is none of cpu, {', '.join(DEVICES)}; name the nearest")
    return DEVICES[text]


def measured(threads: int, ranks_here: int) -> Device:
    """This machine as a device: products and copies of `threads` threads, memory shared by `ranks_here` ranks."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1)))
    try:
        half, single = _products(torch.bfloat16), _products(torch.float32)
        block = torch.ones(2**25)
        copy_s = _shortest(lambda: block.clone(), 0.2)
    finally:
        torch.set_num_threads(before)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bandwidth = 2 * block.numel() * block.element_size() / copy_s
    name = f"cpu, {threads} thread{'s' if threads > 1 else ''}"
    return Device(
        name, half, single, total / ranks_here, bandwidth, False, "measured now: products of 1024 x 1024, copies"
    )


def _products(dtype: torch.dtype) -> float:
    a = torch.randn(1024, 1024, dtype=dtype)
    return 2 * 1024**3 / _shortest(lambda: a @ a, 0.3)


def _shortest(work: Callable[[], object], seconds: float) -> float:
    """Seconds of the shortest of the calls that fit into `seconds`: other programs can only lengthen one."""
    best, end = float("inf"), 0.0
    work()
    while best == float("inf") or time.perf_counter() < end:
        end = end or time.perf_counter() + seconds
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
