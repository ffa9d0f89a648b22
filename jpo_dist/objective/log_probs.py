"""Log-probs of items under a model that is not trained, in one process: what the pairing policy `hard` goes by.

Legend: N items, T tokens of those that are short enough, end to end.
"""

from collections.abc import Sequence

import numpy as np

from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.sections import ReferenceConfig, TokensConfig
from jpo_dist.data.config import ReferenceScoresConfig
from jpo_dist.model.engine import connect
from jpo_dist.model.load import load_tokenizer
from jpo_dist.objective.reference_cache import score_once
from jpo_dist.records.comparisons import Item


def reference_logps(items: Sequence[Item], settings: ReferenceScoresConfig) -> np.ndarray:
    """log p(I, R) in nats of each item, (N,); NaN for items over max_length. Kept in the reference cache, as
    reference.mode=cached keeps its scores: training against the same reference finds them again."""
    connect()
    tokenizer = load_tokenizer(settings.model)
    tokens = tokenize(tokenizer, list(items), TokensConfig(template=settings.template))
    fits_N = tokens.lengths_N <= settings.max_length
    kept = tokens.take(np.flatnonzero(fits_N))
    (logps_T,) = score_once(settings.model, EngineConfig(), ReferenceConfig().tokens_per_pass, None, [kept])
    logps_N = np.full(len(items), np.nan)
    logps_N[fits_N] = np.add.reduceat(logps_T.astype(float), kept.offsets[:-1]) if len(kept) else []
    return logps_N
