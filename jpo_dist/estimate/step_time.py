"""What a step will cost: traffic, time and what bounds it, from model, loads of the plan and speeds of machines.

Legend: M micro-steps of a step, F reference passes of a step, W ranks. `w`: bytes of an element of the weights.
Arithmetic on numbers; tests/distributed/test_estimate_measured.py compares it with counters and processes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jpo_dist.config.run import JpoConfig
from jpo_dist.estimate.hardware import Device, Link
from jpo_dist.estimate.memory import traced
from jpo_dist.estimate.model_shape import ModelShape
from jpo_dist.estimate.workload import Load
from jpo_dist.estimate.zero3_gathers import forward_order, gathered, training_order
from jpo_dist.model.device import torch_dtype


class Traffic(NamedTuple):
    """Elements of the collectives of one step, counted as the whole tensor: each rank sends and receives (W - 1) / W of
    them, of an all-reduce twice that."""

    policy_gathers: int
    reference_gathers: int
    reduce_scatters: int
    all_reduces: int
    update_gathers: int
    """Gathers of the weights, after the optimizer step of ZeRO-1 and 2."""

    def bytes(self, w: int, ranks: int) -> float:
        """Bytes that a rank sends, and as many that it receives."""
        once = self.policy_gathers + self.reference_gathers + self.reduce_scatters + self.update_gathers
        return (once + 2 * self.all_reduces) * w * (ranks - 1) / ranks


def traffic(shape: ModelShape, config: JpoConfig, ranks: int, micro_steps: int, passes: int) -> Traffic:
    """Traffic of a step of so many `micro_steps` and reference `passes`; nothing on one rank.

    ZeRO-3 gathers all again in each micro-step. ZeRO-2 reduces each micro-step's gradient, ZeRO-0 and 1 the step's.
    """
    if ranks == 1:
        return Traffic(0, 0, 0, 0, 0)
    trained, stage = shape.trainable, config.engine.zero_stage
    if stage < 3:
        reduced = trained * (micro_steps if stage == 2 else 1)
        return Traffic(0, 0, 0, reduced, trained if stage else 0)
    order = training_order(shape, recomputes=config.model.gradient_checkpointing)
    policy = gathered(order, config.engine, known=traced(shape, config)).total * micro_steps
    one_pass = gathered(forward_order(shape), config.engine).total
    reference = one_pass * passes if config.reference.has_forwards else 0
    return Traffic(policy, reference, trained * micro_steps, 0, 0)


class Work(NamedTuple):
    """FLOPs of each rank in each micro-step, (M, W), and in each reference pass, (F, W)."""

    policy_MW: np.ndarray
    reference_FW: np.ndarray


def work(shape: ModelShape, config: JpoConfig, load: Load) -> Work:
    """FLOPs of the products of body, attention and head.

    A forward takes 2 a parameter and token, and in attention 2 L D for each token and token of its item (L layers of
    width D; two products, of the half that comes before). A backward takes twice its forward. A trained head computes
    its logits once more, a frozen one is done after the forward. Frozen weights have no gradient of their own.
    Checkpointing runs the body's forward again.
    """
    again = 1 if config.model.gradient_checkpointing else 0
    body = 2.0 * shape.in_body * load.tokens_MW
    attention = 2.0 * shape.layers * shape.width * load.squares_MW
    head = 2.0 * shape.head * load.rows_MW
    lora = shape.adapters > 0
    policy = body * ((2 if lora else 3) + again) + attention * (3 + again) + head * (2 if lora else 4)
    reference = np.zeros((0, policy.shape[1]))
    if config.reference.has_forwards:
        one = body + attention + head
        reference = np.stack([one[load.pass_M == g].sum(0) for g in np.unique(load.pass_M)])
    return Work(policy, reference)


class Phase(NamedTuple):
    """Seconds that each resource needs for one part of a step."""

    name: str
    compute: float
    network: float
    memory: float
    overlaps: bool
    """Whether network and computation work at the same time."""

    @property
    def seconds(self) -> float:
        """Seconds of the part, when every resource works as soon as it can."""
        beside = max(self.compute, self.memory)
        return max(beside, self.network) if self.overlaps else beside + self.network

    @property
    def bound(self) -> str:
        return max(("compute", "network", "memory"), key=lambda resource: getattr(self, resource))


class StepTime(NamedTuple):
    """Seconds of one step, the mean over the loads."""

    phases: tuple[Phase, ...]
    ideal: float
    """Seconds if all ranks computed all the time at the speed reckoned with."""

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @property
    def efficiency(self) -> float:
        return self.ideal / self.seconds

    @property
    def bound(self) -> str:
        """The resource that the longest phase waits for."""
        return max(self.phases, key=lambda phase: phase.seconds).bound


def step_time(
    shape: ModelShape, config: JpoConfig, loads: Sequence[Load], device: Device, link: Link, active: int
) -> StepTime:
    """Time of a step, in seconds. `active`: bytes of activations of the fullest micro-step, written and read once in
    training."""
    dtype = torch_dtype(config.model.dtype)
    w, speed = dtype.itemsize, device.reached(dtype)
    ranks = loads[0].tokens_MW.shape[1]
    passes_over_weights = 4 if config.model.gradient_checkpointing else 3
    sums = np.zeros((3, 3))  # reference, policy, optimizer x compute, network, memory
    ideal = 0.0
    for load in loads:
        todo = work(shape, config, load)
        micro_steps, passes = len(todo.policy_MW), len(todo.reference_FW)
        moved = traffic(shape, config, ranks, micro_steps, passes)
        ideal += float(todo.policy_MW.sum() + todo.reference_FW.sum()) / ranks / speed
        fullness = load.tokens_MW.max(1).sum() / max(1, load.tokens_MW.max())
        sums[0] += [
            float(todo.reference_FW.max(1, initial=0).sum()) / speed,
            moved._replace(policy_gathers=0, reduce_scatters=0, all_reduces=0, update_gathers=0).bytes(w, ranks),
            passes * shape.total * w,
        ]
        sums[1] += [
            float(todo.policy_MW.max(1).sum()) / speed,
            moved._replace(reference_gathers=0, update_gathers=0).bytes(w, ranks),
            micro_steps * passes_over_weights * shape.total * w + 2 * active * fullness,
        ]
        # AdamW reads weight, gradient and two moments in float32, writes three of them and the weights.
        own = shape.trainable / (ranks if config.engine.zero_stage else 1)
        sums[2] += [0, Traffic(0, 0, 0, 0, moved.update_gathers).bytes(w, ranks), own * (28 + w)]
    sums[:, 1] /= link.rate
    sums[:, 2] /= device.bandwidth
    names = ("reference", "policy", "optimizer")
    means = (sums / len(loads)).tolist()
    phases = tuple(
        Phase(name, compute, network, memory, device.overlaps)
        for name, (compute, network, memory) in zip(names, means, strict=True)
    )
    return StepTime(phases, ideal / len(loads))


def break_even(shape: ModelShape, config: JpoConfig, device: Device, link: Link) -> float:
    """Tokens of a micro-step on a rank from which ZeRO-3 computes longer than it communicates.

    (c / 2k) F / BW with c bytes a parameter, k forwards' worth of work, F FLOP/s, BW bytes/s; whatever the model.
    """
    lora, reference = shape.adapters > 0, config.reference.has_forwards
    units = (2 if lora else 3) + config.model.gradient_checkpointing + reference
    dtype = torch_dtype(config.model.dtype)
    passes = 2 + (0 if lora else 1) + reference
    return passes * dtype.itemsize / (2 * units) * device.reached(dtype) / link.rate
