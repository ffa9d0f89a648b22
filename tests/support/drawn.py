"""Comparisons that hypothesis draws: few different items, so that they repeat, cross and contradict each other."""

from hypothesis import strategies as st

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item

items = st.builds(Item.of, st.sampled_from("abcdefgh"), st.sampled_from(["yes", "no", "", "🍐"]))
edges = st.lists(st.builds(Comparison, items, items, st.floats(0.1, 9.0), st.sampled_from(["", "f:1"])), max_size=40)


def content(comparisons: ComparisonSet) -> list[Comparison]:
    """The comparisons of a set, read from its columns one by one."""
    sources = comparisons.comparisons["source"].to_pylist()
    rows = zip(comparisons.winners_C, comparisons.losers_C, comparisons.weights_C, sources, strict=True)
    items = comparisons.all_items()
    return [Comparison(items[w], items[v], weight, source) for w, v, weight, source in rows]
