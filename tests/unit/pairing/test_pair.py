"""Pairs and candidates from whole pools: the same from the same seed, and pools of no use are refused."""

import json
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.pairing.pair import assumed_scores, candidates, pair
from tests.support.pools import JOINT, limits, make_pool, may_meet, pools, settings_of, topical_pool

BLIND = ("conditional", "random", "similar", "dissimilar", "bucketed")


def test_assumed_scores_are_wins_and_losses_and_items_that_did_both_are_counted():
    scores_N, both = assumed_scores(np.array([0, 1, 0]), np.array([1, 2, 2]), 4)
    assert (both, np.nan_to_num(scores_N, nan=-1).tolist()) == (1, [1.0, -1.0, 0.0, -1.0])


@pytest.mark.parametrize("among", ["random", "similar", "dissimilar", "bucketed", "balanced"])
def test_assumed_wins_sets_winners_against_losers_of_other_instructions(among):
    scores_N, both = assumed_scores(np.arange(0, 80, 2), np.arange(1, 80, 2), 80)
    pool = make_pool(np.arange(80) // 2, scores_N)
    pairs = pair(pool, settings_of("assumed_wins", among=among), 0)
    assert (both, len(pairs.winners_C) > 40) == (0, True)
    assert set(pairs.winners_C % 2) == {0}
    assert set(pairs.losers_C % 2) == {1}
    assert (pairs.winners_C // 2 != pairs.losers_C // 2).all()
    assert (pairs.report["policy"], pairs.report["among"]) == ("assumed_wins", among)


@pytest.mark.parametrize("policy", JOINT)
def test_joint_policies_refuse_a_pool_without_scores_and_name_the_assumption(policy):
    with pytest.raises(ValueError, match=rf"policy \({policy}\) needs scored items.*assumed_wins"):
        pair(make_pool([0, 1], [np.nan, np.nan]), settings_of(policy), 0)


def test_assumed_wins_refuses_real_scores():
    with pytest.raises(ValueError, match="real scores need no assumption"):
        pair(make_pool([0, 1], [0.0, 0.7]), settings_of("assumed_wins"), 0)


@settings(max_examples=80, deadline=None)
@given(pools(), st.sampled_from(BLIND), limits, st.integers(0, 9))
def test_candidates_need_no_scores_and_obey_the_limits(pool, policy, keys, seed):
    pool = pool._replace(scores_N=np.full(len(pool.instructions), np.nan))
    firsts, seconds, report = candidates(pool, settings_of(policy, **keys), seed)
    same_scale = pool._replace(scales_N=np.zeros_like(pool.scales_N))
    assert all(may_meet(same_scale, i, j, policy != "conditional") for i, j in zip(firsts, seconds, strict=True))
    assert len({frozenset(c) for c in zip(firsts.tolist(), seconds.tolist(), strict=True)}) == len(firsts)
    assert max(Counter([*firsts.tolist(), *seconds.tolist()]).values(), default=0) <= keys["max_per_item"]
    assert keys["budget"] is None or len(firsts) <= keys["budget"]
    assert report["considered"] == report["made"] + sum(report["left_out"].values())
    assert "instruction_only_accuracy" not in report


def test_candidates_come_in_random_order_and_policies_that_need_scores_are_refused():
    for policy, codes in (("similar", np.arange(400)), ("conditional", np.arange(400) // 4)):
        pool = make_pool(codes, np.full(400, np.nan))
        firsts, seconds, _ = candidates(pool, settings_of(policy, neighbours=2), 0)
        assert 0.4 < (firsts < seconds).mean() < 0.6
    for policy in ("hard", "balanced", "assumed_wins"):
        with pytest.raises(ValueError, match=rf"policy \({policy}\) picks by scores"):
            candidates(pool, settings_of(policy), 0)


@pytest.mark.parametrize("policy", ["conditional", *JOINT])
def test_another_seed_gives_other_pairs_and_the_same_seed_the_same_bytes(policy):
    random = np.random.default_rng(0)
    pool = make_pool(
        random.integers(0, 200, 900), random.integers(0, 4, 900), reference_N=random.normal(-99, 9, size=900)
    )
    config = settings_of(policy, budget=150, max_per_item=2)
    one, again, other = (pair(pool, config, seed) for seed in (1, 1, 2))
    assert [a.tobytes() for a in one[:3]] == [a.tobytes() for a in again[:3]]
    assert json.dumps(one.report) == json.dumps(again.report)
    assert (one.winners_C.tolist() != other.winners_C.tolist()) == (policy != "hard")  # which leaves nothing to chance


def test_nothing_to_pair_is_an_empty_result_with_a_report():
    pairs = pair(make_pool([0, 1], [1.0, 1.0]), settings_of("random"), 0)
    assert (len(pairs.winners_C), pairs.report["made"], pairs.report["similarity"]) == (0, 0, None)
    assert pairs.report["instruction_only_accuracy"]["accuracy"] is None


def test_arrays_of_another_length_are_named():
    pool = make_pool([0, 1], [1.0, 0.0])._replace(scales_N=np.zeros(3, int))
    with pytest.raises(ValueError, match=r"pool\.scales_N has 3 entries for 2 items"):
        pair(pool, settings_of("random"), 0)


@pytest.mark.parametrize(("module", "policy"), [("faiss", "similar"), ("sklearn.linear_model", "random")])
def test_a_missing_extra_is_named_with_the_fix(monkeypatch, module, policy):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r"pairing needs .*pip install 'jpo-dist\[data\]'"):
        pair(topical_pool(2, 40), settings_of(policy), 0)


def test_conditional_pairs_need_no_extra(monkeypatch):
    for module in ("faiss", "sklearn", "sklearn.feature_extraction.text", "sklearn.linear_model"):
        monkeypatch.setitem(sys.modules, module, None)
    assert len(pair(make_pool(np.arange(200) // 4, np.arange(200)), settings_of("conditional"), 0).winners_C) == 300
