"""A few items that stand for all."""

from pathlib import Path

from jpo_dist.records.columns.pages import map_table, write_table
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Message, Rating
from jpo_dist.records.shapes import samples, source_of
from tests.support.footprint import resident_of
from tests.support.templates import LONG, ONE, SYSTEM, compared


def test_one_item_of_each_shape_with_its_source_and_how_many_are_alike() -> None:
    spaced, thinks = Item.of("tell", " a"), Item.of("ask", "<think>x</think>y")
    found = samples(compared(ONE, SYSTEM, Item.of("b", "c"), LONG, spaced, thinks))
    assert [(one.item, one.source) for one in found] == [
        (ONE, "f.jsonl:1"), (SYSTEM, "f.jsonl:2"), (LONG, "f.jsonl:4"), (spaced, "f.jsonl:5"), (thinks, "f.jsonl:6")
    ]  # fmt: skip
    assert [one.alike for one in found] == [6, 2, 2, 1, 1]
    assert sum(one.alike for one in found) == 12


def test_what_was_looked_at_for_it_is_not_kept_in_memory(tmp_path: Path) -> None:
    built = compared(ONE, SYSTEM, LONG)
    write_table(built.items, tmp_path / "items.arrow")
    table = map_table(tmp_path / "items.arrow")
    assert samples(ComparisonSet(table, built.comparisons)) == samples(built)
    assert resident_of("items.arrow") == 0
    assert table["response"].to_pylist()
    assert resident_of("items.arrow") > 0, "it is mapped"


def test_there_are_never_many_and_the_shortest_come_first() -> None:
    talks = [
        Item(tuple(Message("user" if n % 2 == 0 else "assistant", "x") for n in range(turns)), "y")
        for turns in range(199, 0, -2)
    ]
    found = samples(compared(*talks))
    assert len(found) == 64
    assert max(len(one.item.instruction) for one in found) == 127
    assert samples(ComparisonSet.build([])) == []


def test_an_item_that_nobody_compares_is_named_by_its_number() -> None:
    built = ComparisonSet.build([Comparison(ONE, SYSTEM, source="f.jsonl:7")], [Rating(LONG, 1.0, "s")])
    assert [source_of(built, row) for row in range(3)] == ["f.jsonl:7", "f.jsonl:7", "item 3"]
