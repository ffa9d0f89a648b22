"""Lists whose members are columns: the same members, few of them alive."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.records.columns import lists
from jpo_dist.records.columns.lists import ComparisonList, RatingList
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Rating, digest
from tests.support.drawn import edges


@given(edges, st.integers(1, 4))
def test_what_is_added_comes_back_in_order(comparisons, at_once):
    before, lists.AT_ONCE = lists.AT_ONCE, at_once
    try:
        found = ComparisonList()
        found += comparisons
        assert list(found) == comparisons
        assert [found[n] for n in range(len(found))] == comparisons
        assert found[-2:] == comparisons[-2:]
        items = [side for c in comparisons for side in (c.winner, c.loser)]
        ratings = [Rating(item, float(n), f"s{n % 2}", f"f:{n}") for n, item in enumerate(items)]
        scores = RatingList(ratings, found.items)
        assert list(scores) == ratings
        assert len(found.items) == len(set(items))
    finally:
        lists.AT_ONCE = before


@pytest.mark.slow
def test_few_comparisons_are_objects_at_once():
    most = 0

    def many() -> Iterator[Comparison]:
        nonlocal most
        for n in range(3 * lists.AT_ONCE):
            if n % (lists.AT_ONCE // 2) == 0:
                most = max(most, sum(type(one) is Comparison for one in gc.get_objects()))
            yield Comparison(Item.of(str(n), "a"), Item.of(str(n), "b"))

    found = ComparisonList(many())
    assert len(found) == 3 * lists.AT_ONCE
    assert 0 < most <= lists.AT_ONCE
    assert sum(1 for _ in found) == len(found)


@given(edges)
def test_a_fingerprint_is_the_digest_of_all_columns(comparisons):
    """Commits, caches and built sets name it."""
    built = ComparisonSet.build(comparisons)
    assert built.fingerprint == digest([built.items["id"].to_pylist(), built.comparisons.to_pydict()])
    assert built.items["id"].to_pylist() == [digest([item.instruction, item.response]) for item in built.all_items()]
