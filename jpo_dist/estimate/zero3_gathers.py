"""How much ZeRO-3 gathers, and how much it holds at once: DeepSpeed's own bookkeeping, replayed with numbers.

Legend: P parameters of the model. There is no short formula. A parameter is gathered where a module needs it and
dropped behind it, unless it comes again within `max_reuse_distance` elements; and what the look-ahead of
`prefetch_bucket_size` elements has passed over, because it was still there, is not dropped either. Both decide whether
the backward pass gathers 1.0 P or nothing.
"""

from collections import deque
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from jpo_dist.config.engine import EngineConfig
from jpo_dist.estimate.model_shape import ModelShape, Part


class Visit(NamedTuple):
    """A module at one place in the order of calls."""

    wanted: tuple[tuple[int, int], ...]
    """(number, elements) of its parameters."""
    held: bool = False
    """Whether it waits for other modules before it is done: then none of its parameters is dropped behind it."""


class Gathered(NamedTuple):
    """What ZeRO-3 gathers in one pass, in elements."""

    total: int
    """All that all-gathers put together on a rank."""
    most: int
    """Most that is there at any time beside the rank's own partition, persistent parameters included."""


def forward_order(shape: ModelShape) -> list[Visit]:
    """The modules in the order in which a forward calls them."""
    return [_visit(part) for part in shape.calls]


def training_order(shape: ModelShape, *, recomputes: bool) -> list[Visit]:
    """The modules in the order of a forward and its backward. Below the first trained parameter there is no backward.
    `recomputes`: the backward runs each block's forward again (checkpointing)."""
    first = next(i for i, part in enumerate(shape.returns) if any(trained for _, _, trained in part.parameters))
    backward: list[Visit] = []
    for layer, parts in groupby(reversed(shape.returns[first:]), key=lambda part: part.layer):
        visits = [_visit(part) for part in parts]
        if recomputes and layer is not None:
            # The last module with parameters is called for its gradient, and then finds that all has to be run again.
            start = 1 + next(i for i, visit in enumerate(visits) if visit.wanted)
            again = [_visit(part) for part in shape.calls if part.layer == layer]
            visits = [*(visit._replace(held=True) for visit in visits[:start]), *again, *visits[start:]]
        backward += visits
    return forward_order(shape) + backward


def _visit(part: Part) -> Visit:
    return Visit(tuple((number, size) for number, size, _ in part.parameters))


def gathered(order: Sequence[Visit], engine: EngineConfig, *, known: bool = True) -> Gathered:
    """What a pass in this order gathers. `known`: DeepSpeed has seen the order twice, as from the third micro-step on.
    Until then it drops a parameter at once and never looks ahead."""
    return _Coordinator(order, engine, known).run()


class _Coordinator:
    """Replays deepspeed.runtime.zero.PartitionedParameterCoordinator (0.19.8) without the tensors."""

    def __init__(self, order: Sequence[Visit], engine: EngineConfig, known: bool) -> None:
        self.order, self.engine, self.known = order, engine, known
        self.persistent = {n: s for visit in order for n, s in visit.wanted if s <= engine.param_persistence_threshold}
        self.here: dict[int, int] = {}
        self.last_fetched_for: dict[int, int] = {}
        self.queue = deque(
            (number, size, step) for step, visit in enumerate(order) for number, size in sorted(visit.wanted)
        )
        self.total = self.most = 0

    def run(self) -> Gathered:
        """What the whole order gathers."""
        for step, visit in enumerate(self.order):
            self._gather(visit.wanted)
            if self.known:
                self._look_ahead(step, visit)
            if not visit.held:
                self._release(step + 1, visit)
        return Gathered(self.total, self.most + sum(self.persistent.values()))

    def _available(self, number: int) -> bool:
        return number in self.here or number in self.persistent

    def _gather(self, wanted: Sequence[tuple[int, int]]) -> None:
        missing = {number: size for number, size in wanted if not self._available(number)}
        self.here |= missing
        self.total += sum(missing.values())
        self.most = max(self.most, sum(self.here.values()))

    def _look_ahead(self, step: int, visit: Visit) -> None:
        new = {number for number, _ in visit.wanted if self.last_fetched_for.get(number, -1) < step}
        passed: set[int] = set()
        while self.queue and len(passed) < len(new):
            number, _, used_at = self.queue.popleft()
            self.last_fetched_for[number] = used_at
            passed.add(number)
        room = min(self.engine.max_live_parameters - sum(self.here.values()), self.engine.prefetch_bucket_size)
        wanted: dict[int, int] = {}
        while self.queue and sum(wanted.values()) < room:
            number, size, used_at = self.queue.popleft()
            self.last_fetched_for[number] = max(self.last_fetched_for.get(number, -1), used_at)
            if not self._available(number):
                wanted[number] = size
        self._gather(list(wanted.items()))

    def _release(self, step: int, visit: Visit) -> None:
        leaving = {number for number, _ in visit.wanted if self.last_fetched_for.get(number, -1) <= step}
        passed = 0
        for later in self.order[step:] if self.known else ():
            if passed >= self.engine.max_reuse_distance or not leaving:
                break
            leaving -= {number for number, _ in later.wanted}
            passed += sum(size for _, size in later.wanted)
        for number in leaving:
            self.here.pop(number, None)
