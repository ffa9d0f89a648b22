"""Agreement and ties by group against pairs of judgments counted one by one."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.groups import MOST_VALUES, by_group, groups_of
from jpo_dist.statistics.intervals import wilson
from tests.support.drawn import items

PEAR, PLUM, BRICK = (Item.of("Name a fruit.", text) for text in ("A pear.", "A plum.", "A brick."))


def judged(winner: Item, loser: Item, country: str, tie: bool = False, who: str | None = None) -> Comparison:
    return Comparison(winner, loser, tie=tie, annotator=who, groups=(("country", country),))


def test_the_same_comparison_from_two_groups_counts_in_both() -> None:
    """Of PEAR and BRICK, three German judgments (pear, pear, brick) and one French (pear); of PLUM a French tie."""
    made = [
        judged(PEAR, BRICK, "DE"), judged(PEAR, BRICK, "DE"), judged(BRICK, PEAR, "DE"), judged(PEAR, BRICK, "FR"),
        judged(PLUM, PEAR, "FR", tie=True), Comparison(PEAR, BRICK),
    ]  # fmt: skip
    found = by_group(ComparisonSet.build(made))["country"]
    germany, france = found["values"]
    assert (germany["value"], germany["comparisons"], germany["conditional"], germany["ties"]) == ("DE", 3, 3, 0)
    assert germany["tie_share"] == wilson(0, 3)
    assert germany["within"] == {"of": 3, "agree": wilson(1, 3)}  # of three pairs, the one of pear and pear
    assert germany["with_others"] == {"of": 3, "agree": wilson(2, 3)}
    assert (france["value"], france["ties"], france["tie_share"]) == ("FR", 1, wilson(1, 2))
    assert france["within"] == {"of": 0, "agree": None}
    assert france["with_others"] == germany["with_others"]
    assert found["agreement"] == {"of": 6, "agree": wilson(3, 6)}
    assert (found["no_value"], found["more_values"]) == (1, 0)


def test_an_annotator_is_not_compared_with_himself() -> None:
    made = [judged(PEAR, BRICK, "DE", who="a"), judged(PEAR, BRICK, "DE", who="a"), judged(BRICK, PEAR, "DE", who="b")]
    found = by_group(ComparisonSet.build(made))
    assert found["country"]["values"][0]["within"] == {"of": 2, "agree": wilson(0, 2)}
    a, b = found["annotator"]["values"]
    assert (a["value"], a["within"], a["with_others"]["of"]) == ("a", {"of": 0, "agree": None}, 2)
    assert (b["value"], b["with_others"]["of"]) == ("b", 2)


def test_only_the_most_frequent_values_have_a_row() -> None:
    made = [judged(PEAR, BRICK, f"c{n}") for n in range(MOST_VALUES + 5)]
    found = by_group(ComparisonSet.build(made))["country"]
    assert (len(found["values"]), found["more_values"]) == (MOST_VALUES, 5)
    assert found["agreement"]["of"] == 105 * 104 // 2


few = st.builds(
    Comparison, items, items, tie=st.booleans(), annotator=st.sampled_from([None, None, "x", "y"]),
    groups=st.sampled_from([(), (("g", "a"),), (("g", "b"),), (("g", "c"),)]),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(few, max_size=14))
def test_pairs_of_judgments_equal_plain_loops(made: list[Comparison]) -> None:
    told = by_group(ComparisonSet.build(made))
    assert set(told) == {name for c in made for name, _ in groups_of(c)}
    for name, found in told.items():
        rows = {row["value"]: row for row in found["values"]}
        counts = _pairs(made, name)
        for value, row in rows.items():
            for part in ("within", "with_others"):
                of, agree = counts.get((part, value), (0, 0))
                assert row[part] == {"of": of, "agree": wilson(agree, of)}
        of, agree = counts.get(("all", ""), (0, 0))
        assert found["agreement"]["of"] == of
        assert found["agreement"]["agree"] == pytest.approx(wilson(agree, of))
        assert sum(row["comparisons"] for row in rows.values()) + found["no_value"] == len(made)


def _pairs(made: list[Comparison], name: str) -> dict[Any, tuple[int, int]]:
    """(pairs, those that agree) of judgments on the same items, each pair looked at."""
    counts: dict[Any, tuple[int, int]] = {}
    for one, other in combinations(made, 2):
        first, second = dict(groups_of(one)).get(name), dict(groups_of(other)).get(name)
        same_person = one.annotator is not None and one.annotator == other.annotator
        if {one.winner, one.loser} != {other.winner, other.loser} or None in (first, second) or same_person:
            continue
        agree = one.tie == other.tie and (one.tie or one.winner == other.winner)
        keys = [("within", first)] if first == second else [("with_others", first), ("with_others", second)]
        for key in [("all", ""), *keys]:
            of, agreeing = counts.get(key, (0, 0))
            counts[key] = (of + 1, agreeing + agree)
    return counts
