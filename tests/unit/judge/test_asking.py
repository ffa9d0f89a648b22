"""How work and limits are shared out."""

from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.judge.asking import parts_of


@given(st.integers(0, 1000), st.integers(1, 20))
def test_parts_add_up(total, parts):
    assert sum(parts_of(total, parts)) == total
    assert max(parts_of(total, parts)) - min(parts_of(total, parts)) <= 1
