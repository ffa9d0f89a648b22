"""The losses on comparisons, one function each, and a table of their names.

Legend: C comparisons, N items. z_C: margins in nats, as losses.total_margin has them, or as means over tokens.

Every function gives the loss of each comparison, (C,). The loss that a step trains is their weighted mean: the sum of
weight times loss, divided by the sum of the weights of its comparisons. sigmoid(x) = 1 / (1 + exp(-x)).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import logsigmoid, softplus

from jpo_dist.config.objective import Loss
from jpo_dist.objective.losses import sigmoid
from jpo_dist.records.comparisons import INSTRUCTION, RESPONSE


def ipo(z_C: torch.Tensor, beta: float) -> torch.Tensor:
    """(z - 1 / (2 beta))^2: Azar et al., arXiv 2310.12036, eq. 17. The margin has a goal, and more is not better."""
    return (z_C - 1 / (2 * beta)) ** 2


def hinge(z_C: torch.Tensor, beta: float) -> torch.Tensor:
    """max(0, 1 - beta z): SLiC, Zhao et al., arXiv 2305.10425, with the margin in place of the policy's log-ratio."""
    return torch.relu(1 - beta * z_C)


def robust(z_C: torch.Tensor, beta: float, label_smoothing: float) -> torch.Tensor:
    """[(1 - e) L(z) - e L(-z)] / (1 - 2 e), L(z) = -log sigmoid(beta z): Chowdhury et al., arXiv 2403.00409.

    e (`label_smoothing`, below 1/2): how often labels are flipped. Over flips at this rate the mean of the loss is that
    of L on the true labels. It can be negative, and falls without bound as z grows.
    """
    e = label_smoothing
    return ((1 - e) * sigmoid(z_C, beta) - e * sigmoid(-z_C, beta)) / (1 - 2 * e)


def davidson(z_C: torch.Tensor, beta: float, tie_probability: float, is_tie_C: torch.Tensor) -> torch.Tensor:
    """-log P(winner wins), or -log P(tie) where `is_tie_C`: Davidson (1970) in Chen et al., arXiv 2409.17431, sec. 2.

    With d = beta z:  P(wins) = 1 / (1 + exp(-d) + 2 nu exp(-d/2)),  P(tie) = 2 nu exp(-d/2) P(wins).
    nu is such that items with d = 0 tie with `tie_probability` p: nu / (1 + nu) = p.
    """
    half_C, nu = beta * z_C / 2, tie_probability / (1 - tie_probability)
    log_2nu = torch.log(torch.as_tensor(2 * nu, dtype=z_C.dtype, device=z_C.device))
    terms_C3 = torch.stack([torch.zeros_like(half_C), -2 * half_C, log_2nu - half_C], dim=-1)
    wins_C = torch.logsumexp(terms_C3, dim=-1)
    return torch.where(is_tie_C, wins_C + half_C - log_2nu, wins_C)


def rao_kupper(z_C: torch.Tensor, beta: float, tie_probability: float, is_tie_C: torch.Tensor) -> torch.Tensor:
    """-log P(winner wins), or -log P(tie) where `is_tie_C`: Rao and Kupper (1967) in Chen et al., arXiv 2409.17431.

    With d = beta z and a = log nu:  P(wins) = sigmoid(d - a),  P(tie) = (nu^2 - 1) sigmoid(d - a) sigmoid(-d - a).
    nu is such that items with d = 0 tie with `tie_probability` p: (nu - 1) / (nu + 1) = p.
    """
    nu = torch.as_tensor((1 + tie_probability) / (1 - tie_probability), dtype=z_C.dtype, device=z_C.device)
    wins_C, loses_C = softplus(torch.log(nu) - beta * z_C), softplus(torch.log(nu) + beta * z_C)
    return torch.where(is_tie_C, wins_C + loses_C - torch.log(nu**2 - 1), wins_C)


def simpo(z_C: torch.Tensor, beta: float, gamma: float) -> torch.Tensor:
    """-log sigmoid(beta z - gamma): SimPO, Meng et al., arXiv 2405.14734, eq. 6. z: see mean_rewards, no reference."""
    return -logsigmoid(beta * z_C - gamma)


def mean_rewards(rewards_N2: torch.Tensor, scored_N2: torch.Tensor, instruction_weight: float) -> torch.Tensor:
    """(r_response + lambda r_instruction) / (n_response + lambda n_instruction) of each item, (N,), in nats a token.

    r: rewards, n: tokens. `scored_N2`: tokens that have a log-prob, by part. lambda = 0 is the mean over the response,
    as SimPO has it; 1 the mean over all tokens after the first. What two items begin with does
    not cancel in a difference of means.
    """
    tokens_N = scored_N2[:, RESPONSE] + instruction_weight * scored_N2[:, INSTRUCTION]
    return (rewards_N2[:, RESPONSE] + instruction_weight * rewards_N2[:, INSTRUCTION]) / tokens_N.clamp(min=1)


LOSSES: dict[Loss, tuple[Callable[..., torch.Tensor], tuple[str, ...]]] = {
    "sigmoid": (sigmoid, ("label_smoothing",)),
    "ipo": (ipo, ()),
    "hinge": (hinge, ()),
    "robust": (robust, ("label_smoothing",)),
    "davidson": (davidson, ("tie_probability", "is_tie_C")),
    "rao_kupper": (rao_kupper, ("tie_probability", "is_tie_C")),
    "sigmoid_norm": (sigmoid, ()),
    "simpo": (simpo, ("gamma",)),
}
"""Each loss, and what it takes beside margins and beta."""


def comparison_losses(
    z_C: torch.Tensor,
    beta: float,
    kind: Loss,
    label_smoothing: float = 0.0,
    gamma: float = 0.5,
    tie_probability: float = 0.5,
    is_tie_C: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss `kind` of each comparison, (C,); what it does not take is not looked at. No `is_tie_C`: no ties.

    Raises ValueError for a loss that is none.

    >>> comparison_losses(torch.zeros(1, dtype=torch.float64), 0.1, "sigmoid").item()
    0.6931471805599453
    """
    if kind not in LOSSES:
        raise ValueError(f"kind ({kind}) is no loss; use one of {', '.join(LOSSES)}")
    function, takes = LOSSES[kind]
    known: dict[str, Any] = {
        "label_smoothing": label_smoothing,
        "gamma": gamma,
        "tie_probability": tie_probability,
        "is_tie_C": torch.zeros_like(z_C, dtype=torch.bool) if is_tie_C is None else is_tie_C,
    }
    return function(z_C, beta, **{name: known[name] for name in takes})
