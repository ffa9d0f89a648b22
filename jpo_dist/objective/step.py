"""One optimizer step. This is the method; everything else feeds it or keeps its results.

Legend: n items of this rank in one micro-step, C comparisons of a micro-step, R rows that are scored here, W ranks.
"""

from jpo_dist.batches.plan import Step
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sft import AnyObjective
from jpo_dist.distributed import ranks
from jpo_dist.model.engine import Engine, StepOutcome
from jpo_dist.objective import metrics, scores
from jpo_dist.objective.criterion import Portion, criterion_of
from jpo_dist.objective.reference import Reference


def train_step(
    policy: Engine, reference: Reference, dataset: Prepared, step: Step, objective: AnyObjective, lr: float
) -> tuple[StepOutcome, metrics.Meter]:
    """One optimizer step over the global batch, whatever the number of ranks and micro-steps. All ranks call it.

    It minimizes the weighted mean of the step's losses: sum of weight times loss over sum of weights (`total`; of SFT
    the divisor counts tokens).
    Returns what the optimizer did and the metrics of the step's comparisons.
    """
    meter, rank = metrics.Meter(), ranks.rank()
    portion = Portion(policy, reference, dataset, step.comparisons_C, step.limits)
    measure, total = criterion_of(objective).begin(portion)
    references = reference(dataset, step.micro_steps)
    for micro, reference_n2, share in zip(step.micro_steps, references, scores.shares(dataset, step), strict=True):
        found, logps_R = scores.score(policy, reference_n2, share, micro.counts, rank)
        losses_C, rows_CK = measure(found, share, micro)
        loss = (share.weights_C * losses_C).sum() / total
        if not share.batch.num_items:
            loss = loss + 0.0 * logps_R.sum()  # a rank without items still takes part in every backward
        # Each rank carries the gradient of its own items and DeepSpeed averages over ranks: times W makes it the sum.
        policy.backward(loss * ranks.num_ranks(), last=micro is step.micro_steps[-1])
        meter.add(rows_CK, micro.comparisons_C)
    return policy.step(lr), meter
