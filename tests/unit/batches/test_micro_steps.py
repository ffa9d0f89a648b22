"""Micro-steps are within every limit, share out tokens evenly, and score an item once where it fits."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from tests.support.plans import Problem, graph, plan_of, problems


@settings(deadline=None)
@given(problems(), st.integers(1, 4))
def test_connected_comparisons_that_fit_score_each_item_once(problem: Problem, ranks: int) -> None:
    """With room for the whole step, engine forwards score every item of the step exactly once."""
    edges, lengths, train = problem
    roomy = train | {"tokens_per_micro_step": sum(lengths.values()) * 2}
    for step in plan_of(edges, lengths, ranks, **roomy).steps():
        assert len(step.micro_steps) == 1
        ends = [edges[c] for c in step.comparisons_C]
        assert len(step.micro_steps[0].items_N) == len({item for edge in ends for item in edge})


@pytest.mark.parametrize(
    "links",
    [[(0, 1), (0, 2), (0, 3)], [(1, 0), (2, 0), (3, 0)], [(0, 1), (1, 2), (2, 3)], [(0, 1), (2, 3), (2, 1)]],
    ids=["shared winner", "shared loser", "chain", "joined last"],
)
def test_a_group_that_fits_is_not_torn_apart_by_its_neighbours(links: list[tuple[int, int]]) -> None:
    """Three groups of 4 items, their comparisons interleaved, budget for one group at a time: no item scored twice."""
    edges = [(10 * group + w, 10 * group + loser) for w, loser in links for group in range(3)]
    lengths = {n: 10 for edge in edges for n in edge}
    (step,) = plan_of(edges, lengths, 1, comparisons_per_step=9, tokens_per_micro_step=45, shuffle=False).steps()
    assert sorted(len(micro.items_N) for micro in step.micro_steps) == [4, 4, 4]


def test_room_on_all_ranks_together_is_not_room_on_each() -> None:
    """Five items of 50 tokens fit into 2 x 130 by their sum, but one rank would get three of them."""
    edges, lengths = [(0, leaf) for leaf in range(1, 5)], dict.fromkeys(range(5), 50)
    (step,) = plan_of(edges, lengths, 2, comparisons_per_step=4, tokens_per_micro_step=130, shuffle=False).steps()
    assert [[len(mine) for mine in micro.items_by_rank] for micro in step.micro_steps] == [[2, 2], [1, 1]]


def test_a_group_too_large_is_cut_and_its_shared_item_scored_in_each_part() -> None:
    edges = [(0, leaf) for leaf in range(1, 8)]
    lengths = dict.fromkeys(range(8), 10)
    (step,) = plan_of(edges, lengths, 1, comparisons_per_step=7, tokens_per_micro_step=40, shuffle=False).steps()
    assert [len(micro.items_N) for micro in step.micro_steps] == [4, 4, 2]
    assert sum(len(micro.comparisons_C) for micro in step.micro_steps) == 7


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_ranks_get_the_same_amount_of_tokens(ranks: int) -> None:
    """64 comparisons of Anthropic-Helpful's lengths (log-normal, mean near 90 and 72 tokens), room to choose."""
    rng = np.random.default_rng(0)
    edges = [(2 * i, 2 * i + 1) for i in range(640)]
    lengths = {n: int(np.clip(rng.lognormal(4.25 if n % 2 == 0 else 4.0, 0.65), 25, 540)) for n in range(1280)}
    plan = plan_of(edges, lengths, ranks, comparisons_per_step=64, tokens_per_micro_step=16384)
    for step in plan.steps():
        tokens = np.array([[plan.lengths_N[mine].sum() for mine in micro.items_by_rank] for micro in step.micro_steps])
        per_rank = tokens.sum(0)
        assert per_rank.max() / per_rank.mean() <= 1.05
        assert len(step.micro_steps) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(0, 5))
