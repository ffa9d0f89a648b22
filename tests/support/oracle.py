"""The objective the obvious way: one item at a time, unpacked, full log-softmax, in the dtype of the model.

Shares no code with the package but the tokenizer's output. Slow, and right by inspection.
"""

import math
from typing import Any

import numpy as np
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


def sft_loss(model: Any, tokens: TokenizedItems, rows: list[int], instruction_weight: float) -> torch.Tensor:
    """Mean nats a token; tokens of instructions count as `instruction_weight` of one, the first of an item as none."""
    total, count = torch.zeros((), dtype=torch.float64), 0.0
    for row in rows:
        instruction, response = item_logps(model, tokens, row)
        boundary = int(tokens.instruction_lengths_N[row])
        total = total - response - instruction_weight * instruction
        count += len(tokens.ids(row)) - boundary + instruction_weight * (boundary - 1)
    return total / count


def kto_loss(
    policy: Any,
    reference: Any,
    tokens: TokenizedItems,
    rows: list[int],
    desirable: list[bool],
    instruction_weight: float,
    label_weights: tuple[float, float],
    beta: float = 0.1,
) -> torch.Tensor:
    """Eq. 8 of arXiv 2402.01306 over different instructions; z0 from each response under the next row's instruction."""

    def reward(ids: list[int], boundary: int) -> torch.Tensor:
        one = TokenizedItems(np.array(ids), np.array([0, len(ids)]), np.array([boundary]))
        with torch.no_grad():
            fixed = item_logps(reference, one, 0)
        parts = [ours - theirs for ours, theirs in zip(item_logps(policy, one, 0), fixed, strict=True)]
        return instruction_weight * parts[0] + parts[1]

    whole = [tokens.ids(row).tolist() for row in rows]
    cuts = [int(tokens.instruction_lengths_N[row]) for row in rows]
    turned = [(i, (i + 1) % len(rows)) for i in range(len(rows))]
    drift = [reward(whole[j][: cuts[j]] + whole[i][cuts[i] :], cuts[j]).item() for i, j in turned]
    z0 = max(0.0, sum(drift) / len(drift))
    total = torch.zeros((), dtype=torch.float64)
    for ids, cut, good in zip(whole, cuts, desirable, strict=True):
        sign = 1 if good else -1
        total = total + label_weights[not good] * (1 - torch.sigmoid(sign * beta * (reward(ids, cut) - z0)))
    return total / len(rows)


LN2 = math.log(2)
