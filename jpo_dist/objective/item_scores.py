"""Scores of items outside a step, in one process: no plan, no engine, no gradient.

Legend: N items.
"""

from collections.abc import Sequence

import numpy as np
import torch

from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.model.scorer import Scorer, pack
from jpo_dist.objective.scores import item_scores


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
