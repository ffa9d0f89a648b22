"""Comparisons scored without a step: what they lose, who wins, by how much. Legend: C comparisons, K metric columns."""

import numpy as np
import torch

from jpo_dist.batches.plan import Plan, make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.sections import TrainConfig
from jpo_dist.config.sft import AnyObjective
from jpo_dist.distributed import ranks
from jpo_dist.distributed.waiting import working
from jpo_dist.objective import metrics, scores
from jpo_dist.objective.criterion import Portion, criterion_of
from jpo_dist.objective.reference import Reference
from jpo_dist.objective.scores import Policy

AT_A_TIME = 512
"""Comparisons of an evaluation step, unless a training step has more."""


def score_comparisons(
    policy: Policy, reference: Reference, dataset: Prepared, plan: Plan, objective: AnyObjective
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (C,) and metrics (C, K) of every comparison in `plan`, equal on all ranks; without gradient.

    All ranks call it. `plan`: an `evaluation_plan` of `dataset`. The loss is that of the preferences alone, without
    objective.sft_weight.
    """
    meter = metrics.Meter()
    if isinstance(objective, ObjectiveConfig):
        objective = objective.model_copy(update={"sft_weight": 0.0})
    everything = np.arange(len(dataset.comparisons))
    counted = dataset.comparisons.COUNTED
    with torch.no_grad(), working("scoring what is held out", len(everything), counted) as work:
        measure, _ = criterion_of(objective).begin(Portion(policy, reference, dataset, everything, plan.limits))
        for step in plan.steps():
            references = reference(dataset, step.micro_steps)
            for micro, reference_n2, share in zip(
                step.micro_steps, references, scores.shares(dataset, step), strict=True
            ):
                found, _ = scores.score(policy, reference_n2, share, micro.counts, ranks.rank())
                _, rows_CK = measure(found, share, micro)
                meter.add(rows_CK, micro.comparisons_C)
                work.add(len(micro.comparisons_C))
    return meter.table()


def evaluation_plan(dataset: Prepared, train: TrainConfig, tokens_per_pass: int, num_ranks: int) -> Plan:
    """A plan with every comparison once, in order, many at a time: an item that several of them share is scored once.

    Micro-steps are as large as a live reference's passes. So both see the same packs, and a policy that is still the
    reference ties exactly: in bfloat16 a product of another size is another number.
    """
    once = train.model_copy(
        update={
            "shuffle": False,
            "sample_by": "comparison",
            "max_steps": None,
            "epochs": 1,
            "comparisons_per_step": max(train.comparisons_per_step, AT_A_TIME),
            "items_per_step": max(train.items_per_step, AT_A_TIME),
            "tokens_per_micro_step": max(train.tokens_per_micro_step, tokens_per_pass),
        }
    )
    return make_plan(dataset, once, num_ranks)
