"""Plans of small graphs whose nodes are items with lengths of the test's choosing, written down or drawn."""

import numpy as np
from hypothesis import strategies as st

from jpo_dist.batches.plan import Plan, make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item


def graph(edges: list[tuple[int, int]], weights: list[float] | None = None) -> tuple[ComparisonSet, list[int]]:
    """A set with an item for each number in `edges`, and the row each number got."""
    weights = weights or [1.0] * len(edges)
    item = lambda n: Item.of(f"instruction {n}", f"response {n}")  # noqa: E731
    made = ComparisonSet.build(Comparison(item(w), item(l), x) for (w, l), x in zip(edges, weights, strict=True))  # noqa: E741
    numbers = [int(item.response.split()[1]) for item in made.all_items()]
    return made, numbers


def plan_of(edges: list[tuple[int, int]], lengths: dict[int, int], ranks: int = 1, **train: object) -> Plan:
    """The plan of a graph whose items have these lengths, on so many ranks, under settings of `train`."""
    made, numbers = graph(edges)
    sizes = np.array([lengths[n] for n in numbers])
    return make_plan(Prepared.of_lengths(made, sizes), TrainConfig.model_validate(train), ranks)


Problem = tuple[list[tuple[int, int]], dict[int, int], dict[str, int]]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Random graphs, some with hubs; budgets from one comparison at a time to everything at once."""
    items = draw(st.integers(2, 14))
    node = st.integers(0, items - 1)
    edges = draw(st.lists(st.tuples(node, node).filter(lambda e: e[0] != e[1]), min_size=1, max_size=24))
    lengths = {n: draw(st.integers(1, 60)) for n in range(items)}
    longest = max(lengths[w] + lengths[loser] for w, loser in edges)
    train = {
        "comparisons_per_step": draw(st.integers(1, 8)),
        "tokens_per_micro_step": longest + draw(st.integers(0, 40) | st.integers(0, 300)),
        "epochs": draw(st.integers(1, 3)),
        "seed": draw(st.integers(0, 3)),
    }
    return edges, lengths, train
