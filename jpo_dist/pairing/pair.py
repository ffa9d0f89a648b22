"""Comparisons from scored items: which two meet, under which limits, and a report of what came of it.

    pool -> cells (split, scale) -> a policy's offers, best first -> limits -> pairs, report

The same pool, config and seed give the same pairs on any number of threads (a sentence-transformers embedding: on one
machine). Legend: N items, C comparisons, Q different instructions, D features of an embedding.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.pairing.balanced import balanced_pairs
from jpo_dist.pairing.config import PairConfig
from jpo_dist.pairing.embedding import embed
from jpo_dist.pairing.instruction_only import propensity
from jpo_dist.pairing.limits import Ledger, Limits, two_sided
from jpo_dist.pairing.neighbours import bands, clusters
from jpo_dist.pairing.offers import (
    Chooser,
    conditional_pairs,
    dissimilar_pairs,
    hard_pairs,
    random_pairs,
    similar_pairs,
)
from jpo_dist.pairing.report import pair_report
from jpo_dist.pairing.texts import at

INSTRUCTIONS_PER_BUCKET = 20
MOST_BANDS = 10


class Pool(NamedTuple):
    """N items that may be paired. All arrays have one entry for each item."""

    instructions: Sequence[str]
    """Text of each item's instruction."""
    instruction_N: np.ndarray
    """Equal number, equal instruction."""
    scores_N: np.ndarray
    """Higher is better; NaN: no score."""
    scales_N: np.ndarray
    """Only scores of one scale are compared."""
    splits_N: np.ndarray
    """Items of different splits never meet."""
    reference_N: np.ndarray | None = None
    """The reference's log-probability of each whole item in nats; for the policy `hard`."""
    lengths_N: np.ndarray | None = None
    """Length of each response, in any unit; only for the report."""


class Pairs(NamedTuple):
    """Comparisons as rows of the pool, in the order in which the policy chose them: any prefix obeys it too."""

    winners_C: np.ndarray
    losers_C: np.ndarray
    is_tie_C: np.ndarray
    """Neither is better; `winners_C` is then just one of the two."""
    report: dict[str, Any]


def pair(pool: Pool, config: PairConfig, seed: int) -> Pairs:
    """Pair scored items. Raises ValueError for a pool that the policy cannot use, with what to do about it."""
    _check_shapes(pool)
    _check_scores(pool, config)
    usable_N = np.isfinite(pool.scores_N)
    if config.policy == "hard":
        usable_N &= np.isfinite(_reference(pool))
    work = _Work(pool, config, seed, usable_N, pool.scores_N)
    ledger = work.ledger
    made = ledger.made()
    report = pair_report(work.head(), ledger, work.pool_texts, work.vectors_of, pool.lengths_N, seed)
    return Pairs(*made, report)


