"""What a step minimizes and what is written down of it: chosen once, by the objective.

Legend: C comparisons or examples of a micro-step, K metric columns, N items of all ranks in it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from jpo_dist.batches.micro_steps import Limits
from jpo_dist.batches.mismatched import mismatched, one_step, require_mismatches
from jpo_dist.batches.plan import MicroStep, Plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.sft import AnyObjective, SftObjective
from jpo_dist.distributed import ranks
from jpo_dist.objective import item_metrics, metrics
from jpo_dist.objective.item_losses import by_part, kto_losses, reference_point, sft_item_losses
from jpo_dist.objective.losses import sft_losses
from jpo_dist.objective.preference import preference_losses
from jpo_dist.objective.reference import Reference
from jpo_dist.objective.scores import Policy, Scores, Share, score, shares
from jpo_dist.records.comparisons import ComparisonSet


class Portion(NamedTuple):
    """The comparisons or examples that are minimized together, `chosen_C` by number, and what scores them."""

    policy: Policy
    reference: Reference
    dataset: Prepared
    chosen_C: np.ndarray
    limits: Limits
    """Of the plan: they hold for everything else that has to be scored, too."""


Measure = Callable[[Scores, Share, MicroStep], tuple[torch.Tensor, torch.Tensor]]
"""Scores of a micro-step to the loss of each comparison or example, (C,), and its metrics, (C, K)."""


Require = Callable[[Plan, Prepared, Prepared | None], None]


def anything(plan: Plan, dataset: Prepared, held_out: Prepared | None) -> None:
    """Asks nothing of a plan and what is held out."""


class Criterion(NamedTuple):
    """An objective as a step, an evaluation and the log use it."""

    begin: Callable[[Portion], tuple[Measure, float]]
    """How losses are measured in a portion, and what the sum of the weighted ones is divided by. All ranks call it."""
    means: Callable[[np.ndarray, str], dict[str, float]]
    """Metrics of a step from rows (C, K), with a prefix for their names."""
    held_out: Callable[[np.ndarray, ComparisonSet], dict[str, float]]
    """`eval/...` from the rows of a held-out set."""
    require: Require = anything
    """Raises ValueError where the plan has a step that this objective cannot learn from."""


def criterion_of(objective: AnyObjective) -> Criterion:
    """The criterion of an objective: the one place that asks which it is."""
    if isinstance(objective, SftObjective):
        return _of_items(lambda portion: _sft(portion, objective), item_metrics.sft_means)
    if objective.loss == "kto":
        return _of_items(lambda portion: _kto(portion, objective), item_metrics.kto_means, require_mismatches)
    return Criterion(
        lambda portion: _compared(portion, objective),
        metrics.means,
        lambda rows_CK, held_out: metrics.by_protocol(rows_CK, held_out.is_joint_C, "eval/"),
    )


def _of_items(
    begin: Callable[[Portion], tuple[Measure, float]],
    means: Callable[[np.ndarray, str], dict[str, float]],
    require: Require = anything,
) -> Criterion:
    held_out = lambda rows_CK, _: {**means(rows_CK, "eval/"), "eval/examples": float(len(rows_CK))}  # noqa: E731
    return Criterion(begin, means, held_out, require)


def _compared(portion: Portion, objective: ObjectiveConfig) -> tuple[Measure, float]:
    def measure(found: Scores, share: Share, micro: MicroStep) -> tuple[torch.Tensor, torch.Tensor]:
        losses_C = preference_losses(found, objective)
        if objective.sft_weight:
            sft_C = sft_losses(found.policy_N2, share.response_lengths_N, found.winners_C)
            has_winner_C = 1 if found.is_tie_C is None else ~found.is_tie_C.bool()
            losses_C = losses_C + objective.sft_weight * has_winner_C * sft_C
        return losses_C, metrics.comparison_columns(found, losses_C, objective)

    return measure, _weight(portion)


def _weight(portion: Portion) -> float:
    return float(portion.dataset.comparisons.weights_C[portion.chosen_C].sum())


def _sft(portion: Portion, objective: SftObjective) -> tuple[Measure, float]:
    compared, lam = portion.dataset.comparisons, objective.instruction_weight

    def measure(found: Scores, share: Share, micro: MicroStep) -> tuple[torch.Tensor, torch.Tensor]:
        policy_C2 = found.policy_N2[found.winners_C]
        losses_C = sft_item_losses(policy_C2, lam)
        tokens_C2 = share.scored_N2[found.winners_C].to(losses_C)
        return losses_C, item_metrics.sft_columns(losses_C, policy_C2, tokens_C2, share.weights_C, lam)

    tokens_C2 = torch.from_numpy(portion.dataset.tokens.scored_N2[compared.winners_C[portion.chosen_C]]).double()
    weights_C = torch.from_numpy(compared.weights_C[portion.chosen_C].copy())
    return measure, float((weights_C * by_part(lam, tokens_C2)).sum())


def _kto(portion: Portion, objective: ObjectiveConfig) -> tuple[Measure, float]:
    lam, beta = objective.instruction_weight, objective.beta
    z0 = reference_point(_mismatched_rewards(portion, lam))
    labels_C = portion.dataset.comparisons.desirable_C  # type: ignore[attr-defined]

    def measure(found: Scores, share: Share, micro: MicroStep) -> tuple[torch.Tensor, torch.Tensor]:
        policy_C2 = found.policy_N2[found.winners_C]
        ratios_C2 = policy_C2 - found.reference_N2[found.winners_C]
        r_C = by_part(lam, ratios_C2)
        desirable_C = torch.from_numpy(labels_C[micro.comparisons_C]).to(r_C.device)
        losses_C = kto_losses(r_C, z0, desirable_C, beta, objective.desirable_weight, objective.undesirable_weight)
        return losses_C, item_metrics.kto_columns(losses_C, desirable_C, r_C, z0, beta, ratios_C2, policy_C2)

    return measure, _weight(portion)


def _mismatched_rewards(portion: Portion, instruction_weight: float) -> torch.Tensor:
    """r of each mismatched pair of the portion, (C,), equal on every rank; without gradient."""
    pairs = mismatched(portion.dataset, portion.chosen_C)
    step = one_step(pairs, portion.limits)
    rewards: list[torch.Tensor] = []
    with torch.no_grad():
        references = portion.reference(pairs, step.micro_steps)
        for micro, reference_n2, share in zip(step.micro_steps, references, shares(pairs, step), strict=True):
            found, _ = score(portion.policy, reference_n2, share, micro.counts, ranks.rank())
            rewards.append(by_part(instruction_weight, (found.policy_N2 - found.reference_N2)[found.winners_C]))
    return torch.cat(rewards)
