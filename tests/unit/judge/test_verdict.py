"""The order in which a pair is shown, and the rule of both orders."""

import itertools

from jpo_dist.judge.verdict import in_shown_order, outcome_of
from jpo_dist.records.comparisons import Item


def test_the_order_shown_depends_on_content_only_and_is_balanced():
    items = [Item.of(f"i{n}", "r") for n in range(60)]
    first_shown = [in_shown_order(a, b)[0] for a, b in itertools.combinations(items, 2)]
    assert first_shown == [in_shown_order(b, a)[0] for a, b in itertools.combinations(items, 2)]
    often = [first_shown.count(item) for item in items]
    assert max(often) < 50  # of 59: no item always stands first
    assert min(often) > 10


def test_the_rule_of_both_orders_on_all_its_cases():
    def expected(x, y):
        if "!" in (x, y):
            return "failed"
        if "-" in (x, y):
            return "not asked"
        if "?" in (x, y):
            return "unparsable"
        return "tie" if x == y else "decided"

    for x, y in itertools.product("ab?-!", repeat=2):
        assert outcome_of(x + y) == expected(x, y)
