"""Bytes of a rank, part by part, against numbers worked out by hand."""

import pytest

from jpo_dist.estimate.memory import PROCESS, memory
from jpo_dist.estimate.model_shape import (
    Activations,
)
from tests.support.estimates import NOTHING, P, config, shape_of


def test_memory_by_stage_in_bytes_of_each_parameter() -> None:
    """bfloat16: weights 2, gradients 2, moments and a float32 copy 12, reference 2; divided by 4 ranks where split."""
    split = {0: (2, 2, 12, 2), 1: (2, 2, 3, 2), 2: (2, 0.5, 3, 2), 3: (0.5, 0.5, 3, 0.5)}
    for stage, expected in split.items():
        settings = config(engine={"zero_stage": stage})
        found = memory(shape_of(settings), settings, 4, NOTHING, on_gpu=True)
        parts = found.weights, found.gradients, found.optimizer, found.reference
        assert parts == pytest.approx([e * P for e in expected], rel=1e-3), stage
        assert found.peak == found.stays + max(found.gathered, found.scoring, found.update)
    for stage in (2, 3):
        settings = config(engine={"zero_stage": stage, "grad_accum_dtype": "float32"})
        found = memory(shape_of(settings), settings, 4, NOTHING, on_gpu=True)
        assert (found.gradients, found.update) == pytest.approx((P, P), rel=1e-3), "4 bytes, of a quarter each"
    single = config(model={"dtype": "float32"}, engine={"zero_stage": 0}, reference={"mode": "cached"})
    found = memory(shape_of(single), single, 1, NOTHING, on_gpu=False)
    assert (found.weights, found.gradients, found.optimizer, found.reference) == (4 * P, 4 * P, 8 * P, 0)
    assert found.peak == PROCESS["cpu"] + 16 * P


def test_memory_of_what_comes_and_goes_is_the_largest_not_the_sum() -> None:
    settings = config(engine={"zero_stage": 0})
    found = memory(
        shape_of(settings), settings, 1, Activations(training=10**6, scoring=3 * 10**6, filling=9 * 10**9), on_gpu=True
    )
    assert found.peak == found.stays + 3 * 10**6
    cached = config(engine={"zero_stage": 0}, reference={"mode": "cached"})
    found = memory(shape_of(cached), cached, 1, Activations(0, 10**6, 10**9), on_gpu=True)
    assert found.peak == found.filling == PROCESS["gpu"] + 2 * P + 10**9, "filling the cache is before the policy"


def test_offloading_moves_bytes_to_main_memory() -> None:
    settings = config(engine={"offload_optimizer": {"device": "cpu"}, "offload_params": {"device": "cpu"}})
    found = memory(shape_of(settings), settings, 4, NOTHING, on_gpu=True)
    assert (found.weights, found.gradients, found.optimizer, found.reference) == (0, 0, 0, 0)
    assert found.host == pytest.approx((2 + 2 + 12 + 4 + 2) / 4 * P, rel=1e-3), (
        "weights, gradients twice, state, reference"
    )


def test_lora_keeps_state_for_adapters_only() -> None:
    settings = config(model={"lora": {"rank": 4}}, engine={"zero_stage": 0}, reference={"mode": "adapter_off"})
    shape = shape_of(settings)
    found = memory(shape, settings, 1, NOTHING, on_gpu=True)
    assert (found.gradients, found.optimizer, found.reference) == (2 * shape.adapters, 12 * shape.adapters, 0)
    assert found.weights == 2 * (P + shape.adapters)
