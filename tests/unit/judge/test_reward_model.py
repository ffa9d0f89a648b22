"""The batches of a reward model."""

from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.judge.reward_model import batches_of


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_limit(lengths, most):
    batches = batches_of(lengths, most)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= most for batch in batches)
