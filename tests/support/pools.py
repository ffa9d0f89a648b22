"""Pools of scored items, written down or drawn, and settings of pairing to pair them under."""

import numpy as np
from hypothesis import strategies as st

from jpo_dist.pairing.config import PairConfig
from jpo_dist.pairing.pair import Pool

JOINT = ("random", "similar", "dissimilar", "bucketed", "hard", "balanced")
TEXTS = [
    "Name a fruit.",
    "Name a red fruit.",
    "Name a town.",
    "",
    "写一首诗",
    "Sum 2 and 3.",
    "Sum 2, 3 and 4.",
    "¿Qué?",
]


def make_pool(instruction_N, scores_N, *, texts=None, scales_N=None, splits_N=None, reference_N=None) -> Pool:
    """A pool from columns; items have one scale and one split unless told otherwise."""
    codes = np.asarray(instruction_N)
    zeros = np.zeros(len(codes), np.int64)
    texts = texts or [f"instruction number{q}" for q in range(codes.max(initial=0) + 1)]
    return Pool(
        [texts[q] for q in codes],
        codes,
        np.asarray(scores_N, float),
        zeros if scales_N is None else np.asarray(scales_N),
        zeros if splits_N is None else np.asarray(splits_N),
        reference_N,
    )


def settings_of(policy: str, **keys) -> PairConfig:
    """Settings of a policy."""
    return PairConfig.model_validate({"policy": policy, **keys})


@st.composite
def pools(draw) -> Pool:
    num_items = draw(st.integers(1, 40))
    column = lambda values: np.array(draw(st.lists(values, min_size=num_items, max_size=num_items)))  # noqa: E731
    instruction_N = column(st.integers(0, len(TEXTS) - 1))
    levels = draw(st.sampled_from([[0.0, 1.0], [0.0, 0.5, 1.0, 2.0, np.nan], [0.1, 0.2, 0.3, 0.30000000000000004]]))
    split_Q = draw(st.lists(st.integers(0, 1), min_size=len(TEXTS), max_size=len(TEXTS)))
    return make_pool(
        instruction_N,
        column(st.sampled_from(levels)),
        texts=TEXTS,
        scales_N=column(st.sampled_from([0, 0, 0, 7])),
        splits_N=np.array(split_Q)[instruction_N],
        reference_N=column(st.floats(-500, 0, width=16)),
    )


limits = st.fixed_dictionaries(
    {
        "budget": st.none() | st.integers(1, 30),
        "min_score_gap": st.sampled_from([0.0, 0.1, 0.5]),
        "max_per_item": st.integers(1, 6),
        "max_imbalance": st.none() | st.integers(1, 2),
        "neighbours": st.integers(1, 12),
        "buckets": st.sampled_from(["topic", "length"]),
    }
)


def may_meet(pool: Pool, i: int, j: int, joint: bool) -> bool:
    """Whether two items may make a pair: one scale, one split, and one instruction (two where `joint`)."""
    differ = pool.instruction_N[i] != pool.instruction_N[j]
    return differ == joint and pool.scales_N[i] == pool.scales_N[j] and pool.splits_N[i] == pool.splits_N[j] and i != j


def topical_pool(num_topics: int = 12, each: int = 20) -> Pool:
    """One response to each instruction; instructions of a topic share most of their words."""
    random = np.random.default_rng(1)
    texts = [
        " ".join(f"topic{t}word{w}" for w in random.integers(0, 12, 8)) + f" own{t}x{n}"
        for t in range(num_topics)
        for n in range(each)
    ]
    return make_pool(np.arange(len(texts)), random.integers(0, 5, len(texts)), texts=texts)
