"""What training adds to the memory of a process that has imported the same and joined the same group."""

import ctypes
import gc
from pathlib import Path
from typing import Any

from jpo_dist.config.run import JpoConfig


def resident(name: str) -> int:
    """VmRSS, or VmHWM: the most since `forget_peak`. Bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def resident_of(name: str) -> int:
    """Bytes that are resident of mapped files with `name` in their path; unnamed ones are `#NUMBER` in their folder."""
    total, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            counts = name in line
        elif counts and first == "Rss:":
            total += 1024 * int(rest[0])
    return total


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def training_peak(config: JpoConfig, steps: int) -> dict[str, Any]:
    """Bytes above the idle process: while training `steps` steps (`peak`), and before them (`stays`)."""
    from jpo_dist.model.engine import connect
    from jpo_dist.train.loop import take_step
    from jpo_dist.train.setup import set_up

    connect(120)
    # Threads and first calls of the libraries are the process's, not the model's.
    import torch

    (torch.randn(64, 64, requires_grad=True) @ torch.randn(64, 64)).sum().backward()
    gc.collect()
    idle = resident("VmRSS")
    setup = set_up(config)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    stays = resident("VmRSS") - idle
    forget_peak()
    for step in list(setup.plan.steps())[:steps]:
        take_step(setup, step)
    return {"peak": resident("VmHWM") - idle, "stays": stays}