def candidates(pool: Pool, config: PairConfig, seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Pairs for somebody to judge: firsts (C,), seconds (C,) and the report. Scores and scales are not looked at.

    Which of the two comes first is random. Policies: conditional, random, similar, dissimilar, bucketed.
    """
    _check_shapes(pool)
    if config.policy in ("hard", "balanced", "assumed_wins"):
        raise ValueError(
            f"policy ({config.policy}) picks by scores, and candidates have none; "
            "use conditional, random, similar, dissimilar or bucketed"
        )
    work = _Work(pool, config, seed, np.ones(len(pool.instructions), bool), None)
    ledger = work.ledger
    first_C, second_C, _ = ledger.made()
    swap_C = np.random.default_rng([seed, 0x15]).random(len(first_C)) < 0.5
    report = pair_report(work.head(), ledger, work.pool_texts, work.vectors_of, None, seed)
    return np.where(swap_C, second_C, first_C), np.where(swap_C, first_C, second_C), report


def assumed_scores(winners_C: np.ndarray, losers_C: np.ndarray, num_items: int) -> tuple[np.ndarray, int]:
    """Scores for the policy `assumed_wins`, from wins within instructions (rankings, conditional comparisons).

    Returns scores (N,): 1 for an item that only won, 0 for one that only lost, NaN for others; and how many items are
    NaN because they did both. Ties must be left out before.
    """
    wins_N, losses_N = (np.bincount(rows, minlength=num_items) for rows in (winners_C, losers_C))
    scores_N = np.where(wins_N > 0, 1.0, np.where(losses_N > 0, 0.0, np.nan))
    both_N = (wins_N > 0) & (losses_N > 0)
    scores_N[both_N] = np.nan
    return scores_N, int(both_N.sum())


class _Work:
    """One pairing: the pool in compact numbers, the filled ledger, and the vectors, made when first asked for."""

    def __init__(
        self, pool: Pool, config: PairConfig, seed: int, usable_N: np.ndarray, scores_N: np.ndarray | None
    ) -> None:
        self.pool, self.config, self.seed, self.usable_N = pool, config, seed, usable_N
        self.policy = config.among if config.policy == "assumed_wins" else config.policy
        _, first_Q, self.instruction_N = np.unique(pool.instruction_N, return_index=True, return_inverse=True)
        self.texts_Q = at(pool.instructions, first_Q)
        scales_N = np.zeros_like(pool.splits_N) if scores_N is None else pool.scales_N
        _, cell_N = np.unique(np.stack([pool.splits_N, scales_N]), axis=1, return_inverse=True)
        self.cell_N = np.where(usable_N, cell_N.reshape(-1), -1)
        self.extra: dict[str, Any] = {}
        joint = self.policy != "conditional"
        two_sided_N = np.zeros(len(usable_N), bool)
        if scores_N is not None and config.max_imbalance is not None:
            two_sided_N = two_sided(scores_N, self.cell_N, self.instruction_N, config.min_score_gap, joint)
        self.ledger = Ledger(
            Limits(
                cell_N=self.cell_N,
                instruction_N=self.instruction_N,
                scores_N=scores_N,
                joint=joint,
                gap=config.min_score_gap,
                keep_ties=config.keep_ties,
                max_per_item=config.max_per_item,
                max_imbalance=config.max_imbalance,
                two_sided_N=two_sided_N,
                budget=config.budget,
            )
        )
        looks_at_N = None if config.keep_ties else scores_N
        self._run(Chooser(self.ledger, looks_at_N, config.min_score_gap, np.random.default_rng(seed)))

    def _run(self, chooser: Chooser) -> None:
        config, cell_N = self.config, self.cell_N
        if self.policy == "conditional":
            conditional_pairs(chooser, self._within(self.instruction_N))
        elif self.policy == "random":
            random_pairs(chooser, cell_N)
        elif self.policy == "similar":
            similar_pairs(chooser, cell_N, self.instruction_N, self.vectors_QD, config.neighbours, self.seed)
        elif self.policy == "dissimilar":
            dissimilar_pairs(chooser, cell_N, self.instruction_N, self.vectors_QD, config.neighbours)
        elif self.policy == "bucketed":
            random_pairs(chooser, self._within(self._bucket_N()))
        elif self.policy == "hard":
            hard_pairs(chooser, cell_N, self.instruction_N, _reference(self.pool), config.neighbours)
        else:
            self.extra = {"balanced": balanced_pairs(chooser, cell_N, self.instruction_N, self._like_ones)}

    def _within(self, label_N: np.ndarray) -> np.ndarray:
        """(N,) groups: the items of one cell and one label; -1 for items that are not paired."""
        return np.where(self.cell_N >= 0, self.cell_N * (int(label_N.max(initial=0)) + 1) + label_N, -1)

    def _bucket_N(self) -> np.ndarray:
        """(N,) the bucket of each item's instruction; about 20 instructions or more are in each."""
        count = self._num_buckets(len(self.texts_Q))
        if self.config.buckets == "length":
            bucket_Q = bands(np.array([len(text) for text in self.texts_Q]), count)
        else:
            bucket_Q = clusters(self.vectors_QD, count, self.seed)
        self.extra = {"buckets": len(np.unique(bucket_Q))}
        return bucket_Q[self.instruction_N]

    def _num_buckets(self, num_instructions: int) -> int:
        return max(1, min(self.config.num_buckets, num_instructions // INSTRUCTIONS_PER_BUCKET))

    def _like_ones(self, rows: np.ndarray) -> np.ndarray:
        """Clusters for `balanced`: by topic, then by the expected score, of the instructions of these rows."""
        standing_N = _standing(self.pool.scores_N, self.cell_N)
        usable = np.flatnonzero(self.usable_N)
        all_used, code = np.unique(self.instruction_N[usable], return_inverse=True)
        count_Q = np.bincount(code)
        mean_Q = np.bincount(code, weights=standing_N[usable]) / count_Q
        expected_Q = propensity(at(self.texts_Q, all_used), mean_Q, count_Q.astype(float), self.seed)
        used = np.unique(self.instruction_N[rows])
        topic_Q = clusters(self.vectors_QD[used], self._num_buckets(len(used)), self.seed)
        cluster_Q = np.full(len(self.texts_Q), -1)
        num_bands = max(1, min(MOST_BANDS, len(used) // INSTRUCTIONS_PER_BUCKET))
        band_Q = bands(expected_Q[np.searchsorted(all_used, used)], num_bands)
        cluster_Q[used] = topic_Q * MOST_BANDS + band_Q
        return cluster_Q[self.instruction_N[rows]]

    @cached_property
    def vectors_QD(self) -> np.ndarray:
        return embed(self.texts_Q, self.config.embedding)

    @property
    def pool_texts(self) -> tuple[Sequence[str], np.ndarray]:
        return self.texts_Q, self.instruction_N

    def vectors_of(self, instructions: np.ndarray) -> np.ndarray:
        """Vectors of some instructions; for the report, so no more are made than asked for."""
        if "vectors_QD" in self.__dict__:
            return self.vectors_QD[instructions]
        return embed(at(self.texts_Q, instructions), self.config.embedding)

    def head(self) -> dict[str, Any]:
        """The first lines of the report: what was to be done, with what."""
        assumed = self.config.policy == "assumed_wins"
        return {
            "policy": self.config.policy,
            **({"among": self.config.among} if assumed else {}),
            "seed": self.seed,
            "items": len(self.usable_N),
            "items_without_score": int((~np.isfinite(self.pool.scores_N)).sum()),
            "items_usable": int(self.usable_N.sum()),
            "instructions": len(self.texts_Q),
            **self.extra,
        }


def _standing(scores_N: np.ndarray, cell_N: np.ndarray) -> np.ndarray:
    """(N,) share of its cell that an item scores above, ties counting one half; 0 for items in no cell."""
    standing_N = np.zeros(len(scores_N))
    for cell in np.unique(cell_N[cell_N >= 0]):
        rows = np.flatnonzero(cell_N == cell)
        ordered = np.sort(scores_N[rows])
        below, upto = (np.searchsorted(ordered, scores_N[rows], side) for side in ("left", "right"))
        standing_N[rows] = (below + upto) / (2 * len(rows))
    return standing_N


def _check_shapes(pool: Pool) -> None:
    num_items = len(pool.instructions)
    for name, values in pool._asdict().items():
        if values is not None and len(values) != num_items:
            raise ValueError(f"pool.{name} has {len(values)} entries for {num_items} items; give one for each item")


def _check_scores(pool: Pool, config: PairConfig) -> None:
    scored = pool.scores_N[np.isfinite(pool.scores_N)]
    if config.policy == "assumed_wins":
        if not np.isin(scored, (0.0, 1.0)).all():
            raise ValueError(
                "policy (assumed_wins) takes wins and losses, scores 1 and 0, and this pool has others; real scores "
                "need no assumption: use random, similar, dissimilar, bucketed, hard or balanced"
            )
    elif not len(scored) and config.policy != "conditional":  # which is the default, and then has nothing to add
        raise ValueError(
            f"policy ({config.policy}) needs scored items, and no item of this pool has a score; with rankings or "
            "conditional wins use policy=assumed_wins, or have candidates judged"
        )


def _reference(pool: Pool) -> np.ndarray:
    if pool.reference_N is None:
        raise ValueError(
            "policy (hard) needs the reference's log-probability of each item, and the pool has none; score the items "
            "with the reference, or use another policy"
        )
    return pool.reference_N
