"""The order of comparisons comes from seed and epoch alone, and groups come whole."""

from itertools import combinations

import numpy as np

from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from tests.support.plans import graph, plan_of


def test_seed_and_epoch_change_the_order_and_nothing_else_does() -> None:
    edges = [(2 * i, 2 * i + 1) for i in range(40)]
    lengths = dict.fromkeys(range(80), 5)
    order = lambda seed, epochs=2: [  # noqa: E731
        s.comparisons_C.tolist()
        for s in plan_of(edges, lengths, 1, seed=seed, epochs=epochs, comparisons_per_step=40).steps()
    ]
    assert order(0) == order(0)
    assert order(0, 3)[:2] == order(0, 2)
    assert order(0)[0] != order(1)[0]
    assert order(0)[0] != order(0)[1]


def test_unshuffled_order_is_that_of_the_data() -> None:
    made, _ = graph([(2 * i, 2 * i + 1) for i in range(10)])
    train = TrainConfig(comparisons_per_step=4, shuffle=False)
    plan = make_plan(Prepared.of_lengths(made, np.full(20, 5)), train, 1)
    found = [s.comparisons_C.tolist() for s in plan.steps()]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_groups_come_whole_in_random_order_and_score_their_items_once() -> None:
    """Rankings of 4 responses, all 6 pairs of each: 4 items are scored where one by one it would be 12."""
    edges = [(4 * g + a, 4 * g + b) for g in range(40) for a, b in combinations(range(4), 2)]
    random = np.random.default_rng(0)
    edges = [edges[i] for i in random.permutation(len(edges))]
    lengths = dict.fromkeys(range(160), 10)
    plan = plan_of(edges, lengths, 2, comparisons_per_step=24, tokens_per_micro_step=1000, epochs=2, sample_by="group")
    orders = []
    for epoch in range(2):
        steps = [plan.step(epoch * plan.steps_per_epoch + k) for k in range(plan.steps_per_epoch)]
        seen = [int(c) for step in steps for c in step.comparisons_C]
        assert sorted(seen) == list(range(len(edges)))
        for step in steps:
            assert len({edges[c][0] // 4 for c in step.comparisons_C}) == 4
            assert sum(len(m.items_N) for m in step.micro_steps) == 16
        orders.append([edges[c][0] // 4 for c in seen[::6]])
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])
    apart = plan_of(edges, lengths, 2, comparisons_per_step=24, tokens_per_micro_step=1000)
    assert np.mean([sum(len(m.items_N) for m in step.micro_steps) for step in apart.steps()]) > 32
