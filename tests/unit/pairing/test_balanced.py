"""The instruction alone must predict nothing: a pool like the sample task, clusters that pay for one-sided
instructions, and the accuracy itself against pools whose answer is known."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.pairing import pair as pairing
from jpo_dist.pairing.balanced import balanced_pairs
from jpo_dist.pairing.config import PairConfig
from jpo_dist.pairing.limits import Ledger, Limits
from jpo_dist.pairing.offers import Chooser
from jpo_dist.pairing.pair import Pool, pair
from tests.support.pools import limits, pools, settings_of

pytestmark = pytest.mark.slow

PASS_RATES = {
    "Answer in exactly one sentence.": 0.73,
    "Use at most twelve words.": 0.32,
    "Do not use the word the.": 0.24,
    "End with a question.": 0.11,
    "Write three bullets.": 0.02,
    "Use lower case letters only.": 0.01,
    "Start with Well.": 0.01,
}
"""The sample task's constraints and how often the base model obeys them."""


def sample_pool(num_topics: int, responses: int, topic_words: int = 2, seed: int = 0) -> Pool:
    random = np.random.default_rng(seed)
    texts, codes, scores = [], [], []
    for topic in range(num_topics):
        about = " ".join(f"topic{topic}n{n}" for n in range(topic_words))
        for constraint, rate in PASS_RATES.items():
            texts += [f"Tell me something about {about}. {constraint}"] * responses
            codes += [len(codes) // responses] * responses
            scores += (random.random(responses) < rate).astype(float).tolist()
    same = np.zeros(len(texts), int)
    return Pool(texts, np.array(codes), np.array(scores), same, same)


def alone(pool: Pool, policy: str, **keys) -> tuple[float, float, dict]:
    report = pair(pool, PairConfig.model_validate({"policy": policy, **keys}), 0).report
    found = report["instruction_only_accuracy"]
    return found["accuracy"], found["standard_error"], report


@pytest.mark.parametrize(
    ("num_topics", "responses", "topic_words"),
    [(32, 4, 2), (200, 4, 2), (400, 2, 2), (400, 1, 2), (300, 1, 12), (300, 2, 12)],
)
def test_random_pairs_give_the_winner_away_and_balanced_ones_do_not(num_topics, responses, topic_words):
    pool = sample_pool(num_topics, responses, topic_words)
    accuracy, _, _ = alone(pool, "random")
    assert accuracy > 0.75
    accuracy, error, report = alone(pool, "balanced")
    assert abs(accuracy - 0.5) < max(3 * error, 0.02)
    assert report["made"] > 250


def test_bands_of_expected_score_balance_what_clusters_miss(monkeypatch):
    """One cluster for all: without bands an easy constraint's wins are paid for by a hard one's losses."""
    pool = sample_pool(300, 1)
    banded, error, _ = alone(pool, "balanced", num_buckets=1)
    monkeypatch.setattr(pairing, "MOST_BANDS", 1)
    plain, _, _ = alone(pool, "balanced", num_buckets=1)
    assert banded < 0.5 + 3 * error
    assert plain > 0.75


def test_all_mixed_instructions_are_even_and_what_cannot_be_paid_for_is_counted():
    pool = sample_pool(60, 4)
    pairs = pair(pool, PairConfig(policy="balanced"), 0)
    wins, losses = (np.bincount(pool.instruction_N[rows], minlength=420) for rows in (pairs.winners_C, pairs.losers_C))
    mixed = np.array([0 < pool.scores_N[pool.instruction_N == q].mean() < 1 for q in range(420)])
    assert (wins[mixed] == losses[mixed]).all()
    assert (wins[mixed] > 0).mean() > 0.95
    found = pairs.report["balanced"]
    idle = set(range(len(pool.instructions))) - set(pairs.winners_C.tolist()) - set(pairs.losers_C.tolist())
    one_sided = {row for row in range(len(pool.instructions)) if not mixed[pool.instruction_N[row]]}
    assert found["one_sided_items"] == len(one_sided)
    assert found["one_sided_items_left_out"] == len(idle & one_sided)


@pytest.mark.parametrize("budget", [None, 31, 300])
def test_each_cluster_wins_as_often_as_it_loses_whatever_stops_the_work(budget):
    random = np.random.default_rng(0)
    cluster_N = random.integers(0, 6, 900)
    scores_N = (random.random(900) < cluster_N / 6).astype(float)
    codes, cell_N = np.arange(900), random.integers(0, 2, 900)
    ledger = Ledger(Limits(cell_N, codes, scores_N, True, 0.0, False, 3, None, np.zeros(900, bool), budget))
    found = balanced_pairs(Chooser(ledger, scores_N, 0.0, random), cell_N, codes, lambda rows: cluster_N[rows])
    assert (found["by_instruction"], found["one_sided_items"]) == (0, 900)
    wins = Counter((cell_N[row], cluster_N[row]) for row in ledger.winners)
    losses = Counter((cell_N[row], cluster_N[row]) for row in ledger.losers)
    assert wins == losses
    if budget:
        assert len(ledger.winners) == budget // 2 * 2
        return
    # An item of the scarcer side is left with free places only by chance, in the last rounds.
    scarce = sum(
        3 * min(((cluster_N == c) & (cell_N == cell) & (scores_N == s)).sum() for s in (0, 1))
        for c in range(6)
        for cell in range(2)
    )
    assert 0.97 * scarce < len(ledger.winners) <= scarce


@settings(max_examples=60, deadline=None)
@given(pools(), limits, st.integers(0, 9))
def test_balanced_instructions_win_as_often_as_they_lose_against_each_other(pool, keys, seed):
    if not np.isfinite(pool.scores_N).any():
        return
    pairs = pair(pool, settings_of("balanced", **keys), seed)
    stage = pairs.report["balanced"]["by_instruction"]
    assert stage + pairs.report["balanced"]["by_cluster"] == len(pairs.winners_C)
    beaten = Counter(
        (pool.instruction_N[w], pool.instruction_N[v], pool.splits_N[w])
        for w, v in zip(pairs.winners_C[:stage], pairs.losers_C[:stage], strict=True)
    )
    assert all(beaten[q, p, split] == count for (p, q, split), count in beaten.items())
    used = set(pool.instruction_N[np.concatenate([pairs.winners_C[:stage], pairs.losers_C[:stage]])].tolist())
    later = pool.instruction_N[np.concatenate([pairs.winners_C[stage:], pairs.losers_C[stage:]])]
    assert used.isdisjoint(later.tolist())
