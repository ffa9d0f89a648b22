"""Comparisons scored without a step: what they lose, who wins, by how much."""

from typing import Any

import numpy as np
import torch

from jpo_dist.batches.plan import Plan, make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config import JpoConfig
from jpo_dist.distributed import ranks
from jpo_dist.objective import metrics
from jpo_dist.objective import scores as margins
from jpo_dist.objective.reference import Reference
from jpo_dist.objective.scores import Policy
from jpo_dist.objective.step import losses, shares
from jpo_dist.records.comparisons import ComparisonSet

AT_A_TIME = 512


def score_comparisons(
    policy: Policy, reference: Reference, dataset: Prepared, config: JpoConfig
) -> tuple[np.ndarray, np.ndarray]:
    """(comparison numbers, metric columns) of every comparison in `dataset`, equal on all ranks. No gradient."""
    common = {"shared_C": dataset.shared_C, "trunks_N2": dataset.trunks_N2}
    plan = evaluation_plan(dataset.comparisons, dataset.tokens.lengths_N, config, ranks.num_ranks(), **common)
    meter = metrics.Meter()
    with torch.no_grad():
        for step in plan.steps():
            references = reference(dataset, step.micro_steps)
            for micro, reference_n2, share in zip(step.micro_steps, references, shares(dataset, step), strict=True):
                scores, _ = margins.score(policy, reference_n2, share, micro.counts, ranks.rank())
                losses_C = losses(scores, config.objective)
                meter.add(metrics.comparison_columns(scores, losses_C, config.objective), micro.comparisons_C)
    return meter.table()


def evaluation_plan(
    comparisons: ComparisonSet, lengths_N: np.ndarray, config: JpoConfig, num_ranks: int, **common: Any
) -> Plan:
    """Every comparison once, in order, many at a time: an item that several of them share is scored once.

    Micro-steps are as large as a live reference's passes. So both see the same packs, and a policy that is still the
    reference ties exactly: in bfloat16 a product of another size is another number.
    """
    train = config.train
    many = max(train.comparisons_per_step, AT_A_TIME)
    changes = {"shuffle": False, "sample_by": "comparison", "max_steps": None, "epochs": 1}
    room = max(train.tokens_per_micro_step, config.reference.tokens_per_pass)
    sizes = {"comparisons_per_step": many, "tokens_per_micro_step": room}
    once = train.model_copy(update=changes | sizes)
    return make_plan(comparisons, lengths_N, once, num_ranks, **common)
