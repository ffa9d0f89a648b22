"""One optimizer step. This is the method; everything else feeds it or keeps its results.

Legend: n items of this rank in one micro-step, C comparisons of a micro-step, R rows that are scored here, W ranks.
"""

from collections.abc import Iterator

from jpo_dist.batches.plan import Step
from jpo_dist.batches.prefetch import ahead
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.distributed import ranks
from jpo_dist.model.device import device
from jpo_dist.model.engine import Engine, StepOutcome
from jpo_dist.objective import metrics, scores
from jpo_dist.objective.losses import sft_losses
from jpo_dist.objective.preference import preference_losses
from jpo_dist.objective.reference import Reference
from jpo_dist.objective.scores import Share


def train_step(
    policy: Engine, reference: Reference, dataset: Prepared, step: Step, objective: ObjectiveConfig, lr: float
) -> tuple[StepOutcome, metrics.Meter]:
    """One optimizer step over the global batch, whatever the number of ranks and micro-steps. All ranks call it.

    Returns what the optimizer did and the metrics of the step's comparisons.
    """
    meter, rank = metrics.Meter(), ranks.rank()
    references = reference(dataset, step.micro_steps)
    for micro, reference_n2, share in zip(step.micro_steps, references, shares(dataset, step), strict=True):
        found, logps_R = scores.score(policy, reference_n2, share, micro.counts, rank)
        losses_C = preference_losses(found, objective)
        if objective.sft_weight:
            sft_C = sft_losses(found.policy_N2, share.response_lengths_N, found.winners_C)
            losses_C = losses_C + objective.sft_weight * sft_C
        loss = (share.weights_C * losses_C).sum() / step.total_weight
        if not share.batch.num_items:
            loss = loss + 0.0 * logps_R.sum()  # a rank without items still takes part in every backward
        # Each rank carries the gradient of its own items and DeepSpeed averages over ranks: times W makes it the sum.
        policy.backward(loss * ranks.num_ranks(), last=micro is step.micro_steps[-1])
        meter.add(metrics.comparison_columns(found, losses_C, objective), micro.comparisons_C)
    return policy.step(lr), meter


def shares(dataset: Prepared, step: Step) -> Iterator[Share]:
    """This rank's part of each micro-step; the next one is made ready while this one computes."""
    rank, where = ranks.rank(), device()
    return ahead(lambda micro: scores.share_of(dataset, micro, rank, where), step.micro_steps)
