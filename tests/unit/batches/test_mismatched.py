"""Which instruction each response is put under: never its own. Numbers and refusals: tests/numerics/test_kto.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.batches.mismatched import mismatched, one_step, partners
from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import prepare
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.sections import DataConfig, TrainConfig
from jpo_dist.records.comparisons import Item
from jpo_dist.records.examples import Example, Examples
from tests.support.tiny import PLAIN, byte_tokenizer


def test_different_instructions_move_on_by_one() -> None:
    assert partners(np.array([0, 1, 2, 3, 4])).tolist() == [1, 2, 3, 4, 0]


def test_one_that_comes_twice_moves_all_on_by_two() -> None:
    assert partners(np.array([0, 1, 0, 2])).tolist() == [1, 0, 3, 2]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=40).filter(lambda drawn: len(set(drawn)) > 1))
def test_no_response_stays_and_the_instructions_are_those_of_the_step_where_that_can_be(drawn: list[int]) -> None:
    groups = np.unique(drawn, return_inverse=True)[1]
    found = partners(groups)
    assert (groups[found] != groups).all()
    if 2 * np.bincount(groups).max() <= len(groups):
        assert sorted(found.tolist()) == list(range(len(groups)))


def test_a_single_instruction_has_no_partner() -> None:
    with pytest.raises(ValueError, match="2 examples of one instruction"):
        partners(np.array([0, 0]))


def test_pairs_fit_where_items_do_and_skip_the_instruction_where_it_is_not_scored() -> None:
    """A long instruction meets a long response: the end of the response is cut off."""
    items = [Item.of("long " * 30, "a"), Item.of("b", "yes " * 30), Item.of("c", "d")]
    for weight in (0.0, 1.0):
        train = TrainConfig(tokens_per_micro_step=200, shuffle=False)
        made = Examples.of(Example(item) for item in items)
        data = prepare(
            byte_tokenizer(),
            made,
            DataConfig(train="unused", template=PLAIN),
            train,
            ObjectiveConfig(instruction_weight=weight),
        )
        plan = make_plan(data, train, 2)
        pairs = mismatched(data, np.arange(3))
        assert pairs.tokens.lengths_N.max() == data.tokens.lengths_N.max()
        step = one_step(pairs, plan.limits)
        for micro in step.micro_steps:
            assert all(pairs.tokens.lengths_N[mine].sum() <= 200 for mine in micro.items_by_rank)
        places = np.concatenate([micro.items_N for micro in step.micro_steps])
        skips = np.concatenate([np.concatenate(micro.skips_by_rank) for micro in step.micro_steps])
        expected = pairs.tokens.instruction_lengths_N[places] if weight == 0 else np.zeros(3)
        assert skips.tolist() == expected.tolist()
