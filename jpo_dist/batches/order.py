"""The order of an epoch's comparisons. Legend: C comparisons, G groups."""

import numpy as np

from jpo_dist.batches.micro_steps import connected


def epoch_order(count: int, seed: int | None, group_C: np.ndarray | None, epoch: int) -> np.ndarray:
    """Numbers of the comparisons, (C,), in the order of `epoch`; without a seed, in that of the data.

    With `group_C` the comparisons of a group come one after another, groups and what is in them in random order.
    """
    if seed is None:
        return np.arange(count)
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    order_C = random.permutation(count)
    if group_C is None:
        return order_C
    place_G = random.permutation(int(group_C.max()) + 1)
    return order_C[np.argsort(place_G[group_C[order_C]], kind="stable")]


def item_groups(winners_C: np.ndarray, losers_C: np.ndarray) -> np.ndarray:
    """The number of each comparison's group, (C,), for `epoch_order`; comparisons that share items, directly or through
    others, are one group."""
    group_C = np.zeros(len(winners_C), dtype=np.int64)
    for number, places in enumerate(connected(winners_C.tolist(), losers_C.tolist())):
        group_C[places] = number
    return group_C
