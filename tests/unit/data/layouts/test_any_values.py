"""Whatever stands in the columns of a layout, a row is read or bad: nothing else is raised, and the counts add up."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.data.layouts import LAYOUTS, Layout, Names, read_row
from jpo_dist.data.row_values import BadField

JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", " ", "text", 0, -1, 7, 2.5, float("nan"), float("inf"), 10**400, True, [], {}, [None], ["a", 1], [[]],
     [{}], {"a": 1}, {"a": [1], "b": [2]}, [{"role": "user"}], [{"rank": "x", "value": 1}], "[1]", "\ud83c", "a\0b"]
)  # fmt: skip
EXAMPLES = [(layout, row) for layout in LAYOUTS for row in layout.example[-1:]]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a nested value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, one in inside for place in places(one, (*at, key)))][0 if at else 1 :]


def put(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """The same value with something else at a place."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = put(copy[at[0]], at[1:], new)
    return copy


@pytest.mark.parametrize(("layout", "row"), EXAMPLES, ids=[layout.name for layout, _ in EXAMPLES])
@settings(max_examples=12)
@given(data=st.data())
def test_a_row_is_read_or_bad(layout: Layout, row: Any, data: st.DataObject):
    changed = row
    for _ in range(data.draw(st.integers(1, 3))):
        changed = put(changed, data.draw(st.sampled_from(places(changed) or [()])), data.draw(JUNK))
        if not isinstance(changed, dict):
            return
    extra = data.draw(st.sampled_from([None, *sorted(layout.reads)]))
    changed = changed if extra is None else {**changed, extra: data.draw(JUNK)}
    try:
        found = read_row(layout, changed, Names("a:1", "a", "a:1"), named=True)
    except BadField as error:
        assert error.reason  # noqa: PT017
        return
    assert all(isinstance(bad, BadField) for bad in (*found.bad, *found.left_out))
    if layout.kind != "responses":
        assert found.comparison is not None or found.left_out
        assert found.comparison is None or found.comparison.winner != found.comparison.loser
    for rating in found.ratings:
        assert rating.item.response.strip()
        assert rating.item.instruction
        assert abs(rating.score) != float("inf")
