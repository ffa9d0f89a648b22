"""The plan is a pure function: same comparisons whatever the ranks and the budget, and nothing over the budget."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.batches.plan import Plan, Step, make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from jpo_dist.objective.held_out import evaluation_plan
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item


def graph(edges: list[tuple[int, int]], weights: list[float] | None = None) -> tuple[ComparisonSet, list[int]]:
    """A set with an item for each number in `edges`, and the row each number got."""
    weights = weights or [1.0] * len(edges)
    item = lambda n: Item.of(f"instruction {n}", f"response {n}")  # noqa: E731
    made = ComparisonSet.build(Comparison(item(w), item(l), x) for (w, l), x in zip(edges, weights, strict=True))  # noqa: E741
    numbers = [int(item.response.split()[1]) for item in made.all_items()]
    return made, numbers


def plan_of(edges: list[tuple[int, int]], lengths: dict[int, int], ranks: int = 1, **train: object) -> Plan:
    made, numbers = graph(edges)
    sizes = np.array([lengths[n] for n in numbers])
    return make_plan(Prepared.of_lengths(made, sizes), TrainConfig.model_validate(train), ranks)


Problem = tuple[list[tuple[int, int]], dict[int, int], dict[str, int]]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Random graphs, some with hubs; budgets from one comparison at a time to everything at once."""
    items = draw(st.integers(2, 14))
    node = st.integers(0, items - 1)
    edges = draw(st.lists(st.tuples(node, node).filter(lambda e: e[0] != e[1]), min_size=1, max_size=24))
    lengths = {n: draw(st.integers(1, 60)) for n in range(items)}
    longest = max(lengths[w] + lengths[loser] for w, loser in edges)
    train = {
        "comparisons_per_step": draw(st.integers(1, 8)),
        "tokens_per_micro_step": longest + draw(st.integers(0, 40) | st.integers(0, 300)),
        "epochs": draw(st.integers(1, 3)),
        "seed": draw(st.integers(0, 3)),
    }
    return edges, lengths, train


def fields(step: Step) -> object:
    micros = [
        ([i.tolist() for i in m.items_by_rank], m.comparisons_C.tolist(), m.winners_C.tolist(), m.losers_C.tolist())
        for m in step.micro_steps
    ]
    return step.index, step.epoch, step.comparisons_C.tolist(), step.total_weight, micros


@settings(deadline=None)
@given(problems(), st.integers(1, 9))
def test_every_comparison_once_an_epoch_and_nothing_over_the_budget(problem: Problem, ranks: int) -> None:
    edges, lengths, train = problem
    plan = plan_of(edges, lengths, ranks, **train)
    seen: dict[int, list[int]] = {}
    for step in plan.steps():
        in_micros = [c for micro in step.micro_steps for c in micro.comparisons_C]
        assert sorted(in_micros) == sorted(step.comparisons_C), "a comparison is in two micro-steps, or in none"
        assert 1 <= len(in_micros) <= train["comparisons_per_step"]
        seen.setdefault(step.epoch, []).extend(in_micros)
        for micro in step.micro_steps:
            assert len(micro.items_by_rank) == ranks, "every rank takes part in every micro-step"
            assert all(plan.lengths_N[mine].sum() <= plan.limits.tokens for mine in micro.items_by_rank)
            assert len(set(micro.items_N)) == len(micro.items_N), "an item is scored twice in a micro-step"
            assert (micro.items_N[micro.winners_C] == plan.winners_C[micro.comparisons_C]).all()
            assert (micro.items_N[micro.losers_C] == plan.losers_C[micro.comparisons_C]).all()
    assert len(seen) == train["epochs"]
    assert all(sorted(epoch) == list(range(len(edges))) for epoch in seen.values())


@settings(deadline=None)
@given(problems(), st.integers(2, 9), st.integers(0, 500))
def test_comparisons_of_a_step_do_not_depend_on_ranks_or_budget(problem: Problem, ranks: int, more: int) -> None:
    edges, lengths, train = problem
    wider = train | {"tokens_per_micro_step": train["tokens_per_micro_step"] + more}
    for a, b in zip(
        plan_of(edges, lengths, 1, **train).steps(), plan_of(edges, lengths, ranks, **wider).steps(), strict=True
    ):
        assert a.comparisons_C.tolist() == b.comparisons_C.tolist()
        assert (a.epoch, a.total_weight) == (b.epoch, b.total_weight)


@settings(deadline=None)
@given(problems(), st.integers(1, 4), st.data())
def test_a_step_is_the_same_reached_by_iteration_or_directly(problem: Problem, ranks: int, data: st.DataObject) -> None:
    """Resuming is starting at another step: in another process, with nothing remembered."""
    edges, lengths, train = problem
    whole = [fields(step) for step in plan_of(edges, lengths, ranks, **train).steps()]
    start = data.draw(st.integers(0, len(whole)))
    fresh = plan_of(edges, lengths, ranks, **train)
    assert [fields(step) for step in fresh.steps(start)] == whole[start:]
    assert start == len(whole) or fields(plan_of(edges, lengths, ranks, **train).step(start)) == whole[start]


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


def test_total_weight_is_of_the_whole_step() -> None:
    made, _ = graph([(0, 1), (2, 3), (4, 5)], [1.0, 2.5, 4.0])
    train = TrainConfig(comparisons_per_step=2, tokens_per_micro_step=20, shuffle=False)
    assert [s.total_weight for s in make_plan(Prepared.of_lengths(made, np.full(6, 10)), train, 2).steps()] == [
        3.5,
        4.0,
    ]