def test_micro_steps_are_not_wasted(ranks: int, seed: int) -> None:
    """No two micro-steps that certainly fit into one: half of the budget, since no item is longer than 200 tokens."""
    rng = np.random.default_rng(seed)
    edges = [(2 * i, 2 * i + 1) for i in range(32)]
    lengths = {n: int(rng.integers(20, 200)) for n in range(64)}
    plan = plan_of(edges, lengths, ranks, comparisons_per_step=32, tokens_per_micro_step=500)
    (step,) = plan.steps()
    sizes = [int(plan.lengths_N[micro.items_N].sum()) for micro in step.micro_steps]
    assert all(a + b > 500 * ranks / 2 for a, b in combinations(sizes, 2))


@settings(deadline=None)
@given(problems(), st.integers(1, 6), st.data())
def test_no_rank_is_over_the_limit_of_squares(problem: Problem, ranks: int, data: st.DataObject) -> None:
    edges, lengths, train = problem
    most = max(lengths[w] ** 2 + lengths[loser] ** 2 for w, loser in edges)
    limit = most + data.draw(st.integers(0, 4000))
    plan = plan_of(edges, lengths, ranks, **train, squares_per_micro_step=limit)
    free = plan_of(edges, lengths, ranks, **train)
    for step, without in zip(plan.steps(), free.steps(), strict=True):
        assert step.comparisons_C.tolist() == without.comparisons_C.tolist()
        for micro in step.micro_steps:
            assert all((plan.lengths_N[mine] ** 2).sum() <= limit for mine in micro.items_by_rank)
    with pytest.raises(ValueError, match=rf"squares_per_micro_step \({most - 1}\) .* \({most} squares in its two"):
        plan_of(edges, lengths, ranks, **train, squares_per_micro_step=most - 1)


def test_attention_counts_in_the_balance() -> None:
    """One long item costs as much as many short ones of the same tokens and more, so they share its rank last."""
    lengths = {0: 100, **dict.fromkeys(range(1, 22), 10)}
    edges = [(0, 1), *((n, n + 1) for n in range(1, 21))]
    made, numbers = graph(edges)
    train = TrainConfig(comparisons_per_step=30, tokens_per_micro_step=1000)
    sizes = np.array([lengths[n] for n in numbers])
    for quadratic, expected in ((0.0, 155), (0.01, 110)):
        plan = make_plan(Prepared.of_lengths(made, sizes), train, 2, quadratic)
        (micro,) = plan.step(0).micro_steps
        assert max(sizes[mine].sum() for mine in micro.items_by_rank if 0 in mine) == pytest.approx(expected, abs=10)


@settings(deadline=None)
@given(problems(), st.integers(1, 5), st.data())
def test_items_of_one_instruction_stay_on_one_rank_and_count_it_once(
    problem: Problem, ranks: int, data: st.DataObject
) -> None:
    edges, lengths, train = problem
    made, numbers = graph(edges)
    sizes = np.array([lengths[n] for n in numbers])
    which = np.array([data.draw(st.integers(0, 3)) for _ in numbers])
    heads = [data.draw(st.integers(0, int(sizes[which == t].min(initial=60)) - 1)) for t in range(4)]
    instructions = np.stack([which, np.array(heads)[which]], axis=1)
    dataset = Prepared.of_lengths(made, sizes, instructions_N2=instructions)
    plan = make_plan(dataset, TrainConfig.model_validate(train), ranks)
    for step in plan.steps():
        assert sorted(c for m in step.micro_steps for c in m.comparisons_C) == sorted(step.comparisons_C)
        for micro in step.micro_steps:
            for t in range(4):
                assert sum((which[mine] == t).any() for mine in micro.items_by_rank if len(mine)) <= 1
            for mine in micro.items_by_rank:
                computed = sizes[mine].sum() - sum(heads[t] * max(0, (which[mine] == t).sum() - 1) for t in range(4))
                assert computed <= plan.limits.tokens
