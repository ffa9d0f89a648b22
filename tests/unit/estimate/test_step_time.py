"""Traffic, work and time of a step, against numbers worked out by hand."""

import pytest

from jpo_dist.estimate.advice import ranks_fed
from jpo_dist.estimate.hardware import Device, Link
from jpo_dist.estimate.step_time import break_even, step_time, traffic, work
from tests.support.estimates import LAYER, TABLE, P, config, load, shape_of


def test_traffic_by_stage() -> None:
    tight = {"max_reuse_distance": 1, "prefetch_bucket_size": 0}
    expected = {
        0: (0, 0, 0, P, 0),
        1: (0, 0, 0, P, P),
        2: (0, 0, 0, 3 * P, P),
        3: (3 * (2 * P - TABLE), 2 * P, 3 * P, 0, 0),
    }
    for stage, elements_of in expected.items():
        settings = config(engine={"zero_stage": stage, **tight})
        assert traffic(shape_of(settings), settings, 4, micro_steps=3, passes=2) == elements_of
    settings = config(engine=tight, reference={"mode": "cached"})
    found = traffic(shape_of(settings), settings, 4, 1, 1)
    assert found.reference_gathers == 0
    assert found.bytes(2, 4) == (3 * P - TABLE) * 2 * 3 / 4
    reduced = traffic(shape_of(settings), config(engine={"zero_stage": 0}), 4, 1, 1)
    assert reduced.bytes(2, 4) == 2 * P * 2 * 3 / 4, "an all-reduce sends everything twice"
    assert not any(traffic(shape_of(settings), settings, 1, 5, 5))


def test_work_in_flops() -> None:
    """100 tokens, 60 scored, squares 1000; body 2 B, attention 2 L D, head 2 V D."""
    one = load([[100, 50]], squares=1000, rows=60)
    body, attention, head = 2 * (2 * LAYER + 32) * 100, 2 * 2 * 32 * 1000, 2 * TABLE * 60
    for sections, units in [
        ({}, (3, 3, 4)),
        ({"model": {"gradient_checkpointing": True}}, (4, 4, 4)),
        ({"model": {"lora": {"rank": 4}}}, (2, 3, 2)),
    ]:
        settings = config(**sections)
        shape = shape_of(settings)
        with_adapters = 2 * shape.adapters * 100 * units[0]
        found = work(shape, settings, one)
        by_hand = body * units[0] + attention * units[1] + head * units[2] + with_adapters
        assert found.policy_MW[0, 0] == by_hand
        assert found.reference_FW.shape == (1, 2)
    assert work(shape, config(reference={"mode": "cached"}), one).reference_FW.size == 0


def test_break_even_does_not_depend_on_the_model() -> None:
    """400 TFLOP/s: 10,000 tokens at 40 GB/s, and 1,333 at 300 GB/s; with checkpointing 0.8 of it."""
    device = Device("d", 1e15, 1e15, 1, 1)
    for sections, share in [
        ({}, 1.0),
        ({"reference": {"mode": "cached"}}, 1.0),
        ({"model": {"lora": {"rank": 4}}, "reference": {"mode": "adapter_off"}}, 1.0),
        ({"model": {"gradient_checkpointing": True}}, 0.8),
    ]:
        settings = config(**sections)
        for rate, tokens in ((40e9, 10_000), (300e9, 1_333.3)):
            found = break_even(shape_of(settings), settings, device, Link("l", rate, ""))
            assert found == pytest.approx(share * tokens, rel=1e-3)
    assert (ranks_fed(5_100, 1_333), ranks_fed(24_500, 1_333), ranks_fed(5_100, 10_000)) == (3, 18, 1)


def test_time_is_the_slowest_resource_and_the_slowest_rank() -> None:
    settings = config(engine={"zero_stage": 0}, reference={"mode": "cached"})
    shape = shape_of(settings)
    speed = Device("d", 2.5e6 * 100, 1, 1, 1e30)
    slow, fast = Link("slow", 2 * P * 2 / 2, ""), Link("fast", 1e30, "")
    uneven = load([[100, 50]])
    compute = 3 * 2 * (2 * LAYER + 32) * 100 / 1e8
    found = step_time(shape, settings, [uneven], speed, slow, 0)
    assert found.seconds == pytest.approx(max(compute, 1.0))
    assert found.bound == ("network" if compute < 1 else "compute")
    quick = step_time(shape, settings, [uneven], speed, fast, 0)
    assert quick.seconds == pytest.approx(compute)
    assert quick.efficiency == pytest.approx(0.75), "the other rank has half the tokens"
    alternating = step_time(shape, settings, [uneven], speed._replace(overlaps=False), slow, 0)
    assert alternating.seconds == pytest.approx(compute + 1.0)
