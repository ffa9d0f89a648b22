"""The plan is a pure function: same comparisons whatever the ranks and the budget, and nothing over the budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.batches.plan import Step, make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from jpo_dist.objective.held_out import evaluation_plan
from jpo_dist.records.comparisons import ComparisonSet, Item
from jpo_dist.records.examples import Example, Examples
from tests.support.plans import Problem, graph, plan_of, problems


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


def test_total_weight_is_of_the_whole_step() -> None:
    made, _ = graph([(0, 1), (2, 3), (4, 5)], [1.0, 2.5, 4.0])
    train = TrainConfig(comparisons_per_step=2, tokens_per_micro_step=20, shuffle=False)
    assert [s.total_weight for s in make_plan(Prepared.of_lengths(made, np.full(6, 10)), train, 2).steps()] == [
        3.5,
        4.0,
    ]


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


def test_an_example_counts_once_against_the_budget() -> None:
    """Its item stands on both sides of its loop; the budget of the longest comparison would be twice as much."""
    made = Examples.of(Example(Item.of(f"q{n}", "a")) for n in range(3))
    dataset = Prepared.of_lengths(made, np.array([60, 50, 20]))
    plan = make_plan(dataset, TrainConfig(tokens_per_micro_step=60, items_per_step=3, comparisons_per_step=1), 1)
    (step,) = plan.steps()
    assert sorted(sorted(micro.comparisons_C.tolist()) for micro in step.micro_steps) in (
        [[0], [1], [2]],
        [[0, 2], [1]],
    )
    with pytest.raises(ValueError, match=r"tokens_per_micro_step \(59\) is less than the longest item \(60 tokens\)"):
        make_plan(dataset, TrainConfig(tokens_per_micro_step=59), 1)
