"""Full fine-tuning of a 1B model on one GPU, packed, with checkpointing: share of the peak, tokens a second, memory.

Weights and ids are random, shapes and lengths are real: nothing is downloaded, and neither ray nor mlflow is needed.
Runs on a CPU too, with a tiny run, so that the code is not first tried on a GPU.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from jpo_dist.model.engine import connect
from jpo_dist.train.setup import Setup
from launcher.bench import ours, peer
from launcher.bench.clock import in_turns, least
from launcher.bench.machine import product_speed
from launcher.bench.measures import training
from launcher.bench.sizes import Figures, Sizes, SkippedError
from launcher.bench.synthetic import RunSize, ready

PEAK_TFLOPS = {"H100": 989, "H200": 989, "H800": 989, "B200": 2250, "A100": 312, "A800": 312, "L40S": 362, "4090": 165}
"""Dense bfloat16, from the makers' data sheets. Another card is measured against its own largest product."""
ONE_B, ONE_B_BATCHES = RunSize(2048, 16, 8192, 32, 8, 128_256, 64, 16_384), (2, 4, 8, 16)
"""The size of Llama-3.2-1B: 1.24e9 parameters, tied. And the numbers of comparisons at a time that TRL may try."""
TINY = RunSize(64, 2, 128, 4, 2, 500, 4, 4096, lengths=(24, 6, 8, 40))


def measure(sizes: Sizes) -> Figures:
    if not torch.cuda.is_available() and not sizes.quick:
        raise SkippedError("no CUDA device here; run `make bench-gpu` on a host that has one")
    return fine_tuning(sizes, TINY, (2,)) if sizes.quick else fine_tuning(sizes, ONE_B, ONE_B_BATCHES)


def fine_tuning(sizes: Sizes, run: RunSize, trl_batches: Sequence[int]) -> Figures:
    """The figures of a run of this size: ours alone first, for its memory, then in turns with TRL where it is
    installed."""
    connect()
    folder = Path(tempfile.mkdtemp())
    setup = ready(sizes, run, folder, model={"gradient_checkpointing": True})
    step = ours.Steps(setup)
    if setup.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    (mine,) = in_turns([step], sizes.repetitions)
    found = speed("gpu", setup, mine.wall) | {"gpu.device": setup.device.type, **_memory("gpu")}
    try:
        peer.require()
    except SkippedError as reason:
        return found | {"gpu.trl": str(reason)}
    best, tried = training.best_batch(setup, folder, "gpu", trl_batches)
    race = peer.race(setup, folder, step, best, sizes.repetitions + 1)
    theirs, mine = (least(spent) for spent in race.counted)
    return (
        found
        | tried
        | speed("gpu.trl", setup, theirs.wall)
        | {"gpu.trl_batch": best, "gpu.wall_ratio": round(theirs.wall / mine.wall, 3)}
    )


def speed(name: str, setup: Setup, seconds: float) -> Figures:
    """The speed of a step that takes so many seconds: real tokens a second, and what share of the peak their model
    FLOPs are."""
    lengths_N = setup.dataset.tokens.lengths_N
    tokens, rate = int(lengths_N.sum()), step_flops(setup) / seconds / 1e12
    return {
        f"{name}.mfu": round(rate / peak_tflops(setup), 4),
        f"{name}.tflops": round(rate, 4),
        f"{name}.tokens_per_s": round(tokens / seconds, 1),
        f"{name}.comparisons_per_s": round(len(setup.dataset.comparisons) / seconds, 2),
        f"{name}.step_s": round(seconds, 3),
        f"{name}.tokens": tokens,
    }


def step_flops(setup: Setup) -> float:
    """Model FLOPs of a step on real tokens: forward 2 P and causal attention, three times that for the policy, once for
    the reference. What checkpointing computes again does not count (that would be hardware use, not model use)."""
    lengths_N, share = setup.dataset.tokens.lengths_N.astype(float), setup.plan.limits.quadratic
    in_products = sum(p.numel() for p in setup.policy.module.parameters())  # the table is the head as well
    return float(4 * 2 * in_products * (lengths_N * (1 + share * lengths_N)).sum())


def peak_tflops(setup: Setup) -> float:
    """Peak TFLOP/s of the device in bfloat16, by its data sheet or else by its largest product."""
    if setup.device.type == "cpu":
        return max(product_speed(dtype, setup.device, 512) for dtype in (torch.bfloat16, torch.float32))
    name = torch.cuda.get_device_name()
    known = [peak for part, peak in PEAK_TFLOPS.items() if part in name]
    return known[0] if known else product_speed(torch.bfloat16, setup.device, 8192)


def _memory(name: str) -> Figures:
    if not torch.cuda.is_available():
        return {}
    return {f"{name}.peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)}
