"""The objective the obvious way: one item at a time, unpacked, full log-softmax, in the dtype of the model.

Shares no code with the package but the tokenizer's output. Slow, and right by inspection.
"""

import math
from typing import Any

import torch

from jpo_dist.batches.tokenize import TokenizedItems


def item_logps(model: Any, tokens: TokenizedItems, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(log p of instruction tokens after the first, log p of response tokens), as scalars with gradient."""
    ids = torch.tensor(tokens.ids(row).tolist())
    logits = model(ids[None]).logits[0]
    boundary = int(tokens.instruction_lengths_N[row])
    parts = [logits.new_zeros(()), logits.new_zeros(())]
    for t in range(1, len(ids)):
        logp = torch.log_softmax(logits[t - 1].double(), -1)[ids[t]]
        parts[t >= boundary] = parts[t >= boundary] + logp
    return parts[0], parts[1]


def jpo_loss(
    policy: Any,
    reference: Any,
    tokens: TokenizedItems,
    edges: list[tuple[int, int, float]],
    beta: float = 0.1,
    instruction_weight: float = 1.0,
) -> torch.Tensor:
    """Weighted mean of -log sigmoid(beta z) over (winner, loser, weight) edges."""

    def joint(model: Any, row: int) -> torch.Tensor:
        instruction, response = item_logps(model, tokens, row)
        return instruction_weight * instruction + response

    total, weights = torch.zeros((), dtype=torch.float64), 0.0
    for winner, loser, weight in edges:
        with torch.no_grad():
            ref = joint(reference, winner) - joint(reference, loser)
        z = joint(policy, winner) - joint(policy, loser) - ref
        total = total + weight * torch.log1p(torch.exp(-beta * z))
        weights += weight
    return total / weights


LN2 = math.log(2)
