"""Every policy obeys every limit, whatever the pool; small pools against brute force; the report adds up."""

import json
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jpo_dist.pairing import offers
from jpo_dist.pairing.config import PairConfig
from jpo_dist.pairing.embedding import embed, similarity
from jpo_dist.pairing.pair import Pool, assumed_scores, candidates, pair

JOINT = ("random", "similar", "dissimilar", "bucketed", "hard", "balanced")
BLIND = ("conditional", "random", "similar", "dissimilar", "bucketed")
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
    differ = pool.instruction_N[i] != pool.instruction_N[j]
    return differ == joint and pool.scales_N[i] == pool.scales_N[j] and pool.splits_N[i] == pool.splits_N[j] and i != j


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


def topical_pool(num_topics: int = 12, each: int = 20) -> Pool:
    """One response to each instruction; instructions of a topic share most of their words."""
    random = np.random.default_rng(1)
    texts = [
        " ".join(f"topic{t}word{w}" for w in random.integers(0, 12, 8)) + f" own{t}x{n}"
        for t in range(num_topics)
        for n in range(each)
    ]
    return make_pool(np.arange(len(texts)), random.integers(0, 5, len(texts)), texts=texts)


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


def test_max_imbalance_holds_for_all_but_the_ends_and_what_it_costs_is_counted():
    pool = make_pool(np.arange(300), np.arange(300))
    free = pair(pool, settings_of("random"), 0).report
    pairs = pair(pool, settings_of("random", max_imbalance=1), 0)
    balance = np.bincount(pairs.winners_C, minlength=300) - np.bincount(pairs.losers_C, minlength=300)
    assert set(balance[1:-1].tolist()) == {-1, 0, 1}
    assert (balance[0], balance[-1]) == (-4, 4)
    assert free["balance"]["items"]["max_imbalance"] == 4
    assert (pairs.report["left_out"]["max_imbalance"] > 0, pairs.report["made"] > 250) == (True, True)


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


def test_a_budget_is_shared_by_splits_and_scales():
    codes = np.arange(400)
    pool = make_pool(codes, codes % 7, scales_N=codes // 200 * 5, splits_N=codes % 2)
    for policy in ("random", "dissimilar", "similar", "balanced"):
        pairs = pair(pool, settings_of(policy, budget=100, neighbours=40), 0)
        assert len(pairs.winners_C) == 100
        cells = Counter((pool.scales_N[w], pool.splits_N[w]) for w in pairs.winners_C.tolist())
        assert min(cells.values()) >= 10
        assert len(cells) == 4


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


@pytest.mark.parametrize("keys", [{"policy": "balanced"}, {"policy": "assumed_wins"}])
def test_ties_are_kept_only_where_they_mean_something(keys):
    with pytest.raises(ValidationError, match="keep_ties"):
        PairConfig.model_validate({"keep_ties": True, **keys})


@pytest.mark.parametrize(("module", "policy"), [("faiss", "similar"), ("sklearn.linear_model", "random")])
def test_a_missing_extra_is_named_with_the_fix(monkeypatch, module, policy):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r"pairing needs .*pip install 'jpo-dist\[data\]'"):
        pair(topical_pool(2, 40), settings_of(policy), 0)


def test_conditional_pairs_need_no_extra(monkeypatch):
    for module in ("faiss", "sklearn", "sklearn.feature_extraction.text", "sklearn.linear_model"):
        monkeypatch.setitem(sys.modules, module, None)
    assert len(pair(make_pool(np.arange(200) // 4, np.arange(200)), settings_of("conditional"), 0).winners_C) == 300
