"""The instruction alone must predict nothing: a pool like the sample task, clusters that pay for one-sided
instructions, and the accuracy itself against pools whose answer is known."""

from collections import Counter

import numpy as np
import pytest

from jpo_dist.pairing import pair as pairing
from jpo_dist.pairing.balanced import balanced_pairs
from jpo_dist.pairing.config import PairConfig
from jpo_dist.pairing.instruction_only import instruction_only_accuracy, propensity
from jpo_dist.pairing.limits import Ledger, Limits
from jpo_dist.pairing.offers import Chooser
from jpo_dist.pairing.pair import Pool, pair

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


def test_accuracy_is_one_when_a_word_decides_and_chance_when_a_coin_does():
    texts = [f"{'easy' if q % 2 else 'hard'} thing{q}" for q in range(400)]
    random = np.random.default_rng(0)
    odd, even = 2 * random.integers(0, 200, 3000) + 1, 2 * random.integers(0, 200, 3000)
    decided = instruction_only_accuracy(texts, odd, even, 0)
    assert (decided["accuracy"], decided["shared_instructions"]) == (1.0, False)
    assert 700 < decided["tested"] < 1300  # a ninth in each of three folds
    coin = random.random(3000) < 0.5
    tossed = instruction_only_accuracy(texts, np.where(coin, odd, even), np.where(coin, even, odd), 0)
    assert abs(tossed["accuracy"] - 0.5) < 3 * tossed["standard_error"]
    assert tossed["standard_error"] == pytest.approx(0.5 / np.sqrt(tossed["tested"]), rel=0.01)
    noisy = random.random(3000) < 0.8
    often = instruction_only_accuracy(texts, np.where(noisy, odd, even), np.where(noisy, even, odd), 0)
    assert abs(often["accuracy"] - 0.8) < 4 * often["standard_error"]


def test_accuracy_does_not_come_from_having_seen_the_instruction():
    """Which instruction wins is fixed but no word tells: known instructions would be predicted, new ones are not."""
    random = np.random.default_rng(0)
    texts = [f"alpha beta unique{q}" for q in range(300)]
    strength = random.normal(size=300)
    first, second = random.integers(0, 300, (2, 6000))
    stronger = strength[first] > strength[second]
    found = instruction_only_accuracy(texts, np.where(stronger, first, second), np.where(stronger, second, first), 0)
    assert found["accuracy"] == 0.5


def test_few_instructions_are_shared_by_folds_and_the_report_says_so():
    texts = ["alpha", "beta", "gamma", "delta"]
    found = instruction_only_accuracy(texts, np.array([0, 0, 1] * 20), np.array([1, 2, 3] * 20), 0)
    assert (found["shared_instructions"], found["accuracy"], found["tested"]) == (True, 1.0, 60)
    assert instruction_only_accuracy(texts, np.array([0, 0]), np.array([1, 1]), 0)["accuracy"] is None
    assert instruction_only_accuracy(["", "?"], np.zeros(50, int), np.ones(50, int), 0)["accuracy"] is None


def test_propensity_is_learned_from_other_instructions():
    rates = np.array([0.9 if q % 2 else 0.1 for q in range(200)])
    texts = [f"{'easy' if q % 2 else 'hard'} thing{q}" for q in range(200)]
    expected = propensity(texts, rates, np.ones(200), 0)
    assert np.abs(expected - rates).max() < 0.1
    rates[7] = -5.0  # known only from itself
    assert propensity(texts, rates, np.ones(200), 0)[7] > 0.7
