"""What each policy offers first, against brute force on small pools."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from jpo_dist.pairing import offers
from jpo_dist.pairing.embedding import embed, similarity
from jpo_dist.pairing.pair import pair
from tests.support.pools import make_pool, may_meet, settings_of, topical_pool


def test_hard_takes_the_smallest_differences_of_the_reference_first():
    random = np.random.default_rng(0)
    pool = make_pool(
        random.integers(0, 20, 60), random.integers(0, 3, 60), reference_N=random.normal(-200, 50, size=60)
    )
    pairs = pair(pool, settings_of("hard", budget=50, max_per_item=60, neighbours=60), 0)
    gaps = sorted(
        abs(pool.reference_N[i] - pool.reference_N[j])
        for i, j in combinations(range(60), 2)
        if may_meet(pool, i, j, True) and pool.scores_N[i] != pool.scores_N[j]
    )
    assert np.abs(pool.reference_N[pairs.winners_C] - pool.reference_N[pairs.losers_C]).tolist() == gaps[:50]


def test_hard_looks_past_own_responses_to_the_nearest_other_instruction():
    """The winner (last) lies among 50 losers of its own instruction; the next loser has nearer winners than it."""
    codes, scores = [0] * 50 + [1, 2, 3, 0], [0.0] * 51 + [1.0] * 3
    reference = np.array([*np.linspace(-10.4, -10.1, 50), -30.0, -29.0, -31.0, -10.0])
    pairs = pair(make_pool(codes, scores, reference_N=reference), settings_of("hard", neighbours=1), 0)
    assert pairs.losers_C[pairs.winners_C == 53].tolist() == [50]


def test_hard_leaves_out_items_without_a_reference_and_a_pool_without_any_is_refused():
    pool = make_pool([0, 1, 2, 3], [0, 1, 0, 1], reference_N=np.array([-1.0, -1.0, np.nan, -2.0]))
    pairs = pair(pool, settings_of("hard"), 0)
    assert set(pairs.winners_C) | set(pairs.losers_C) == {0, 1, 3}
    assert pairs.report["items_usable"] == 3
    with pytest.raises(ValueError, match=r"policy \(hard\) needs the reference's log-probability"):
        pair(pool._replace(reference_N=None), settings_of("hard"), 0)


def test_similar_instructions_are_nearer_than_random_ones_and_those_than_dissimilar_ones():
    pool = topical_pool()
    vectors_QD = embed(pool.instructions)
    found = {policy: pair(pool, settings_of(policy), 0) for policy in ("similar", "bucketed", "random", "dissimilar")}
    cosine = {name: similarity(vectors_QD, made.winners_C, made.losers_C) for name, made in found.items()}
    assert cosine["similar"].mean() > cosine["bucketed"].mean() + 0.05
    assert cosine["bucketed"].mean() > cosine["random"].mean() + 0.2
    assert cosine["random"].mean() > cosine["dissimilar"].mean() + 0.03
    for name, made in found.items():
        assert made.report["similarity"]["mean"] == pytest.approx(cosine[name].mean(), abs=1e-4)
        assert made.report["similarity"]["p50"] == pytest.approx(np.quantile(cosine[name], 0.5), abs=1e-4)


def test_similar_pairs_are_with_one_of_the_nearest_instructions_by_brute_force():
    pool = topical_pool(6, 10)
    vectors = embed(pool.instructions).astype(np.float64)
    product = vectors @ vectors.T
    np.fill_diagonal(product, -np.inf)
    third = np.sort(product, axis=1)[:, -3]
    pairs = pair(pool, settings_of("similar", neighbours=3), 0)
    reached = product[pairs.winners_C, pairs.losers_C]
    assert len(reached) > 30
    assert ((reached >= third[pairs.winners_C]) | (reached >= third[pairs.losers_C])).all()


def test_buckets_of_length_hold_like_lengths():
    random = np.random.default_rng(0)
    texts = ["x" * int(n) for n in random.permutation(np.arange(1, 401))]
    pool = make_pool(np.arange(400), random.normal(size=400), texts=texts)
    pairs = pair(pool, settings_of("bucketed", buckets="length", num_buckets=8), 0)
    lengths = np.array([len(text) for text in texts])
    band = (lengths - 1) // 50  # eight equally full bands of 1…400
    assert (band[pairs.winners_C] == band[pairs.losers_C]).all()
    assert pairs.report["buckets"] == 8
    assert len(pairs.winners_C) > 700


def test_random_pairs_go_everywhere_and_a_rare_win_is_used_up():
    scores = np.zeros(500)
    scores[:5] = 1
    pairs = pair(make_pool(np.arange(500), scores), settings_of("random", max_per_item=3), 0)
    assert Counter(pairs.winners_C.tolist()) == dict.fromkeys(range(5), 3)
    even = pair(make_pool(np.arange(500), np.arange(500)), settings_of("random", max_per_item=4), 0)
    assert len(even.winners_C) > 980
    ranks = np.concatenate([even.winners_C, even.losers_C])
    assert np.bincount(ranks // 100, minlength=5).min() > 380


def test_one_instruction_with_very_many_responses_is_paired_without_all_its_pairs():
    random = np.random.default_rng(0)
    pool = make_pool(np.zeros(20_000, int), random.random(20_000))
    pairs = pair(pool, settings_of("conditional"), 0)
    assert pairs.report["considered"] < 200_000
    assert len(pairs.winners_C) > 39_500
    assert len(pair(pool, settings_of("conditional", budget=7), 0).winners_C) == 7


def test_drawn_and_listed_conditional_pairs_meet_at_the_same_bound(monkeypatch):
    """Above and below the size at which pairs are drawn instead of listed the limits fill alike."""
    pool = make_pool(np.zeros(60, int), np.arange(60))
    listed = pair(pool, settings_of("conditional"), 0).report
    monkeypatch.setattr(offers, "ALL_PAIRS_UP_TO", 10)
    drawn = pair(pool, settings_of("conditional"), 0).report
    assert (listed["considered"], listed["made"] >= 116, drawn["made"] >= 110) == (60 * 59 // 2, True, True)
