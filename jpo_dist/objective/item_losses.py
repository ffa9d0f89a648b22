"""Losses of single items, in pure functions of tensors.

Legend: C examples; everything in nats. Columns of a score are (instruction, response).
"""

import torch

from jpo_dist.records.comparisons import INSTRUCTION, RESPONSE


def by_part(instruction_weight: float, scores_C2: torch.Tensor) -> torch.Tensor:
    """response + lambda * instruction of scores, log-ratios or counts of tokens by part, (C,)."""
    return scores_C2[:, RESPONSE] + instruction_weight * scores_C2[:, INSTRUCTION]


def sft_item_losses(policy_C2: torch.Tensor, instruction_weight: float) -> torch.Tensor:
    """Negative log-likelihood of each example, (C,): -(log p(R | I) + lambda log p(I)), sums over tokens.

    A step divides the weighted sum of all by its weighted number of scored tokens: the mean over the tokens of the
    global batch, as SFT is usually written.

    >>> sft_item_losses(torch.tensor([[-4.0, -2.0]]), 0.5)
    tensor([4.])
    """
    return -by_part(instruction_weight, policy_C2)


def kto_losses(
    r_C: torch.Tensor,
    z0: torch.Tensor,
    desirable_C: torch.Tensor,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> torch.Tensor:
    """Loss of each example, (C,): Ethayarajh et al., arXiv 2402.01306, eq. 8.

    desirable    lambda_D * (1 - sigmoid(beta (r - z0)))        r = log pi(R | I) - log ref(R | I)
    undesirable  lambda_U * (1 - sigmoid(beta (z0 - r)))        z0: `reference_point`, without gradient

    >>> kto_losses(torch.zeros(2), torch.tensor(0.0), torch.tensor([True, False]), 0.1, undesirable_weight=2.0)
    tensor([0.5000, 1.0000])
    """
    drift_C = beta * (r_C - z0.detach())
    gain_C = torch.where(desirable_C, torch.sigmoid(drift_C), torch.sigmoid(-drift_C))
    return torch.where(desirable_C, desirable_weight, undesirable_weight) * (1 - gain_C)


def reference_point(r_C: torch.Tensor) -> torch.Tensor:
    """z0: how far the policy has drifted, max(0, mean of log pi - log ref) over mismatched pairs; section 4.1 there."""
    return r_C.detach().mean().clamp(min=0)
