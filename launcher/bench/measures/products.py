"""How much of a training step is the work that cannot be avoided: its matrix products, done again with nothing else."""

import tempfile
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from jpo_dist.model.engine import connect
from launcher.bench import ours
from launcher.bench.clock import in_turns
from launcher.bench.sizes import Figures, Sizes

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "addmv", "mv", "dot", "linear", "_scaled_mm", "matmul"}
RING = 4
"""Tensors of each shape that take turns as operands: one alone would wait in the cache for its next use."""


class Operand(NamedTuple):
    """What a product was given, without its numbers."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Recorder(TorchDispatchMode):
    """Records the products of everything that runs inside, backward passes included, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any]] = []
        self.others: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._opname
        if name in PRODUCTS:
            self.calls.append((func, tree_map(_operand, args), tree_map(_operand, kwargs)))
        elif "attention" in name:
            self.others[name] += 1
        return func(*args, **kwargs)


def _operand(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return Operand(tuple(value.shape), value.stride(), value.dtype, value.device)


class Replay:
    """Does the recorded products alone, in the order of the step, on numbers of their own."""

    def __init__(self, calls: list[tuple[Any, Any, Any]]) -> None:
        rings: dict[Operand, Any] = {}

        def give(value: Any) -> Any:
            if not isinstance(value, Operand):
                return value
            if value not in rings:
                rings[value] = cycle([_tensor(value) for _ in range(RING)])
            return next(rings[value])

        is_leaf = lambda value: isinstance(value, Operand)  # noqa: E731
        self.calls = [
            (func, tree_map(give, args, is_leaf=is_leaf), tree_map(give, kwargs, is_leaf=is_leaf))
            for func, args, kwargs in calls
        ]

    def __call__(self) -> None:
        with torch.no_grad():
            for func, args, kwargs in self.calls:
                func(*args, **kwargs)


def _tensor(like: Operand) -> torch.Tensor:
    made = torch.empty_strided(like.shape, like.stride, dtype=like.dtype, device=like.device)
    return made.normal_() if made.is_floating_point() else made.zero_()


def flops(calls: list[tuple[Any, Any, Any]]) -> float:
    """FLOPs of the products: 2 m n k of each, from its last two operands."""
    total = 0.0
    for _, args, _ in calls:
        *_, left, right = [arg for arg in args if isinstance(arg, Operand)]
        total += 2.0 * torch.Size(left.shape).numel() * (right.shape[-1] if len(right.shape) > 1 else 1)
    return total


def measure(sizes: Sizes) -> Figures:
    """Time of a training step with a cached reference and of its products alone, in turns in one process."""
    sizes.require_rows()
    connect()
    folder = Path(tempfile.mkdtemp())
    step = ours.Steps(ours.ready(sizes, ours.joint_rows(sizes), folder, reference={"mode": "cached"}))
    step()
    with Recorder() as recorded:
        step()
    products = Replay(recorded.calls)
    whole, alone = in_turns([step, products], sizes.repetitions)
    return {
        "products.share": round(alone.wall / whole.wall, 3),
        "products.cpu_share": round(alone.cpu / whole.cpu, 3),
        "products.step_cpu_s": round(whole.cpu, 2),
        "products.alone_cpu_s": round(alone.cpu, 2),
        "products.step_wall_s": round(whole.wall, 2),
        "products.alone_wall_s": round(alone.wall, 2),
        "products.calls": len(recorded.calls),
        "products.tflop": round(flops(recorded.calls) / 1e12, 4),
        "products.fused_attention_calls": sum(recorded.others.values()),
        "products.tokens": ours.computed(step.setup)["tokens"],
    }