def test_seed_and_epoch_change_the_order_and_nothing_else_does() -> None:
    edges = [(2 * i, 2 * i + 1) for i in range(40)]
    lengths = dict.fromkeys(range(80), 5)
    order = lambda seed, epochs=2: [  # noqa: E731
        s.comparisons_C.tolist()
        for s in plan_of(edges, lengths, 1, seed=seed, epochs=epochs, comparisons_per_step=40).steps()
    ]
    assert order(0) == order(0)
    assert order(0, 3)[:2] == order(0, 2)
    assert order(0)[0] != order(1)[0]
    assert order(0)[0] != order(0)[1]


def test_unshuffled_order_is_that_of_the_data() -> None:
    made, _ = graph([(2 * i, 2 * i + 1) for i in range(10)])
    train = TrainConfig(comparisons_per_step=4, shuffle=False)
    plan = make_plan(Prepared.of_lengths(made, np.full(20, 5)), train, 1)
    found = [s.comparisons_C.tolist() for s in plan.steps()]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_max_steps_counts_over_epochs() -> None:
    edges = [(2 * i, 2 * i + 1) for i in range(5)]
    plan = plan_of(edges, dict.fromkeys(range(10), 5), 1, comparisons_per_step=2, max_steps=7)
    assert [step.epoch for step in plan.steps()] == [0, 0, 0, 1, 1, 1, 2]


def test_evaluation_goes_through_the_data_once_in_order() -> None:
    made, _ = graph([(2 * i, 2 * i + 1) for i in range(5)])
    train = TrainConfig(comparisons_per_step=2, max_steps=1, epochs=3)
    steps = list(evaluation_plan(Prepared.of_lengths(made, np.full(10, 5)), train, 65_536, 2).steps())
    assert [c for step in steps for c in step.comparisons_C] == [0, 1, 2, 3, 4]


def test_a_budget_below_the_longest_comparison_is_refused_with_the_fix() -> None:
    with pytest.raises(
        ValueError, match=r"tokens_per_micro_step \(100\) .* \(101 tokens .*raise it, or lower data.max_length"
    ):
        plan_of([(0, 1), (2, 3)], {0: 10, 1: 10, 2: 50, 3: 51}, 1, tokens_per_micro_step=100)


def test_no_comparisons_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match=r"data\.train has no comparisons"):
        make_plan(Prepared.of_lengths(ComparisonSet.build([]), np.zeros(0, dtype=np.int64)), TrainConfig(), 1)


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
@given(problems(), st.integers(1, 4), st.data())
def test_skipped_tokens_are_skipped_on_both_sides_of_every_comparison(
    problem: Problem, ranks: int, data: st.DataObject
) -> None:
    edges, lengths, train = problem
    made, numbers = graph(edges)
    shared_C = np.array([data.draw(st.integers(0, min(lengths[w], lengths[v]))) for w, v in edges])
    sizes = np.array([lengths[n] for n in numbers])
    dataset = Prepared.of_lengths(made, sizes, shared_C=shared_C)
    for step in make_plan(dataset, TrainConfig.model_validate(train), ranks).steps():
        skips = {int(i): int(k) for m in step.micro_steps for i, k in zip(m.items_N, np.concatenate(m.skips_by_rank),
                 strict=True)}  # fmt: skip
        for micro in step.micro_steps:
            assert np.concatenate(micro.skips_by_rank).tolist() == [skips[int(i)] for i in micro.items_N]
        for c in step.comparisons_C:
            winner, loser = skips[int(made.winners_C[c])], skips[int(made.losers_C[c])]
            assert winner == loser <= shared_C[c]
        if len(step.comparisons_C) == 1:
            assert set(skips.values()) == {int(shared_C[step.comparisons_C[0]])}, "nothing is scored for nothing"


def test_groups_come_whole_in_random_order_and_score_their_items_once() -> None:
    """Rankings of 4 responses, all 6 pairs of each: 4 items are scored where one by one it would be 12."""
    edges = [(4 * g + a, 4 * g + b) for g in range(40) for a, b in combinations(range(4), 2)]
    random = np.random.default_rng(0)
    edges = [edges[i] for i in random.permutation(len(edges))]
    lengths = dict.fromkeys(range(160), 10)
    plan = plan_of(edges, lengths, 2, comparisons_per_step=24, tokens_per_micro_step=1000, epochs=2, sample_by="group")
    orders = []
    for epoch in range(2):
        steps = [plan.step(epoch * plan.steps_per_epoch + k) for k in range(plan.steps_per_epoch)]
        seen = [int(c) for step in steps for c in step.comparisons_C]
        assert sorted(seen) == list(range(len(edges)))
        for step in steps:
            assert len({edges[c][0] // 4 for c in step.comparisons_C}) == 4
            assert sum(len(m.items_N) for m in step.micro_steps) == 16
        orders.append([edges[c][0] // 4 for c in seen[::6]])
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])
    apart = plan_of(edges, lengths, 2, comparisons_per_step=24, tokens_per_micro_step=1000)
    assert np.mean([sum(len(m.items_N) for m in step.micro_steps) for step in apart.steps()]) > 32


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
