"""A budget holds requests back before a limit is exceeded, and no sooner."""

import threading

import pytest

from jpo_dist.endpoint.budget import Budget, Spent, left_of
from jpo_dist.endpoint.config import BudgetConfig, EndpointConfig
from jpo_dist.endpoint.replies import Reply


def test_a_budget_waits_for_those_under_way_and_then_stops():
    config = EndpointConfig(model="m", input_price=1.0)
    budget = Budget(BudgetConfig(max_tokens=100), config, Spent(1, 40, 0.0))
    assert budget.begin()
    assert budget.begin()  # 2 x 40
    third: list[bool] = []
    thread = threading.Thread(target=lambda: third.append(budget.begin()))
    thread.start()
    budget.end(reply_of(10, key="x"))  # 10 spent, 40 under way: room for one more of 40
    thread.join(10)
    assert third == [True]
    budget.end(reply_of(30))
    budget.end(reply_of(30))
    assert not budget.begin()  # 70 spent, 110 > 100
    assert budget.spent == Spent(3, 70, pytest.approx(70e-6))
    assert budget.exhausted == "budget.max_tokens"


def reply_of(tokens: int, key: str = "k") -> Reply:
    return Reply(key, "(a)", tokens, 0, False, 0.1, "s")


@pytest.mark.parametrize(("limit", "spent", "left"), [(10, 4, 6), (10, 10, None), (10, 12, None), (None, 4, None)])
def test_what_is_left(limit, spent, left):
    rest = left_of(BudgetConfig(max_requests=limit), Spent(spent, 0, 0.0))
    assert (rest.max_requests if rest else None) == left
    assert (rest is None) == (limit is not None and left is None)
