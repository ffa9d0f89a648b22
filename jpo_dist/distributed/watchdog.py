"""The watchdog: beside training, one thread a rank finds whom a collective waits for and how fast each rank is.

Ranks tell each other through the store that their process group was made with, over a connection of its own: it
answers while a collective is stuck, and no step waits for it. No collective is used, nothing on a device is read.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch.distributed as dist

from jpo_dist.distributed import ranks
from jpo_dist.distributed.host_metrics import HostMetrics
from jpo_dist.distributed.notices import notify
from jpo_dist.distributed.stragglers import Pulse, RankSpeeds

LOOK_S, BEAT_S = 0.1, 2.0
"""How often the thread looks at training, and tells the others."""
STORE_S = 5.0
"""How long the store may take to answer."""
SILENT = "gives no sign of life: stopped, gone or cut off"


class Watch:
    """Made by `watching`. `step` goes around each step; `numbers` gives what was measured since the last time."""

    def __init__(self, run_dir: Path, hosts: list[str], stuck_s: float, system_metrics: bool) -> None:
        self.run_dir, self.hosts, self.stuck_s = run_dir, hosts, stuck_s
        self.finding = ""
        """Says whom a collective waits for, until the next one begins or the step ends; else empty."""
        self._told = False  # by this rank
        self._rank, self._training = ranks.rank(), threading.get_ident()
        self._store = _default_store().clone()
        self._store.set_timeout(timedelta(seconds=STORE_S))
        reads_host = system_metrics and hosts.index(hosts[self._rank]) == self._rank  # the first rank of each host
        self._host_metrics = HostMetrics(run_dir) if reads_host else None
        self._in_step, self._step, self._tokens, self._work_s, self._step_s = False, 0, 0, 0.0, 0.0
        self._steps_done, self._progress, self._since = 0, (-1, 0), time.monotonic()
        self._first_look: list[Pulse] = []
        self._speeds = RankSpeeds(hosts)
        self._numbers: dict[str, float] = {}
        self._lock = threading.Lock()
        self._host_metrics_seen: dict[int, Mapping[str, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._beat = 0

    # ---- for the training thread

    @contextmanager
    def step(self, index: int, tokens: int) -> Iterator[None]:
        """Around step `index` (from 0); `tokens` of it are this rank's."""
        self._step, self._in_step = index + 1, True
        try:
            yield
        finally:
            self._in_step = False
        self._tokens += tokens
        self._steps_done += 1

    def numbers(self) -> dict[str, float]:
        """`perf/...` by rank and host and `system/...`, if there are new ones; rank 0 has them."""
        with self._lock:  # the thread may be adding to them
            numbers, self._numbers = self._numbers, {}
        return numbers

    def start(self) -> None:
        """Begin to watch the thread that made this."""
        self._thread.start()

    def stop(self) -> None:
        """End the watching thread, or leave it to itself where the store does not answer."""
        self._stop.set()
        self._thread.join(timeout=2 * STORE_S)

    # ---- the thread

    def _run(self) -> None:
        now, told = time.monotonic(), float("-inf")
        while not self._stop.wait(LOOK_S):
            before, now = now, time.monotonic()
            frame = sys._current_frames().get(self._training)
            waits = frame is not None and waits_for_others(frame)
            if self._in_step:
                self._step_s += now - before
                self._work_s += 0.0 if waits else now - before
            if now - told >= BEAT_S:
                told = now
                self._tell(where_in(frame) if frame else "", waits)

    def _tell(self, where: str, waits: bool) -> None:
        self._beat += 1
        calls = collectives_begun()
        # That a collective is over is no progress: it may have failed, and its error has to find the finding.
        progress = (calls, self._steps_done)
        if progress != self._progress:
            self._progress, self._since = progress, time.monotonic()
            if self.finding:
                self._found("")
        host_metrics = self._host_metrics.read() if self._host_metrics else {}
        mine = Pulse(self._beat, calls, self._step, where, self._work_s, self._step_s, self._tokens, host_metrics)
        unchanged_s = time.monotonic() - self._since
        try:
            self._store.set(_key(self._rank), json.dumps(mine))
            if self._rank == 0:
                self._compare(self._others())
            self._look_around(unchanged_s, waits)
        except RuntimeError as error:  # rank 0's host keeps the store
            if unchanged_s > self.stuck_s and not self.finding:
                gone = f"rank 0 ({self.hosts[0]}) {SILENT} ({error})"
                self._found(gone, tell=self._rank == 1)

    def _others(self) -> list[Pulse]:
        """The newest pulse of every rank; beat 0 of those that have never told anything."""
        keys = [_key(rank) for rank in range(len(self.hosts))]
        if self._store.check(keys):
            return [Pulse(*json.loads(told)) for told in self._store.multi_get(keys)]
        return [Pulse(*json.loads(self._store.get(key))) if self._store.check([key]) else Pulse() for key in keys]

    def _compare(self, pulses: list[Pulse]) -> None:
        numbers, said = self._speeds.take(pulses)
        for rank, pulse in enumerate(pulses):
            if pulse.host_metrics != self._host_metrics_seen.get(rank, {}):
                self._host_metrics_seen[rank] = pulse.host_metrics
                place = f"system/{self.hosts[rank]}/" if len(set(self.hosts)) > 1 else "system/"
                numbers |= {place + name: value for name, value in pulse.host_metrics.items()}
        with self._lock:
            self._numbers |= numbers
        for text in said:
            notify(self.run_dir, text)

    def _look_around(self, unchanged_s: float, waits: bool) -> None:
        """Say once, by the lowest of the ranks that are farthest, whom they wait for.

        Whether this one `waits` need not be known for that: on a GPU nothing shows it.
        """
        if unchanged_s < self.stuck_s / 2:
            self._first_look = []
        elif not self._first_look:
            self._first_look = self._others()
        elif unchanged_s >= self.stuck_s and not self.finding:
            pulses = self._others()
            farthest = [rank for rank, pulse in enumerate(pulses) if pulse.calls == max(one.calls for one in pulses)]
            who = missing(self._first_look, pulses, self.hosts)
            if not who and waits:
                who = "all ranks have arrived: the network between them is stuck or slow"
            if who and self._rank in farthest:
                self._found(who, tell=farthest[0] == self._rank)

    def _found(self, who: str, *, tell: bool = False) -> None:
        seconds = time.monotonic() - self._since
        text = f"step {self._step}: a collective has been waiting for {seconds:.0f} s; {who}" if who else ""
        if tell:
            notify(self.run_dir, text)
        elif not who and self._told:
            notify(self.run_dir, f"step {self._step}: all ranks have arrived, it goes on")
        self.finding, self._told = text, tell


