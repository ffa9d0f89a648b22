"""What two sets share, counted by digests and by the texts themselves."""

import random

import pyarrow as pa
import pytest

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Message, Rating
from jpo_dist.records.contents import Inside, Overlap, inside, overlap
from jpo_dist.records.examples import Example, Examples


def counted(held: list[Comparison], train: list[Comparison]) -> Overlap:
    """The oracle: the same of Python's own sets."""
    asked, known = ({i.instruction for c in found for i in (c.winner, c.loser)} for found in (held, train))
    pairs = {frozenset((c.winner, c.loser)) for c in train}
    both = sum(frozenset((c.winner, c.loser)) in pairs for c in held)
    return Overlap(len(asked & known), len(asked), both, len(held))


def drawn(seed: int, number: int) -> list[Comparison]:
    """Comparisons of few texts: instructions of one to three turns that differ in one role, text or order."""
    draw = random.Random(seed)

    def item() -> Item:
        turns = tuple(
            Message(draw.choice(("user", "assistant", "system")), draw.choice(("a", "b", "ab", "")))
            for _ in range(draw.randint(1, 3))
        )
        return Item(turns, draw.choice(("yes", "no", "a")))

    found = []
    while len(found) < number:
        winner = item()
        loser = Item(winner.instruction, draw.choice(("yes", "no"))) if draw.random() < 0.5 else item()
        if winner != loser:
            found.append(Comparison(winner, loser, tie=draw.random() < 0.2))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_it_counts_what_the_texts_say(seed: int) -> None:
    held, train = drawn(seed, 60), drawn(seed + 100, 400)
    found = overlap(ComparisonSet.build(held), ComparisonSet.build(train))
    assert found == counted(held, train)
    assert 0 < found.comparisons < 60
    assert 0 < found.instructions < found.of_instructions


def test_the_same_two_items_are_one_comparison_whoever_won() -> None:
    a, b, c = (Item.of("q", text) for text in "abc")
    train = ComparisonSet.build([Comparison(a, b)])
    assert overlap(ComparisonSet.build([Comparison(b, a), Comparison(a, c)]), train) == Overlap(1, 1, 1, 2)
    joint = ComparisonSet.build([Comparison(a, Item.of("p", "b"))])
    assert overlap(joint, train) == Overlap(1, 2, 0, 1)
    assert overlap(train, joint) == Overlap(1, 1, 0, 1)


def test_items_that_nothing_compares_do_not_count() -> None:
    pair = Comparison(Item.of("q", "a"), Item.of("q", "b"))
    other = Comparison(Item.of("p", "a"), Item.of("p", "b"))
    train = ComparisonSet.build([other], [Rating(pair.winner, 1.0, "s"), Rating(pair.loser, 0.0, "s")])
    assert overlap(ComparisonSet.build([pair]), train) == Overlap(0, 1, 0, 1)


def test_examples_are_equal_where_their_items_are() -> None:
    held = Examples.of([Example(Item.of("q", "a")), Example(Item.of("q", "b")), Example(Item.of("r", "a"))])
    train = Examples.of([Example(Item.of("q", "a"), desirable=False), Example(Item.of("p", "b"))])
    assert overlap(held, train) == Overlap(1, 2, 1, 3)


def test_parts_and_pieces_of_tables_are_as_the_whole() -> None:
    pairs = drawn(7, 200)
    train, whole = ComparisonSet.build(drawn(8, 300)), ComparisonSet.build(pairs)
    cut = [pa.concat_tables([table.slice(0, 5), table.slice(5)]) for table in (whole.items, whole.comparisons)]
    assert overlap(ComparisonSet(*cut), train) == overlap(whole, train)
    keep = [n % 3 == 0 for n in range(200)]
    part = whole.subset(pa.array(keep).to_numpy(zero_copy_only=False))
    assert overlap(part, train) == counted([c for c, kept in zip(pairs, keep, strict=True) if kept], drawn(8, 300))
    assert overlap(train, part).comparisons == counted(drawn(8, 300), pairs[::3]).comparisons


def test_of_empty_sets_nothing_is_shared() -> None:
    empty, some = ComparisonSet.build([]), ComparisonSet.build(drawn(1, 5))
    assert overlap(empty, some) == Overlap(0, 0, 0, 0)
    assert overlap(some, empty)[::2] == (0, 0)


def turns_of(built: list[Comparison]) -> set[Item]:
    """The oracle: each turn of the assistant as the item that it was when it was said."""
    instructions = {item.instruction for c in built for item in (c.winner, c.loser)}
    return {
        Item(turns[:k], turn.content)
        for turns in instructions
        for k, turn in enumerate(turns)
        if turn.role == "assistant"
    }


@pytest.mark.parametrize("seed", range(4))
def test_responses_that_stand_in_instructions_are_counted_as_the_texts_say(seed: int) -> None:
    held, train = drawn(seed, 60), drawn(seed + 100, 400)
    # Responses that are turns, so that there is something to find, and one that is a turn after other turns.
    held += [Comparison(item, Item(item.instruction, "other")) for item in sorted(turns_of(train), key=repr)[::7]]
    items = {item for c in held for item in (c.winner, c.loser)}
    found = inside(ComparisonSet.build(held), ComparisonSet.build(train))
    assert found == Inside(len(items & turns_of(train)), len(items))
    assert 0 < found.responses < found.of_responses


def test_a_turn_counts_after_the_very_turns_before_it_and_where_something_compares_it() -> None:
    def asks(first: str) -> tuple[Message, ...]:
        return Message("user", first), Message("assistant", "yes"), Message("user", "Why?")

    def pair(asked: tuple[Message, ...]) -> Comparison:
        return Comparison(Item(asked, "a"), Item(asked, "b"))

    held = ComparisonSet.build([Comparison(Item.of("q", "yes"), Item.of("q", "no"))])
    for asked, count in ((asks("q"), 1), (asks("other"), 0), ((Message("user", "yes"),), 0)):
        assert inside(held, ComparisonSet.build([pair(asked)])) == Inside(count, 2)
    unused = ComparisonSet.build([pair(asks("other"))], [Rating(Item(asks("q"), "x"), 1.0, "s")])
    assert inside(held, unused) == Inside(0, 2)
    assert inside(ComparisonSet.build([]), unused) == inside(held, ComparisonSet.build([]))._replace(of_responses=0)
