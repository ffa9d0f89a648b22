"""What two ZeRO-3 ranks send: elements of all-gathers in units of the parameters P, and collectives of a step.

Counted on small random Llamas, with thresholds so low that ZeRO-3 gathers one module at a time: with its defaults a
small model would be gathered once, and the backward pass would cost nothing.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from jpo_dist.distributed import ranks
from jpo_dist.model.engine import connect
from jpo_dist.train.loop import take_step
from jpo_dist.train.setup import Setup
from launcher.bench.sizes import Figures, Sizes
from launcher.bench.synthetic import RunSize, llama, ready
from launcher.bench.traffic import ALL_GATHER, REDUCE_SCATTER, TrafficCounter, watched

SMALL = RunSize(64, 4, 256, 4, 2, 2048, comparisons=8, tokens=128, lengths=(24, 6, 8, 40))
FORWARD, BACKWARD, REFERENCE, OURS = "policy forward", "policy backward", "reference", ""


def measure(sizes: Sizes) -> Figures:
    """What a step sends. Theory: 1 P a forward and 1 P a backward pass, whatever the head is cut into; with a tied head
    its weight once more in each. A live reference 1 P a step, a cached one none. One gather of scores a micro-step,
    none for metrics.
    """
    connect()
    found: Figures = {}
    for name, tied, mode in (("", False, "cached"), ("live_", False, "live"), ("tied_", True, "cached")):
        folder = Path(ranks.broadcast(tempfile.mkdtemp()))
        found |= counted(sizes, SMALL._replace(tied=tied), folder, f"collectives.{name}", mode)
    return found


def counted(sizes: Sizes, run: RunSize, folder: Path, name: str, mode: str) -> Figures:
    """The figures of one step after the first, in which ZeRO-3 learns the order of the modules."""
    size = parameters(run)
    smallest = {"zero_stage": 3, "param_persistence_threshold": 0, "max_reuse_distance": 0, "prefetch_bucket_size": 0,
                "max_live_parameters": size["layer"]}  # fmt: skip
    setup = ready(sizes, run, folder, mode, engine=smallest)
    take_step(setup, setup.plan.step(0))
    step = setup.plan.step(1)
    with TrafficCounter() as traffic:
        _, meter = take_step(watched(setup, traffic), step)
        with traffic.labelled("metrics"):
            meter.table()
    return _figures(name, traffic, size, len(step.micro_steps), setup)


def _figures(name: str, traffic: TrafficCounter, size: dict[str, int], micro_steps: int, setup: Setup) -> Figures:
    model: Any = setup.policy.module.model
    whole, tied = size["all"], bool(model.config.tie_word_embeddings)
    calls = lambda label: sum(n for (where, _), n in traffic.calls.items() if where == label)  # noqa: E731
    a_micro_step = lambda label, kind: round(traffic.elements[label, kind] / whole / micro_steps, 3)  # noqa: E731
    return {
        f"{name}forward_gather_P": a_micro_step(FORWARD, ALL_GATHER),
        f"{name}backward_gather_P": a_micro_step(BACKWARD, ALL_GATHER),
        f"{name}gather_theory_P": round(1 + tied * size["head"] / whole, 3),
        f"{name}reduce_scatter_P": a_micro_step(BACKWARD, REDUCE_SCATTER),
        f"{name}reference_gather_P_per_step": round(traffic.elements[REFERENCE, ALL_GATHER] / whole, 3),
        f"{name}micro_steps": micro_steps,
        f"{name}head_share_of_P": round(size["head"] / whole, 3),
        # What our own code sends in a step, but for the one gather of scores that each micro-step's margins need.
        f"{name}for_metrics_per_step": calls(OURS) - micro_steps + calls("metrics"),
    }


def parameters(run: RunSize) -> dict[str, int]:
    """Elements of all weights, of the head, and of one layer."""
    with torch.device("meta"):
        built: Any = LlamaForCausalLM(llama(run))
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    return {"all": count(built), "head": count(built.lm_head), "layer": count(built.model.layers[0])}
