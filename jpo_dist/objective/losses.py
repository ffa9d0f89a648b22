"""The objective, in pure functions of tensors.

Legend: N items, C comparisons; everything in nats. scores_N2 and margins_C2 have columns (instruction, response).

    z(w,l) = [log pi(I_w,R_w) - log ref(I_w,R_w)] - [log pi(I_l,R_l) - log ref(I_l,R_l)] = z_instruction + z_response
    L_JPO  = - sum of  weight * log sigmoid(beta * z)  / sum of weight             (Bansal et al., arXiv 2404.00530)

Both sums are over the comparisons of a step. The paper has no weights: with equal ones this is its mean. Weights count
beside each other: one of 3 is as three comparisons of weight 1, and a factor that all share has no effect.
"""

import torch
from torch.nn.functional import logsigmoid

from jpo_dist.records.comparisons import INSTRUCTION, RESPONSE


def margins(
    policy_N2: torch.Tensor, reference_N2: torch.Tensor, winners_C: torch.Tensor, losers_C: torch.Tensor
) -> torch.Tensor:
    """Margins of the comparisons, by part, (C, 2). `winners_C`, `losers_C`: row numbers of their items.

    Raises ValueError where policy and reference have not scored the same items.
    """
    if policy_N2.shape != reference_N2.shape:
        raise ValueError(f"scores of policy {tuple(policy_N2.shape)} and reference {tuple(reference_N2.shape)} differ")
    rewards_N2 = policy_N2 - reference_N2
    return rewards_N2[winners_C] - rewards_N2[losers_C]


def total_margin(margins_C2: torch.Tensor, instruction_weight: float) -> torch.Tensor:
    """z = z_response + lambda * z_instruction, (C,). lambda = 1 is JPO; 0 scores responses alone, as DPO does."""
    return margins_C2[:, RESPONSE] + instruction_weight * margins_C2[:, INSTRUCTION]


def sigmoid(z_C: torch.Tensor, beta: float, label_smoothing: float = 0.0) -> torch.Tensor:
    """-(1 - s) log sigmoid(beta z) - s log sigmoid(-beta z), (C,). s: label smoothing (cDPO, Mitchell, 2023).

    The paper's loss; the others are in comparison_losses.py.
    """
    s = label_smoothing
    return -(1 - s) * logsigmoid(beta * z_C) - s * logsigmoid(-beta * z_C)


def sft_losses(policy_N2: torch.Tensor, response_lengths_N: torch.Tensor, winners_C: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of the tokens of each winner's response, EOS included, (C,), in nats a token."""
    return -policy_N2[winners_C, RESPONSE] / response_lengths_N[winners_C]
