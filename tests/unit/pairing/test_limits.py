"""Every policy obeys every limit, whatever the pool, and leaves out no pair that the limits allow."""

import json
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.pairing.pair import Pool, pair
from tests.support.pools import JOINT, limits, make_pool, may_meet, pools, settings_of


def is_two_sided(pool: Pool, i: int, gap: float, joint: bool) -> bool:
    steps = [pool.scores_N[j] - pool.scores_N[i] for j in range(len(pool.scores_N)) if may_meet(pool, i, j, joint)]
    return any(step > gap for step in steps) and any(-step > gap for step in steps)


@settings(max_examples=120, deadline=None)
@given(pools(), st.sampled_from(["conditional", *JOINT]), limits, st.booleans(), st.integers(0, 9))
def test_whatever_the_pool_the_limits_hold_and_the_counts_add_up(pool, policy, keys, keep_ties, seed):
    keep_ties = keep_ties and policy != "balanced"
    config = settings_of(policy, keep_ties=keep_ties, **keys)
    if policy != "conditional" and not np.isfinite(pool.scores_N).any():
        with pytest.raises(ValueError, match="needs scored items"):
            pair(pool, config, seed)
        return
    pairs = pair(pool, config, seed)
    joint = policy != "conditional"
    uses, balance, unordered = Counter(), Counter(), set()
    for winner, loser, tie in zip(pairs.winners_C.tolist(), pairs.losers_C.tolist(), pairs.is_tie_C, strict=True):
        assert may_meet(pool, winner, loser, joint)
        step = pool.scores_N[winner] - pool.scores_N[loser]
        assert (abs(step) <= config.min_score_gap) if tie else (step > config.min_score_gap)
        assert keep_ties or not tie
        uses.update((winner, loser))
        unordered.add(frozenset((winner, loser)))
        if not tie:
            balance[winner] += 1
            balance[loser] -= 1
        if (
            config.max_imbalance and policy != "balanced"
        ):  # at every moment; an exchange passes through a half-way state
            for item in (winner, loser):
                two_sided = is_two_sided(pool, item, config.min_score_gap, joint)
                assert not two_sided or abs(balance[item]) <= config.max_imbalance
    assert len(unordered) == len(pairs.winners_C)
    assert max(uses.values(), default=0) <= config.max_per_item
    assert config.budget is None or len(pairs.winners_C) <= config.budget
    report = json.loads(json.dumps(pairs.report, allow_nan=False))
    assert report["considered"] == report["made"] + sum(report["left_out"].values())
    assert (report["made"], report["ties"]) == (len(pairs.winners_C), int(pairs.is_tie_C.sum()))
    assert report["items_without_score"] == int(np.isnan(pool.scores_N).sum())
    assert report["comparisons_per_item"]["max"] == max(uses.values(), default=0)
    assert report["comparisons_per_item"]["unused"] == int(np.isfinite(pool.scores_N).sum()) - len(uses)


@settings(max_examples=60, deadline=None)
@given(pools(), st.integers(1, 6), st.sampled_from([0.0, 0.1, 0.5]), st.booleans())
def test_conditional_and_hard_leave_out_no_pair_that_the_limits_allow(pool, max_per_item, gap, keep_ties):
    if not np.isfinite(pool.scores_N).any():
        return
    for policy in ("conditional", "hard"):
        keys = {"max_per_item": max_per_item, "min_score_gap": gap, "keep_ties": keep_ties, "neighbours": 50}
        pairs = pair(pool, settings_of(policy, **keys), 3)
        made = {frozenset(c) for c in zip(pairs.winners_C.tolist(), pairs.losers_C.tolist(), strict=True)}
        uses = Counter(item for c in made for item in c)
        for i, j in combinations(np.flatnonzero(np.isfinite(pool.scores_N)).tolist(), 2):
            decided = abs(pool.scores_N[i] - pool.scores_N[j]) > gap
            if may_meet(pool, i, j, policy == "hard") and (decided or keep_ties) and {i, j} not in made:
                assert max_per_item in (uses[i], uses[j])


def test_max_imbalance_holds_for_all_but_the_ends_and_what_it_costs_is_counted():
    pool = make_pool(np.arange(300), np.arange(300))
    free = pair(pool, settings_of("random"), 0).report
    pairs = pair(pool, settings_of("random", max_imbalance=1), 0)
    balance = np.bincount(pairs.winners_C, minlength=300) - np.bincount(pairs.losers_C, minlength=300)
    assert set(balance[1:-1].tolist()) == {-1, 0, 1}
    assert (balance[0], balance[-1]) == (-4, 4)
    assert free["balance"]["items"]["max_imbalance"] == 4
    assert (pairs.report["left_out"]["max_imbalance"] > 0, pairs.report["made"] > 250) == (True, True)


def test_a_budget_is_shared_by_splits_and_scales():
    codes = np.arange(400)
    pool = make_pool(codes, codes % 7, scales_N=codes // 200 * 5, splits_N=codes % 2)
    for policy in ("random", "dissimilar", "similar", "balanced"):
        pairs = pair(pool, settings_of(policy, budget=100, neighbours=40), 0)
        assert len(pairs.winners_C) == 100
        cells = Counter((pool.scales_N[w], pool.splits_N[w]) for w in pairs.winners_C.tolist())
        assert min(cells.values()) >= 10
        assert len(cells) == 4
