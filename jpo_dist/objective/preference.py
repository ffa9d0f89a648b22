"""What the objective's settings make of scores: rewards, margins and losses. Legend: N items, C comparisons."""

import torch

from jpo_dist.config.objective import PER_TOKEN, TIE_LOSSES, ObjectiveConfig
from jpo_dist.objective.comparison_losses import comparison_losses, mean_rewards
from jpo_dist.objective.losses import total_margin
from jpo_dist.objective.scores import Scores
from jpo_dist.records.comparisons import INSTRUCTION


def rewards(found: Scores, objective: ObjectiveConfig) -> torch.Tensor:
    """beta * (log pi - log ref) of each item, (N,), with the instruction weight; a mean over tokens where the loss has
    one."""
    rewards_N2 = found.policy_N2 - found.reference_N2
    if objective.loss in PER_TOKEN:
        return objective.beta * mean_rewards(rewards_N2, _needed(found.scored_N2), objective.instruction_weight)
    weights = torch.ones(2, dtype=torch.float64, device=rewards_N2.device)
    weights[INSTRUCTION] = objective.instruction_weight
    return objective.beta * (rewards_N2 @ weights)


def margin(found: Scores, objective: ObjectiveConfig) -> torch.Tensor:
    """z of each comparison, (C,): of sums, or of means over tokens where the loss has them."""
    if objective.loss not in PER_TOKEN:
        return total_margin(found.margins_C2, objective.instruction_weight)
    rewards_N2 = found.policy_N2 - found.reference_N2
    mean_N = mean_rewards(rewards_N2, _needed(found.scored_N2), objective.instruction_weight)
    return mean_N[found.winners_C] - mean_N[found.losers_C]


def preference_losses(found: Scores, objective: ObjectiveConfig) -> torch.Tensor:
    """The preference loss of each comparison of a micro-step, (C,), the similarity of its instructions included."""
    z_C = margin(found, objective)
    if objective.similarity == "inside":
        z_C = _needed(found.similarity_C) * z_C
    losses_C = _losses(z_C, objective, found.is_tie_C)
    return _needed(found.similarity_C) * losses_C if objective.similarity == "outside" else losses_C


def tie_probabilities(found: Scores, objective: ObjectiveConfig) -> torch.Tensor | None:
    """How likely the policy makes it that the items of each comparison tie, (C,); None for a loss that cannot say."""
    if objective.loss not in TIE_LOSSES:
        return None
    z_C = margin(found, objective)
    return torch.exp(-_losses(z_C, objective, torch.ones_like(z_C, dtype=torch.bool)))


def _losses(z_C: torch.Tensor, objective: ObjectiveConfig, is_tie_C: torch.Tensor | None) -> torch.Tensor:
    smoothing, gamma, tie = objective.label_smoothing, objective.gamma, objective.tie_probability
    return comparison_losses(z_C, objective.beta, objective.loss, smoothing, gamma, tie, is_tie_C)


def _needed(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None, "scores were made without what this objective needs"
    return tensor
