"""Margins across ranks: scores gathered from wherever their items were scored.

Legend: of one micro-step, n items of this rank, N items of all ranks (rank 0's first), C comparisons, R rows that are
scored here. Columns of a score are (instruction, response).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist

from jpo_dist.batches.plan import MicroStep, Step
from jpo_dist.batches.prefetch import ahead
from jpo_dist.batches.prepare import Prepared
from jpo_dist.distributed import ranks
from jpo_dist.model.device import device
from jpo_dist.model.scorer import Packed, move, pack
from jpo_dist.objective import losses

Policy = Callable[[Packed], torch.Tensor]
"""Packed items to the log-probs of their tokens: an engine, or a module."""


class Scores(NamedTuple):
    """Scores and margins of one micro-step in nats, equal on every rank; gradient flows to this rank's own items
    only."""

    policy_N2: torch.Tensor
    reference_N2: torch.Tensor
    winners_C: torch.Tensor
    losers_C: torch.Tensor
    margins_C2: torch.Tensor
    scored_N2: torch.Tensor | None = None
    is_tie_C: torch.Tensor | None = None
    similarity_C: torch.Tensor | None = None
    """As in Share; made by hand, scores may lack them."""


class Share(NamedTuple):
    """What this rank needs of one micro-step, on its device: its items, and which of all items are compared."""

    batch: Packed
    winners_C: torch.Tensor
    losers_C: torch.Tensor
    weights_C: torch.Tensor
    response_lengths_N: torch.Tensor
    scored_N2: torch.Tensor
    """Tokens of each item that have a log-prob, by part."""
    is_tie_C: torch.Tensor
    similarity_C: torch.Tensor | None = None


def share_of(dataset: Prepared, micro: MicroStep, rank: int, where: torch.device) -> Share:
    """What `rank` needs of a micro-step. It does nothing on a GPU but copy: a thread runs it while the micro-step
    before is computed."""
    tokens, items_N = dataset.tokens, micro.items_N
    lengths_N = tokens.lengths_N[items_N] - tokens.instruction_lengths_N[items_N]
    places_C, scored_N2 = micro.comparisons_C, tokens.scored_N2[items_N]
    weights_C, is_tie_C = dataset.comparisons.weights_C[places_C], dataset.comparisons.is_tie_C[places_C]
    small = (micro.winners_C, micro.losers_C, weights_C, lengths_N, scored_N2, is_tie_C)
    factors_C = None if dataset.similarity_C is None else move(dataset.similarity_C[places_C], where)
    items_n = micro.items_by_rank[rank]
    batch = pack(tokens, items_n, where, micro.skips_by_rank[rank], dataset.instructions_of(items_n))
    return Share(batch, *(move(array, where) for array in small))._replace(similarity_C=factors_C)


def shares(dataset: Prepared, step: Step) -> Iterator[Share]:
    """This rank's part of each micro-step; the next one is made ready while this one computes."""
    rank, where = ranks.rank(), device()
    return ahead(lambda micro: share_of(dataset, micro, rank, where), step.micro_steps)


def gather_scores(local_nK: torch.Tensor, counts: list[int], rank: int) -> torch.Tensor:
    """Columns of all ranks' items, (N, K), from this rank's, (n, K); `counts`: items of each rank. K: any number.

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
    policy: Policy, reference_n2: torch.Tensor, share: Share, counts: list[int], rank: int
) -> tuple[Scores, torch.Tensor]:
    """Scores and margins of a micro-step: one engine forward here, one gather of a few floats, all margins everywhere.

    `counts`: items of each rank. Also returns this rank's token log-probs, (R,), for the filler's empty gradient.
    """
    logps_R: torch.Tensor = policy(share.batch)
    local_n4 = torch.cat([item_scores(logps_R, share.batch), reference_n2], dim=1)
    all_N4 = gather_scores(local_n4, counts, rank)
    policy_N2, reference_N2 = all_N4[:, :2], all_N4[:, 2:].detach()
    margins_C2 = losses.margins(policy_N2, reference_N2, share.winners_C, share.losers_C)
    edges, more = (share.winners_C, share.losers_C), (share.scored_N2, share.is_tie_C, share.similarity_C)
    return Scores(policy_N2, reference_N2, *edges, margins_C2, *more), logps_R


def item_scores(logps_R: torch.Tensor, batch: Packed) -> torch.Tensor:
    """Sums of log-probs by item and part, (n, 2) in float64: joint log-probs are O(1e3), and margins their
    differences."""
    sums = torch.zeros(2 * batch.num_items, dtype=torch.float64, device=logps_R.device)
    if batch.num_items == 0:
        return sums.view(0, 2)
    return sums.index_add(0, batch.slots_R, logps_R.double()).view(-1, 2)
