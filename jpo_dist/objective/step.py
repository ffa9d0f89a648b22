"""One optimizer step. This is the method; everything else feeds it or keeps its results."""

import math
from collections.abc import Iterator

import torch

from jpo_dist.batches.plan import Step
from jpo_dist.batches.prefetch import ahead
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config import ObjectiveConfig, OptimConfig
from jpo_dist.distributed import ranks
from jpo_dist.model.engine import StepOutcome
from jpo_dist.model.load import device
from jpo_dist.objective import losses as objective
from jpo_dist.objective import metrics
from jpo_dist.objective import scores as margins
from jpo_dist.objective.scores import Scores
from jpo_dist.train.setup import Setup


def train_step(setup: Setup, step: Step) -> tuple[StepOutcome, metrics.Meter]:
    """One optimizer step over the global batch, whatever the number of ranks and micro-steps."""
    config, policy, rank = setup.config, setup.policy, ranks.rank()
    meter = metrics.Meter()
    references = setup.reference(setup.dataset, step.micro_steps)
    for micro, reference_n2, share in zip(step.micro_steps, references, shares(setup.dataset, step), strict=True):
        scores, logps_R = margins.score(policy, reference_n2, share, micro.counts, rank)
        losses_C = losses(scores, config.objective)
        if config.objective.sft_weight:
            sft_C = objective.sft_losses(scores.policy_N2, share.response_lengths_N, scores.winners_C)
            losses_C = losses_C + config.objective.sft_weight * sft_C
        loss = (share.weights_C * losses_C).sum() / step.total_weight
        if not share.batch.num_items:
            loss = loss + 0.0 * logps_R.sum()  # a rank without items still takes part in every backward
        # Each rank carries the gradient of its own items and DeepSpeed averages over ranks: times W makes it the sum.
        policy.backward(loss * ranks.num_ranks(), last=micro is step.micro_steps[-1])
        meter.add(metrics.comparison_columns(scores, losses_C, config.objective), micro.comparisons_C)
    return policy.step(learning_rate(config.optim, step.index, setup.plan.num_steps)), meter


def shares(dataset: Prepared, step: Step) -> Iterator[margins.Share]:
    """This rank's part of each micro-step, the next one made ready while this one computes."""
    rank, where = ranks.rank(), device()
    return ahead(lambda micro: margins.share_of(dataset, micro, rank, where), step.micro_steps)


def losses(scores: Scores, config: ObjectiveConfig) -> torch.Tensor:
    """Preference loss of each comparison of a micro-step, (C,)."""
    z_C = objective.total_margin(scores.margins_C2, config.instruction_weight)
    return objective.comparison_losses(z_C, config.beta, config.loss, config.label_smoothing)


def learning_rate(optim: OptimConfig, index: int, num_steps: int) -> float:
    """Rate of step `index` (from 0). A function of the step alone: a skipped update cannot make the schedule lag."""
    if index < optim.warmup_steps:
        return optim.lr * (index + 1) / optim.warmup_steps
    progress = (index - optim.warmup_steps) / max(1, num_steps - optim.warmup_steps)
    if optim.schedule == "cosine":
        return optim.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return optim.lr * (1 - progress) if optim.schedule == "linear" else optim.lr
