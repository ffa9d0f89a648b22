"""Margins across ranks: scores gathered from wherever their items were scored.

Legend: n items on this rank, N on all ranks (rank 0's first), C comparisons.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from jpo_dist import objective
from jpo_dist.plan import MicroStep
from jpo_dist.score import Packed, item_scores
from jpo_dist.tokenize import TokenizedItems

Policy = Callable[[Packed], torch.Tensor]
"""Packed items to the log-probs of their tokens: an engine, or a module."""


class Scores(NamedTuple):
    """Of one micro-step, equal on every rank; gradient flows to this rank's own items only."""

    policy_N2: torch.Tensor
    reference_N2: torch.Tensor
    winners_C: torch.Tensor
    losers_C: torch.Tensor
    margins_C2: torch.Tensor


def gather_scores(local_nK: torch.Tensor, counts: list[int], rank: int) -> torch.Tensor:
    """Scores of all ranks' items, (N, K). `counts` comes from the plan, so no sizes are exchanged.

    Gathered copies carry no gradient. This rank's own rows are put back in with theirs: each rank then holds the
    gradient of the whole loss with respect to its own items, and the sum over ranks is the gradient.
    """
    if len(counts) == 1:
        return local_nK
    most, width = max(counts), local_nK.shape[1]
    padded = local_nK.new_zeros(most, width)
    padded[: len(local_nK)] = local_nK.detach()
    everyone = local_nK.new_empty(len(counts) * most, width)
    dist.all_gather_single(everyone, padded)
    parts = [everyone[r * most : r * most + count] for r, count in enumerate(counts)]
    parts[rank] = local_nK
    return torch.cat(parts)


def score(
    policy: Policy, reference_n2: torch.Tensor, batch: Packed, micro: MicroStep, rank: int
) -> tuple[Scores, torch.Tensor]:
    """One engine forward here, one gather of a few floats, all margins everywhere.

    Also returns this rank's token log-probs, for the filler's empty gradient.
    """
    logps_R: torch.Tensor = policy(batch)
    local_n4 = torch.cat([item_scores(logps_R, batch), reference_n2], dim=1)
    all_N4 = gather_scores(local_n4, [len(items) for items in micro.items_by_rank], rank)
    policy_N2, reference_N2 = all_N4[:, :2], all_N4[:, 2:].detach()
    winners_C, losers_C = (torch.from_numpy(a).to(logps_R.device) for a in (micro.winners_C, micro.losers_C))
    margins_C2 = objective.margins(policy_N2, reference_N2, winners_C, losers_C)
    return Scores(policy_N2, reference_N2, winners_C, losers_C, margins_C2), logps_R


def response_lengths(tokens: TokenizedItems, micro: MicroStep) -> torch.Tensor:
    """Response tokens of the micro-step's items, EOS included, (N,)."""
    items_N = micro.items_N
    lengths: np.ndarray = tokens.lengths_N[items_N] - tokens.instruction_lengths_N[items_N]
    return torch.from_numpy(lengths)
