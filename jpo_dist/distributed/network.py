"""The network between the ranks: what carries the collectives and how fast, measured once, at the start."""

import os
import time
from collections import Counter
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
import torch.distributed as dist

from jpo_dist.distributed import ranks

FIRST_BYTES, MOST_BYTES, SECONDS = 2**18, 2**27, 0.2
"""The all-gather that is timed: first with so few bytes of each rank, then with as many as take about SECONDS, but not
more than MOST_BYTES of all together."""


def network_facts(hosts: list[str], device: torch.device) -> dict[str, Any]:
    """Backend, interfaces, and a measured all-gather. The same on all ranks, which call it together.

    `hosts`: address of every rank, also in the result. `gather_gb_per_s`: bytes that each rank received from others in
    an all-gather, over its seconds (the rate that decides what ZeRO-3 costs). `latency_ms`: an all-reduce of a number.
    """
    seen = ranks.gather(_interface(hosts[ranks.rank()]))
    facts: dict[str, Any] = {
        "hosts": hosts,
        "interfaces": {host: name for host, (name, _) in zip(hosts, seen, strict=True)},
        "link_megabits": {host: speed for host, (_, speed) in zip(hosts, seen, strict=True)},
        "backend": dist.get_backend() if dist.is_initialized() else "none",
    }
    if facts["backend"] == "nccl":
        facts["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[no-untyped-call]
        facts["nccl_env"] = {name: value for name, value in sorted(os.environ.items()) if name.startswith("NCCL_")}
    if ranks.num_ranks() > 1:
        facts |= {"latency_ms": _latency(device) * 1e3, "gather_gb_per_s": _gather_rate(device) / 1e9}
    return facts


def in_words(facts: dict[str, Any]) -> str:
    """One line for people; empty for one rank."""
    if "latency_ms" not in facts:
        return ""
    a_host = sorted(set(Counter(facts["hosts"]).values()))
    interfaces = sorted({name for name in facts["interfaces"].values() if name})
    speeds = sorted({speed for speed in facts["link_megabits"].values() if speed})
    version = f" {facts['nccl']}" if "nccl" in facts else ""
    over = f" over {'/'.join(interfaces)}" if interfaces else ""
    nominal = f" (nominally {'/'.join(f'{speed / 1000:g}' for speed in speeds)} Gb/s)" if speeds else ""
    hosts = len(set(facts["hosts"]))
    placed = f"{hosts} hosts ({'/'.join(map(str, a_host))} on each)" if hosts > 1 else "one host"
    return (
        f"{len(facts['hosts'])} ranks on {placed}, {facts['backend']}{version}{over}{nominal}: all-gather "
        f"{facts['gather_gb_per_s']:.2g} GB/s a rank, all-reduce of one number {facts['latency_ms']:.2g} ms"
    )


def _interface(address: str) -> tuple[str, int]:
    """Name and nominal speed in Mb/s (0: unknown) of the interface that carries this host's address."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.split("%")[0] == address for one in addresses):
            return str(name), int(psutil.net_if_stats()[name].speed)
    return "", 0


def _latency(device: torch.device) -> float:
    """Seconds of the fastest of a few all-reduces of one number, on the slowest rank."""
    return _slowest(min(_timed(lambda: ranks.all_reduce_sum(torch.ones(1, device=device)), device) for _ in range(5)))


def _gather_rate(device: torch.device) -> float:
    """Bytes a second that reach a rank from the others in an all-gather."""
    size, others = FIRST_BYTES, ranks.num_ranks() - 1
    seconds = _gather(size, device)
    bigger = int(min(MOST_BYTES / ranks.num_ranks(), size * SECONDS / seconds))
    if bigger > 2 * size:
        size, seconds = bigger, _gather(bigger, device)
    return others * size / seconds


def _gather(size: int, device: torch.device) -> float:
    mine = torch.zeros(size, dtype=torch.uint8, device=device)
    whole = torch.empty(size * ranks.num_ranks(), dtype=torch.uint8, device=device)

    def gather() -> None:
        dist.all_gather_single(whole, mine)

    return _slowest(min(_timed(gather, device) for _ in range(2)))


def _slowest(seconds: float) -> float:
    """Equal on all ranks, so that all choose the same next size."""
    return max(ranks.gather(seconds))


def _timed(work: Any, device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
