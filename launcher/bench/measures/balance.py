"""What the plan alone decides: padding, and how even the ranks are. No model runs.

Legend: N items, C comparisons, M micro-steps, W ranks.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from jpo_dist.batches.load import load_data
from jpo_dist.batches.plan import MicroStep, Plan, Step, make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from jpo_dist.data import read
from jpo_dist.model.device import device
from jpo_dist.model.load import attention_share, load_tokenizer
from jpo_dist.model.scorer import pack
from jpo_dist.paths import resolve
from launcher.bench import ours
from launcher.bench.sizes import Figures, Sizes

RANKS, COMPARISONS, EPOCHS = 8, 64, 5


def measure(sizes: Sizes) -> Figures:
    """How even a plan is: all rows, each winner against another row's loser, 64 comparisons a step, 8 ranks."""
    sizes.require_rows()
    found, _ = read.read(resolve(sizes.rows), on_bad_row="error")
    rows = ours.joint_rows(replace(sizes, comparisons=len(found)))
    config = ours.config_for(sizes, rows, Path(tempfile.mkdtemp()))
    dataset, _, _ = load_data(config, load_tokenizer(config.model))
    train = TrainConfig(
        comparisons_per_step=COMPARISONS, tokens_per_micro_step=sizes.tokens_per_micro_step, epochs=EPOCHS
    )
    share = attention_share(config.model)
    plan = make_plan(dataset, train, RANKS, quadratic=share)
    full = [step for step in plan.steps() if len(step.comparisons_C) == COMPARISONS] or list(plan.steps())
    return {
        "balance.makespan_tokens": round(makespan(plan, full, float), 4),
        "balance.makespan_cost": round(makespan(plan, full, lambda length: length * (1 + share * length)), 4),
        "balance.worst_step_tokens": round(max(makespan(plan, [step], float) for step in full), 4),
        "balance.padding_share": round(padding_share(dataset, full), 6),
        "balance.steps": len(full),
        "balance.ranks": RANKS,
        "balance.comparisons": COMPARISONS,
        "balance.micro_steps": sum(len(step.micro_steps) for step in full),
    }


def makespan(plan: Plan, steps: list[Step], cost: Callable[[int], float]) -> float:
    """What the ranks wait for over what they have to do: the fullest rank of each micro-step to an even share, both
    summed."""
    loads_MW = np.array([_loads(plan, micro, cost) for step in steps for micro in step.micro_steps])
    return float(loads_MW.max(1).sum() / loads_MW.mean(1).sum())


def _loads(plan: Plan, micro: MicroStep, cost: Callable[[int], float]) -> list[float]:
    return [sum(cost(int(plan.lengths_N[item])) for item in mine) for mine in micro.items_by_rank]


def padding_share(dataset: Prepared, steps: list[Step]) -> float:
    """Share of the tokens that go through the model and belong to no item, counted in the packs of all ranks."""
    computed = real = 0
    for micro in (micro for step in steps for micro in step.micro_steps):
        for mine, skips in zip(micro.items_by_rank, micro.skips_by_rank, strict=True):
            computed += pack(dataset.tokens, mine, device(), skips).ids_1T.numel()
            real += int(dataset.tokens.lengths_N[mine].sum())
    return 1 - real / computed
