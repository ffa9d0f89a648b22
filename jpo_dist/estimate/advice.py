"""What to change in a run, from its numbers beside those of the same run with one thing changed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jpo_dist.config.run import JpoConfig
from jpo_dist.estimate.hardware import Device, Link
from jpo_dist.estimate.memory import Memory
from jpo_dist.estimate.step_time import StepTime
from jpo_dist.estimate.workload import Load


class Tokens(NamedTuple):
    """Tokens that the plan gives a step and its micro-steps, the mean over the steps looked at."""

    per_step: float
    per_rank_and_micro_step: float
    micro_steps: float
    padding_share: float
    balance: float
    """The fullest rank's tokens of a micro-step over the mean of the ranks: 1 is even."""
    idle_share: float
    """Share of the ranks' micro-steps that have no item."""


def tokens_of(loads: Sequence[Load]) -> Tokens:
    """The tokens of a mean step, from the work of some steps."""
    totals = [load.tokens_MW.sum() for load in loads]
    fillers = sum(load.fillers for load in loads)
    return Tokens(
        per_step=float(np.mean(totals)),
        per_rank_and_micro_step=float(np.mean(np.concatenate([load.tokens_MW.ravel() for load in loads]))),
        micro_steps=float(np.mean([len(load.tokens_MW) for load in loads])),
        padding_share=fillers / (float(np.sum(totals)) + fillers),
        balance=float(np.mean([(load.tokens_MW.max(1) / load.tokens_MW.mean(1)).mean() for load in loads])),
        idle_share=float(np.mean([(load.tokens_MW == 0).mean() for load in loads])),
    )


def ranks_fed(tokens_per_step: float, even: float) -> int:
    """How many ranks a global batch keeps busy under ZeRO-3: each needs `even` tokens (step_time.break_even)."""
    return max(1, int(tokens_per_step / even))


class Situation(NamedTuple):
    """A run on so many ranks of one device and network: what it needs and how fast it is."""

    ranks: int
    device: Device
    link: Link
    memory: Memory
    tokens: Tokens
    time: StepTime
    break_even: float
    """Tokens of a micro-step on a rank from which ZeRO-3 pays (step_time.break_even)."""
    comparisons: int
    """Comparisons of a step."""


def advice(config: JpoConfig, now: Situation, others: dict[str, Situation]) -> list[str]:
    """What to change, most useful first; nothing where nothing helps. `others`: the same with one thing changed."""
    told: list[str] = []
    peak, room = now.memory.peak, now.device.memory
    if peak > room:
        told.append(
            f"does not fit: {peak / 1e9:.1f} GB on a rank of {room / 1e9:.0f} GB; lower train.tokens_per_micro_step "
            f"({config.train.tokens_per_micro_step}), set model.gradient_checkpointing, or use more ranks"
        )
    without = now.memory._replace(scoring=0, filling=0).peak
    if peak - without > 0.02 * room:
        told.append(
            f"forwards without gradient take {(peak - without) / 1e9:.1f} GB more than training; they shrink with "
            f"reference.tokens_per_pass ({config.reference.tokens_per_pass}), at the price of more passes"
        )
    fed = ranks_fed(now.tokens.per_step, now.break_even)
    starved = config.engine.zero_stage == 3 and now.ranks > 1 and now.tokens.per_rank_and_micro_step < now.break_even
    if starved and now.tokens.micro_steps > 1.5 and now.tokens.per_step / now.ranks > now.break_even:
        told.append(
            f"micro-steps are too small for ZeRO-3: {now.tokens.per_rank_and_micro_step:,.0f} tokens on a rank, "
            f"break-even {now.break_even:,.0f}; raise train.tokens_per_micro_step"
        )
    elif starved:
        wanted = int(np.ceil(now.comparisons * now.ranks * now.break_even / now.tokens.per_step))
        told.append(
            f"train.comparisons_per_step ({now.comparisons}) feeds {fed} of {now.ranks} ranks under ZeRO-3 on "
            f"{now.link.name}: {now.tokens.per_step:,.0f} tokens a step, {now.break_even:,.0f} wanted on each rank; "
            f"use {fed} ranks, or {wanted} comparisons a step"
        )
    if now.tokens.idle_share > 0.02:
        told.append(f"{now.tokens.idle_share:.0%} of the ranks' micro-steps have no item at all; use fewer ranks")
    for change, other in others.items():
        gain = now.time.seconds / other.time.seconds
        if other.memory.peak <= room and (gain > 1.05 or peak > room):
            told.append(f"{change}: {gain:.2f} x as fast, {other.memory.peak / 1e9:.1f} GB on a rank")
    return told
