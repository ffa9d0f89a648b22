"""Elements that collectives carry, counted where every one of them passes: torch's c10d operators.

    with TrafficCounter() as traffic:
        take_step(watched(setup, traffic), step)
    traffic.elements["policy forward", ALL_GATHER]      # of the gathered tensor: what all ranks put together

Whoever calls (DeepSpeed, torch, we) and by whatever name, it is counted once, on this rank. Counting costs time in
every operator, so a benchmark counts in a step of its own.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jpo_dist.train.setup import Setup

ALL_GATHER, REDUCE_SCATTER, ALL_REDUCE, BROADCAST, REDUCE = (
    "all-gather",
    "reduce-scatter",
    "all-reduce",
    "broadcast",
    "reduce",
)
KINDS = {
    "_allgather_base_": ALL_GATHER,
    "allgather_": ALL_GATHER,
    "allgather_into_tensor_coalesced_": ALL_GATHER,
    "_reduce_scatter_base_": REDUCE_SCATTER,
    "reduce_scatter_": REDUCE_SCATTER,
    "reduce_scatter_tensor_coalesced_": REDUCE_SCATTER,
    "allreduce_": ALL_REDUCE,
    "allreduce_coalesced_": ALL_REDUCE,
    "broadcast_": BROADCAST,
    "reduce_": REDUCE,
}
"""c10d operators by what they do. The whole tensor is an operator's first argument (a gather's output), and a
reduce-scatter's second."""


class TrafficCounter(TorchDispatchMode):
    """Counts elements, bytes and calls of collectives by (label, kind) while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.label = ""
        self.elements: Counter[tuple[str, str]] = Counter()
        self.bytes: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self._count(func._opname, args)
        return func(*args, **(kwargs or {}))

    def _count(self, name: str, args: tuple[Any, ...]) -> None:
        kind = KINDS.get(name, name)  # an operator of torch's to come is counted under its own name, not lost
        whole = args[1] if kind == REDUCE_SCATTER else args[0]
        tensors = [leaf for leaf in tree_leaves(whole) if isinstance(leaf, torch.Tensor)]
        self.calls[self.label, kind] += 1
        self.elements[self.label, kind] += sum(t.numel() for t in tensors)
        self.bytes[self.label, kind] += sum(t.numel() * t.element_size() for t in tensors)

    @contextmanager
    def labelled(self, label: str) -> Iterator[None]:
        """Inside, what is counted is counted under `label`."""
        before, self.label = self.label, label
        try:
            yield
        finally:
            self.label = before


class _Watched:
    """An engine whose passes are labelled."""

    def __init__(self, policy: Any, traffic: TrafficCounter) -> None:
        self._policy, self._traffic, self.module = policy, traffic, policy.module

    def __call__(self, batch: Any) -> torch.Tensor:
        with self._traffic.labelled("policy forward"):
            return self._policy(batch)

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        with self._traffic.labelled("policy backward"):
            self._policy.backward(loss, last=last)

    def step(self, lr: float) -> Any:
        with self._traffic.labelled("optimizer"):
            return self._policy.step(lr)


def watched(setup: Setup, traffic: TrafficCounter) -> Setup:
    """`setup` with its traffic labelled: policy forward, policy backward, optimizer, reference, and "" for our own."""

    def reference(*args: Any) -> Any:
        with traffic.labelled("reference"):
            return setup.reference(*args)

    policy: Any = _Watched(setup.policy, traffic)
    return replace(setup, reference=reference, policy=policy)
