"""Bytes that a rank needs, part by part. `w`: bytes of an element of the weights, 2 in bfloat16 and 4 in float32."""

from typing import NamedTuple

from jpo_dist.config.run import JpoConfig
from jpo_dist.estimate.model_shape import Activations, ModelShape
from jpo_dist.estimate.zero3_gathers import forward_order, gathered, training_order
from jpo_dist.model.device import torch_dtype

AT_ONCE = 500_000_000
"""Elements of gradient that DeepSpeed copies into one buffer at a time under ZeRO-0."""

PROCESS = {"cpu": 500_000_000, "gpu": 1_000_000_000}
"""Bytes of a process beside its tensors. CPU: code and caches of the libraries, and pages that the allocator keeps
(distributed.allocator), as measured by tests/distributed/test_estimate_measured.py. GPU: CUDA context and NCCL, an
assumption."""


class Memory(NamedTuple):
    """Memory of one rank, in bytes. The peak is what stays plus the largest of what comes and goes."""

    process: int
    weights: int
    reference: int
    gradients: int
    optimizer: int
    """Moments, and float32 copies of the weights where the optimizer has any."""
    buffers: int
    """Where ZeRO puts gradients together to reduce them."""
    gathered: int
    """Whole parameters that ZeRO-3 holds at a time, at most."""
    activations: int
    """Most that forward and backward hold: activations, tiles of the head, gradients on their way."""
    scoring: int
    """A forward without gradient, of a reference or of evaluation: activations, and what it gathers."""
    update: int
    """Copies that the optimizer step makes."""
    host: int
    """Main memory that offloading takes, beside the device's."""
    filling: int
    """Peak while the reference cache is filled, before the policy is there."""

    @property
    def stays(self) -> int:
        return self.process + self.weights + self.reference + self.gradients + self.optimizer + self.buffers

    @property
    def peak(self) -> int:
        return max(self.stays + max(self.gathered + self.activations, self.scoring, self.update), self.filling)


class _Stored(NamedTuple):
    """What a rank keeps for training under one ZeRO stage, in bytes, and the copies its update makes."""

    gradients: int
    moments: int
    buffers: int
    update: int


def memory(shape: ModelShape, config: JpoConfig, ranks: int, active: Activations, *, on_gpu: bool) -> Memory:
    """Memory of the fullest rank of a run on so many `ranks`. `active`: bytes that its forwards and backwards need."""
    w = torch_dtype(config.model.dtype).itemsize
    zero3 = config.engine.zero_stage == 3
    recomputes = config.model.gradient_checkpointing
    order = training_order(shape, recomputes=recomputes)
    training = gathered(order, config.engine, known=traced(shape, config)).most * w if zero3 else 0
    scoring = gathered(forward_order(shape), config.engine).most * w if zero3 else 0
    frozen = (shape.total - shape.adapters) * w // (ranks if zero3 else 1)
    weights = shape.total * w // (ranks if zero3 else 1)
    stored = _stored(shape.trainable, config, ranks, w, on_gpu)
    live = config.reference.mode == "live"
    off_optimizer = config.engine.offload_optimizer.device != "none"
    off_weights = config.engine.offload_params.device != "none"
    # Offloaded, each rank also has a float32 gradient beside the moments.
    host = stored.moments + stored.gradients + 4 * shape.trainable // ranks if off_optimizer else 0
    process = PROCESS["gpu" if on_gpu else "cpu"]
    return Memory(
        process=process,
        weights=0 if off_weights else weights,
        reference=frozen if live and not off_weights else 0,
        gradients=0 if off_optimizer else stored.gradients,
        optimizer=0 if off_optimizer else stored.moments,
        buffers=stored.buffers,
        gathered=training,
        activations=active.training,
        scoring=active.scoring + scoring if active.scoring else 0,
        update=0 if off_optimizer else stored.update,
        host=host + (weights + (frozen if live else 0) if off_weights else 0),
        filling=process + frozen + active.filling + scoring if config.reference.mode == "cached" else 0,
    )


def traced(shape: ModelShape, config: JpoConfig) -> bool:
    """Whether DeepSpeed learns the order of the modules. With frozen weights that are recomputed it never sees the same
    order twice, and gathers without looking ahead."""
    return not (shape.adapters and config.model.gradient_checkpointing)


def _stored(trained: int, config: JpoConfig, ranks: int, w: int, on_gpu: bool) -> _Stored:
    """What DeepSpeed 0.19.8 keeps of `trained` parameters under the settings of model/deepspeed_settings.py."""
    engine, half = config.engine, w == 2
    own = trained // ranks
    bucket = min(engine.reduce_bucket_size, trained) * w
    if engine.zero_stage == 0:
        together = min(trained, AT_ONCE) * w if ranks > 1 else 0
        return _Stored(trained * w, (12 if half else 8) * trained, 0, max(4 * trained if half else 0, together))
    kept = 4 if engine.grad_accum_dtype == "float32" else w
    copied = 4 + (w if kept == w else 0)  # put together, then in float32, which is no copy where it is that already
    if engine.zero_stage < 3:
        # A float32 copy of its part of the weights is made in float32 too.
        whole = trained * w if engine.zero_stage == 1 else own * kept
        # Where communication runs beside computation, two buckets are filled in turn.
        return _Stored(whole, 12 * own, (2 if on_gpu else 1) * bucket, copied * own)
    at_a_time = min(engine.sub_group_size, own)
    return _Stored(own * kept, (12 if half else 8) * own, bucket, copied * at_a_time)