@contextmanager
def watching(run_dir: Path, hosts: list[str], timeout_s: float, system_metrics: bool) -> Iterator[Watch]:
    """Watch the block, which runs in this thread, from another one. An error that leaves it says whom it waited for.

    `hosts`: the address of every rank. `timeout_s`: after what time a collective fails; ranks that are missing are
    named well before.
    """
    watch = Watch(run_dir, hosts, min(60.0, timeout_s / 3), system_metrics)
    watch.start()
    try:
        yield watch
    except BaseException as error:
        if watch.finding:
            error.add_note(watch.finding)
        raise
    finally:
        watch.stop()


def _default_store() -> Any:
    return dist.distributed_c10d._get_default_store()  # as in checkpoint/commit.py: it has no public name


def _key(rank: int) -> str:
    return f"jpo/pulse/{rank}"


# ---- looking at a rank


def collectives_begun() -> int:
    """How many collectives this rank has begun, in all groups. The same number on all ranks once they have arrived."""
    groups: list[Any] = list(dist.distributed_c10d._world.pg_map)  # the sequence numbers have no public name
    return sum(group._get_sequence_number_for_group() for group in groups)


def waits_for_others(frame: FrameType) -> bool:
    """Whether a thread with this innermost frame is inside a collective, or waits for one that it has begun."""
    file, name = frame.f_code.co_filename, frame.f_code.co_name
    return "/torch/distributed/" in file or "/deepspeed/comm/" in file or (name == "wait" and "/deepspeed/" in file)


def where_in(frame: FrameType) -> str:
    """Function, file and line where a thread is: in our code, and below that if it is deeper."""
    ours: FrameType | None = frame
    while ours is not None and "/jpo_dist/" not in ours.f_code.co_filename:
        ours = ours.f_back
    places = [_place(one) for one in ([ours] if ours is frame else [ours, frame]) if one is not None]
    return ", in ".join(places)


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"


def missing(before: list[Pulse], now: list[Pulse], hosts: list[str]) -> str:
    """Which ranks have not begun the collective that others have, and what they do instead; empty: none is missing."""
    most = max(pulse.calls for pulse in now)
    late = [rank for rank, pulse in enumerate(now) if pulse.calls < most]
    silent = [rank for rank, pulse in enumerate(now) if before and pulse.beat == before[rank].beat]
    said = [f"rank {r} ({hosts[r]}) {SILENT}" for r in silent]
    said += [f"rank {r} ({hosts[r]}) has not arrived, it is in {now[r].where}" for r in late if r not in silent]
    return "; ".join(said)
