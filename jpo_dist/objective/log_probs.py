"""Log-probs of items under a model that is not trained, in one process: what the pairing policy `hard` goes by."""

from collections.abc import Sequence

import numpy as np

from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config import DataConfig, JpoConfig, ReferenceConfig, RunSection
from jpo_dist.data.config import ReferenceScoresConfig
from jpo_dist.model.engine import connect
from jpo_dist.model.load import load_tokenizer
from jpo_dist.objective.reference import score_once
from jpo_dist.records.comparisons import Item


def reference_logps(items: Sequence[Item], settings: ReferenceScoresConfig) -> np.ndarray:
    """log p(I, R) in nats of each item, (N,); NaN for items over max_length. Kept in the reference cache, as
    reference.mode=cached keeps its scores: training against the same reference finds them again."""
    config = JpoConfig(
        model=settings.model,
        data=DataConfig(train="none", template=settings.template, max_length=settings.max_length),
        reference=ReferenceConfig(mode="cached"),
        run=RunSection(dir="none"),
    )
    connect()
    tokenizer = load_tokenizer(settings.model)
    tokens = tokenize(tokenizer, list(items), config.data)
    fits_N = tokens.lengths_N <= settings.max_length
    kept = tokens.take(np.flatnonzero(fits_N))
    (logps_T,) = score_once(config, [kept])
    logps_N = np.full(len(items), np.nan)
    logps_N[fits_N] = np.add.reduceat(logps_T.astype(float), kept.offsets[:-1]) if len(kept) else []
    return logps_N
