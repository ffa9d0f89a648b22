"""Scores of items outside a step: no plan, no gradient.

Legend: N items of a set, n items of one forward.
"""

from collections.abc import Sequence

import numpy as np
import torch

from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.distributed import ranks
from jpo_dist.distributed.waiting import working
from jpo_dist.model.device import device
from jpo_dist.model.scorer import Scorer, pack
from jpo_dist.objective.scores import Policy, item_scores


def score_items(model: Scorer, tokens: TokenizedItems, tokens_per_pass: int) -> torch.Tensor:
    """Log-probs in nats of each item's instruction and response, (N, 2), float64 on the CPU, without gradient.

    They are what a training step reads off the same model. `tokens_per_pass`: most tokens in one forward; an item that
    has more goes alone.
    """
    where = next(model.parameters()).device
    scores_N2 = torch.zeros(len(tokens), 2, dtype=torch.float64)
    longest_first = np.argsort(-tokens.lengths_N, kind="stable")
    with torch.no_grad():
        for items_n in passes(longest_first, tokens.lengths_N, tokens_per_pass):
            batch = pack(tokens, items_n, where)
            scores_N2[torch.from_numpy(items_n)] = item_scores(model(batch), batch).cpu()
    return scores_N2


def score_on_ranks(model: Policy, tokens: TokenizedItems, tokens_per_pass: int) -> np.ndarray:
    """What `score_items` returns, (N, 2) in float64, the forwards shared among the ranks. All ranks call it.

    How items are packed does not depend on the number of ranks: each takes whole forwards in turn. So any number of
    ranks gives the same bits, on the same kind of machine with the same number of threads. Every rank makes as many
    forwards as the others, which ZeRO-3 needs.
    """
    rank, num_ranks, where = ranks.rank(), ranks.num_ranks(), device()
    packs = passes(np.argsort(-tokens.lengths_N, kind="stable"), tokens.lengths_N, tokens_per_pass)
    scores_N2 = torch.zeros(len(tokens), 2, dtype=torch.float64, device=where)
    with torch.no_grad(), working("scoring", len(tokens), "items") as work:
        for start in range(0, len(packs), num_ranks):
            items_n = packs[start + rank] if start + rank < len(packs) else np.zeros(0, dtype=np.int64)
            batch = pack(tokens, items_n, where)
            scores_N2[torch.from_numpy(items_n).to(where)] = item_scores(model(batch), batch)
            work.add(sum(map(len, packs[start : start + num_ranks])))
    scored: np.ndarray = ranks.all_reduce_sum(scores_N2).cpu().numpy()  # exact: all others have added 0
    return scored


def passes(rows: Sequence[int] | np.ndarray, lengths_N: np.ndarray, budget: int) -> list[np.ndarray]:
    """`rows` in their order, cut into forwards of at most `budget` tokens; a row of more goes alone."""
    cut: list[list[int]] = []
    left = 0
    for row in rows:
        length = int(lengths_N[row])
        if not cut or length > left:
            cut.append([])
            left = budget
        cut[-1].append(int(row))
        left -= length
    return [np.array(part, dtype=np.int64) for part in cut]
