"""Numbers of a step or an evaluation of single items. Legend: C examples, K metric columns.

Of SFT, by sums over the examples, since a mean of means would depend on how they lie in steps:

    loss             what is minimized: weighted nats a token, instruction tokens with the weight they have in the loss
    perplexity       exp of the mean nats a token of responses, unweighted
    tokens           tokens that count in the loss, those of instructions with their weight
    logps/response   log p(R | I) in nats, a mean over examples; logps/instruction: log p(I), where the loss counts it

Of KTO, means over examples. Names are TRL's where the meaning is the same; `chosen` is desirable:

    kl                                          z0, the drift of the policy in nats
    rewards/chosen, rewards/rejected            beta * r of desirable and of undesirable examples
    rewards/margins                             their difference, where a step has both
    rewards/accuracies                          share of examples whose r lies on their side of z0
    log_ratio/instruction, log_ratio/response   the two parts of r in nats, unweighted
    logps/chosen_response, logps/rejected_response   log pi(R | I) in nats
"""

import numpy as np
import torch

from jpo_dist.objective.item_losses import by_part
from jpo_dist.records.comparisons import INSTRUCTION, RESPONSE


def sft_columns(
    losses_C: torch.Tensor, policy_C2: torch.Tensor, tokens_C2: torch.Tensor, weights_C: torch.Tensor, lam: float
) -> torch.Tensor:
    """The columns of each example, (C, K): nats and tokens in the loss, both weighted; tokens; log-probs by part;
    tokens of the response."""
    tokens_C = by_part(lam, tokens_C2)
    columns = [weights_C * losses_C, weights_C * tokens_C, tokens_C, *policy_C2.T, tokens_C2[:, RESPONSE]]
    return torch.stack([column.detach().double() for column in columns], dim=1)


def sft_means(rows_CK: np.ndarray, prefix: str = "") -> dict[str, float]:
    """What the metrics of SFT are over these examples, by `prefix` and name; empty for none."""
    if not len(rows_CK):
        return {}
    nats, weight, tokens, instruction, response, response_tokens = rows_CK.sum(0).tolist()
    found = {
        "loss": nats / weight,
        "perplexity": float(np.exp(-response / response_tokens)),
        "tokens": tokens,
        "logps/response": response / len(rows_CK),
    }
    if tokens > response_tokens:
        found["logps/instruction"] = instruction / len(rows_CK)
    return {prefix + name: value for name, value in found.items()}


def kto_columns(
    losses_C: torch.Tensor,
    desirable_C: torch.Tensor,
    r_C: torch.Tensor,
    z0: torch.Tensor,
    beta: float,
    ratios_C2: torch.Tensor,
    policy_C2: torch.Tensor,
) -> torch.Tensor:
    """The columns of each example, (C, K): loss, label, beta * r, whether r is on its side of z0, z0, r by part,
    log-prob of the response."""
    right_C = torch.where(desirable_C, r_C > z0, r_C < z0)
    columns = [
        losses_C, desirable_C, beta * r_C, right_C, z0.expand_as(r_C), ratios_C2[:, INSTRUCTION],
        ratios_C2[:, RESPONSE], policy_C2[:, RESPONSE],
    ]  # fmt: skip
    return torch.stack([column.detach().double() for column in columns], dim=1)


def kto_means(rows_CK: np.ndarray, prefix: str = "") -> dict[str, float]:
    """What the metrics of KTO are over these examples, by `prefix` and name; empty for none."""
    if not len(rows_CK):
        return {}
    loss, label, reward, right, kl, instruction, response, logp = rows_CK.T
    found = {
        "loss": loss.mean(),
        "kl": kl.mean(),
        "rewards/accuracies": right.mean(),
        "log_ratio/instruction": instruction.mean(),
        "log_ratio/response": response.mean(),
    }
    for name, here in (("chosen", label == 1), ("rejected", label == 0)):
        if here.any():
            found[f"rewards/{name}"] = reward[here].mean()
            found[f"logps/{name}_response"] = logp[here].mean()
    if {"rewards/chosen", "rewards/rejected"} <= found.keys():
        found["rewards/margins"] = found["rewards/chosen"] - found["rewards/rejected"]
    return {prefix + name: float(value) for name, value in found.items()}
