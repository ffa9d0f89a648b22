"""How work and limits are shared out among tasks."""

import json

from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.endpoint.budget import Spent
from jpo_dist.endpoint.config import BudgetConfig
from jpo_dist.endpoint.many import Terms, parts_of


@given(st.integers(0, 1000), st.integers(1, 20))
def test_parts_add_up(total, parts):
    assert sum(parts_of(total, parts)) == total
    assert max(parts_of(total, parts)) - min(parts_of(total, parts)) <= 1


@given(st.integers(1, 100), st.integers(1, 20), st.integers(1, 8))
def test_shares_spend_no_more_than_the_whole_and_survive_the_way_to_a_task(requests, threads, parts):
    parts = min(parts, requests, threads)
    whole = Terms(
        BudgetConfig(max_requests=requests, max_cost=1.0), Spent(1, 40, 0.5), threads, ("seed",), Spent(3, 120, 1.5)
    )
    shares = whole.shared(parts)
    assert sum(share.limits.max_requests for share in shares) == requests
    assert sum(share.threads for share in shares) == threads
    assert all(share.limits.max_cost == 1.0 / parts and share.limits.max_tokens is None for share in shares)
    assert [Terms.of(json.loads(json.dumps(share.as_dict()))) for share in shares] == shares
