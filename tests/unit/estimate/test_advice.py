"""The advice of a plan says what needs memory."""

import pytest

from jpo_dist.estimate.advice import Situation, advice, tokens_of
from jpo_dist.estimate.hardware import Device, Link
from jpo_dist.estimate.memory import memory
from jpo_dist.estimate.model_shape import (
    Activations,
)
from jpo_dist.estimate.step_time import step_time
from tests.support.estimates import config, load, shape_of


@pytest.mark.parametrize(("scoring", "told"), [(2 * 10**9, False), (8 * 10**9, True)])
def test_plan_says_where_a_pass_without_gradient_needs_more_than_training(scoring: int, told: bool) -> None:
    settings = config()
    shape, device = shape_of(settings), Device("d", 1e15, 1e15, 80 * 10**9, 1)
    link, one = Link("l", 1e9, ""), load([[100, 100]])
    needs = memory(shape, settings, 2, Activations(3 * 10**9, scoring, 0), on_gpu=True)
    now = Situation(2, device, link, needs, tokens_of([one]), step_time(shape, settings, [one], device, link, 0), 1, 4)
    said = " ".join(advice(settings, now, {}))
    assert ("5.0 GB more than training" in said and "reference.tokens_per_pass (65536)" in said) == told
