"""Splits are by whole instructions and depend on text and seed alone."""

from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.split import split_by_instruction
from tests.support.drawn import edges


def instructions(comparisons: ComparisonSet) -> set[str]:
    return {item.instruction_id for item in comparisons.all_items()}


@given(edges, st.floats(0, 1), st.integers(0, 5))
def test_splits_share_no_instruction_and_account_for_every_comparison(comparisons, fraction, seed):
    built = ComparisonSet.build(comparisons)
    split = split_by_instruction(built, fraction, seed)
    assert not instructions(split.train) & instructions(split.held_out)
    assert len(split.train) + len(split.held_out) + split.num_crossing == len(built)


@given(edges, st.randoms(use_true_random=False), st.integers(0, 5))
def test_splits_depend_on_text_and_seed_not_on_order_or_neighbors(comparisons, random, seed):
    shuffled = random.sample(comparisons, len(comparisons))
    first = split_by_instruction(ComparisonSet.build(comparisons), 0.4, seed)
    second = split_by_instruction(ComparisonSet.build(shuffled), 0.4, seed)
    assert instructions(first.held_out) == instructions(second.held_out)
    assert first.num_crossing == second.num_crossing
    half = split_by_instruction(ComparisonSet.build(comparisons[::2]), 0.4, seed)
    assert instructions(half.held_out) <= instructions(first.held_out)


def test_split_holds_out_about_the_fraction_of_the_instructions_and_another_seed_holds_out_others():
    pairs = [Comparison(Item.of(str(n), "yes"), Item.of(str(n), "no")) for n in range(2000)]
    built = ComparisonSet.build(pairs)
    held = [instructions(split_by_instruction(built, 0.25, seed).held_out) for seed in (0, 1)]
    for ids in held:
        assert abs(len(ids) - 500) < 5 * (2000 * 0.25 * 0.75) ** 0.5  # five standard deviations
    assert 60 < len(held[0] & held[1]) < 190  # independent draws share 125
    nothing, everything = split_by_instruction(built, 0.0, 0), split_by_instruction(built, 1.0, 0)
    assert (len(nothing.held_out), len(everything.train)) == (0, 0)


def test_a_crossing_comparison_is_in_neither_split():
    built = ComparisonSet.build([Comparison(Item.of(str(n), "yes"), Item.of(str(n + 1), "no")) for n in range(50)])
    split = split_by_instruction(built, 0.5, 0)
    assert split.num_crossing > 0
    for part in split[:2]:
        assert len(part) < 50
