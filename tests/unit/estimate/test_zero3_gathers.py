"""What ZeRO-3 gathers, and gathers again, in modules of a few elements."""

import pytest

from jpo_dist.config.engine import EngineConfig
from jpo_dist.estimate.zero3_gathers import Visit, forward_order, gathered, training_order
from tests.support.estimates import LAYER, P, config, shape_of


def elements(*sizes: int) -> list[Visit]:
    return [Visit(((number, size),)) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("reuse", "total"),
    [
        (1, 100 + 70),  # the last module comes again at once
        (60, 100 + 70),  # between the second and its return lie 30 and 30
        (61, 100 + 20),
        (161, 100),  # and 2 x 80 between the first and its own
    ],
)
def test_what_a_backward_gathers_again(reuse: int, total: int) -> None:
    forward = elements(20, 50, 30)
    engine = EngineConfig(param_persistence_threshold=0, max_reuse_distance=reuse, prefetch_bucket_size=0)
    found = gathered(forward + forward[::-1], engine)
    assert found == (total, {170: 50, 120: 80, 100: 100}[total])


def test_persistent_parameters_are_never_gathered_and_untraced_passes_gather_all() -> None:
    engine = EngineConfig(param_persistence_threshold=30)
    forward = elements(20, 50, 30)
    assert gathered(forward + forward[::-1], engine).total == 50
    everything = EngineConfig(param_persistence_threshold=0)
    assert gathered(forward + forward[::-1], everything, known=False).total == 200


def test_order_of_a_pass_and_what_is_recomputed() -> None:
    shape = shape_of(config())
    forward, both = forward_order(shape), training_order(shape, recomputes=False)
    sizes = [sum(size for _, size in visit.wanted) for visit in both if visit.wanted]
    assert sum(sum(size for _, size in visit.wanted) for visit in forward) == P
    assert sizes == sizes[::-1]
    again = training_order(shape, recomputes=True)
    assert [visit.held for visit in again].count(True) == 2 * 3, "layer, mlp, down_proj wait for the rest of the layer"
    assert sum(s for visit in again for _, s in visit.wanted) == 2 * P + 2 * LAYER
