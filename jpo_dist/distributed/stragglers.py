"""How fast each rank works, and which one holds up the others.

Ranks run in lock step: the time of a step is that of the slowest rank. What tells them apart is the share of it that a
rank does not wait for others (watchdog.py looks a few times a second). On a GPU the host runs ahead of the device, and
this shows slow hosts, not slow devices.
"""

import statistics
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

WINDOW_S = 10.0
"""How long the ranks are looked at before they are compared."""
SLOW, IN_A_ROW = 1.3, 3
"""A rank is a straggler when the median rank has been so many times as fast in so many windows in a row."""


class Pulse(NamedTuple):
    """What a rank tells the others."""

    beat: int = 0
    calls: int = 0
    """Collectives begun so far, in all groups."""
    step: int = 0
    where: str = ""
    """Where in the code its training thread is."""
    work_s: float = 0.0
    """Time inside steps so far that it did not wait for others."""
    step_s: float = 0.0
    """Time inside steps so far."""
    tokens: int = 0
    """Tokens of its own items in the steps done."""
    host_metrics: Mapping[str, float] = MappingProxyType({})
    """Numbers of its host (host_metrics.py); one rank of each host has them."""


class RankSpeeds:
    """Compares the ranks' pulses window by window: how fast each rank is, and which one holds up the others."""

    def __init__(self, hosts: list[str]) -> None:
        self.hosts, self.begin, self.since = hosts, list[Pulse](), time.monotonic()
        self.slow_windows = [0] * len(hosts)

    def take(self, pulses: list[Pulse]) -> tuple[dict[str, float], list[str]]:
        """Metrics and messages, at the end of a window in which every rank has finished steps; else none."""
        if self.begin and time.monotonic() - self.since < WINDOW_S:
            return {}, []
        work_S = [now.work_s - then.work_s for now, then in zip(pulses, self.begin, strict=False)]
        tokens_S = [now.tokens - then.tokens for now, then in zip(pulses, self.begin, strict=False)]
        if self.begin and not all(work > 0 and tokens > 0 for work, tokens in zip(work_S, tokens_S, strict=True)):
            return {}, []
        begin, self.begin, self.since = self.begin, pulses, time.monotonic()
        if not begin:
            return {}, []
        speeds = [tokens / work for tokens, work in zip(tokens_S, work_S, strict=True)]
        steps_s = sum(now.step_s - then.step_s for now, then in zip(pulses, begin, strict=True))
        waiting = 1 - sum(work_S) / steps_s
        return self._metrics(speeds, waiting), self._stragglers(speeds, waiting)

    def _metrics(self, speeds: list[float], waiting: float) -> dict[str, float]:
        """Tokens a second of a rank's own work, the time that it waits for others left out; of a host, of its ranks."""
        of_ranks = {f"perf/rank_tokens_per_second/{rank}": speed for rank, speed in enumerate(speeds)}
        of_hosts: dict[str, float] = {}
        for host, speed in zip(self.hosts, speeds, strict=True):
            name = f"perf/host_tokens_per_second/{host}"
            of_hosts[name] = of_hosts.get(name, 0.0) + speed
        return {**of_ranks, **of_hosts, "perf/waiting_share": waiting}

    def _stragglers(self, speeds: list[float], waiting: float) -> list[str]:
        usual, said = statistics.median_high(speeds), []
        for rank, speed in enumerate(speeds):
            self.slow_windows[rank] = self.slow_windows[rank] + 1 if usual / speed > SLOW else 0
            if self.slow_windows[rank] == IN_A_ROW:
                said.append(
                    f"rank {rank} ({self.hosts[rank]}) is a straggler: the median rank is "
                    f"{usual / speed:.1f} times as fast, ranks wait for {waiting:.0%} of their steps. Look for other "
                    "load, throttling or a slow disk on its host"
                )
        return said
