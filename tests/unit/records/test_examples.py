"""Examples are loops: what works on comparisons works on them, and their label goes along."""

from jpo_dist.records.comparisons import Item
from jpo_dist.records.examples import Example, Examples
from jpo_dist.records.split import split_by_instruction

PEAR, BRICK = Item.of("Name a fruit.", "A pear."), Item.of("Name a fruit.", "A brick.")


def test_an_example_is_an_item_compared_with_itself() -> None:
    made = Examples.of([Example(PEAR, 2.0), Example(BRICK, desirable=False), Example(PEAR, desirable=False)])
    assert made.num_items == 2
    assert made.winners_C.tolist() == made.losers_C.tolist() == [0, 1, 0]
    assert made.weights_C.tolist() == [2.0, 1.0, 1.0]
    assert made.desirable_C.tolist() == [True, False, False]


def test_a_part_keeps_its_labels_and_another_label_is_another_set() -> None:
    made = Examples.of([Example(PEAR), Example(BRICK, desirable=False)])
    part = made.subset(~made.desirable_C)
    assert isinstance(part, Examples)
    assert (part.all_items(), part.desirable_C.tolist()) == ([BRICK], [False])
    assert made.fingerprint != Examples.of([Example(PEAR), Example(BRICK)]).fingerprint


def test_held_out_by_instruction_none_crosses() -> None:
    made = Examples.of(Example(Item.of(f"q{i % 20}", f"a{i}")) for i in range(60))
    split = split_by_instruction(made, 0.3, seed=0)
    assert split.num_crossing == 0
    assert len(split.train) + len(split.held_out) == 60
    sides = [{item.instruction for item in side.all_items()} for side in (split.train, split.held_out)]
    assert all(sides)
    assert not sides[0] & sides[1]
