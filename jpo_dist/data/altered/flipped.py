"""Wrong labels: some comparisons for training whose winner and loser change places.

Legend: C comparisons.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.data.altered.config import FlipConfig
from jpo_dist.data.altered.kept import nearest
from jpo_dist.records.comparisons import TRAIN, ComparisonSet, digest, with_ends


def flipped(built: ComparisonSet, config: FlipConfig) -> tuple[ComparisonSet, dict[str, Any]]:
    """The set with a share of its decided comparisons for training the other way round, and how many those are."""
    may_C = pc.equal(built.comparisons["split"], TRAIN).to_numpy() & ~built.is_tie_C
    if config.among != "all":
        may_C &= built.is_joint_C == (config.among == "joint")
    chosen = ranked(built, np.flatnonzero(may_C), config.seed)[: nearest(config.share * int(may_C.sum()))]
    winners_C, losers_C = built.winners_C.copy(), built.losers_C.copy()
    winners_C[chosen], losers_C[chosen] = built.losers_C[chosen], built.winners_C[chosen]
    report = {"among": config.among, "comparisons": int(may_C.sum()), "flipped": len(chosen)}
    return ComparisonSet(built.items, with_ends(built.comparisons, winners_C, losers_C)), report


def ranked(built: ComparisonSet, rows: np.ndarray, seed: int) -> np.ndarray:
    """These comparisons in an order that the ids of their items and the seed decide, whichever of the two has won."""
    ids = built.items["id"].take(pa.array(np.concatenate([built.winners_C[rows], built.losers_C[rows]]))).to_pylist()
    keys = [digest(["flip", seed, *sorted(pair)]) for pair in zip(ids[: len(rows)], ids[len(rows) :], strict=True)]
    return rows[sorted(range(len(rows)), key=keys.__getitem__)].astype(np.int64)
