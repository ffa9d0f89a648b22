"""Splits are by whole instructions and depend on text and seed alone."""

from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.records.columns.item_rows import ItemRows
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Message
from jpo_dist.records.split import split_by_instruction, split_keys, split_of, splits_of
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


turns = st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), st.sampled_from(["a", "b", ""]))
conversations = st.lists(st.lists(turns, min_size=1, max_size=5).map(tuple), max_size=12)


def beginning(instruction: tuple[Message, ...]) -> tuple[Message, ...]:
    """The oracle: turn by turn, until the first user turn was taken."""
    taken: list[Message] = []
    for turn in instruction:
        taken.append(turn)
        if turn.role == "user":
            break
    return tuple(taken)


@given(conversations, st.integers(0, 3))
def test_a_conversation_is_where_its_first_user_turn_is(instructions, seed):
    items = [Item(instruction, "yes") for instruction in instructions]
    built = ComparisonSet.build([Comparison(item, Item(item.instruction, "no")) for item in items])
    expected = [split_of(Item(beginning(i.instruction), "").instruction_id, 0.3, 0.3, seed) for i in built.all_items()]
    assert splits_of(built, 0.3, 0.3, seed).tolist() == expected
    rows = ItemRows()
    numbers = rows.rows_of(items)
    assert [split_keys(rows)[n] for n in rows.instruction_N[numbers]] == [
        Item(beginning(item.instruction), "").instruction_id for item in items
    ], "jpo data build goes by the same"


def test_instructions_of_one_user_turn_are_where_earlier_versions_had_them():
    """Sets that were built, and runs that were begun, keep what they hold out."""
    plain = [Item.of(f"q{n}", "") for n in range(30)]
    system = [Item((Message("system", "Be brief."), *item.instruction), "") for item in plain]
    whole = [Item((Message("system", f"q{n}"),), "") for n in range(30)]
    for items in (plain, system, whole):
        built = ComparisonSet.build([Comparison(item, Item(item.instruction, "no")) for item in items])
        by_whole = [split_of(item.instruction_id, 0.2, 0.2, 7) for item in built.all_items()]
        assert splits_of(built, 0.2, 0.2, 7).tolist() == by_whole
    assert [n for n, item in enumerate(plain) if split_of(item.instruction_id, 0.2, 0.0, 7) != "train"] == [
        3,
        14,
        17,
        24,
        29,
    ]


def test_the_share_of_conversations_is_about_what_was_asked_for():
    def turn(n: int, k: int) -> Item:
        before = [Message("user", f"{n}")]
        for at in range(k):
            before += [Message("assistant", f"a{at}"), Message("user", f"u{at}")]
        return Item(tuple(before), "yes")

    made = [Comparison(turn(n, k), Item(turn(n, k).instruction, "no")) for n in range(500) for k in range(3)]
    split = split_by_instruction(ComparisonSet.build(made), 0.25, 0)
    assert abs(len(split.held_out) - 375) < 5 * 3 * (500 * 0.25 * 0.75) ** 0.5
    assert len(split.held_out) % 3 == 0, "whole conversations"
