"""What a set says more than once, and what it says both ways."""

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.contents import restated


def test_restated_comparisons_are_counted_and_ties_restate_nothing():
    a, b, c = (Item.of("q", text) for text in "abc")
    said = [(a, b, False), (a, b, False), (b, a, False), (b, c, False), (c, b, True), (b, c, True)]
    built = ComparisonSet.build(Comparison(winner, loser, tie=tie) for winner, loser, tie in said)
    assert restated(built) == (1, 3)
    assert restated(ComparisonSet.build([])) == (0, 0)
