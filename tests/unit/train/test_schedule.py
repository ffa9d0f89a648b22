"""The learning rate is a function of the step alone; evaluations and commits fall due at the end, whatever `every`."""

import pytest

from jpo_dist.config.sections import OptimConfig
from jpo_dist.train.schedule import is_due, learning_rate


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
    ],
)
def test_rates_rise_over_the_warm_up_and_fall_to_zero_after_the_last_step(schedule: str, rates: list[float]) -> None:
    optim = OptimConfig(lr=1.0, warmup_steps=2, schedule=schedule)
    assert [learning_rate(optim, step, 6) for step in range(6)] == pytest.approx(rates)


def test_a_run_that_is_all_warm_up_never_divides_by_nothing() -> None:
    optim = OptimConfig(lr=1.0, warmup_steps=3, schedule="linear")
    assert learning_rate(optim, 3, 3) == 1.0


def test_the_last_step_is_always_due() -> None:
    assert [step for step in range(1, 8) if is_due(step, 3, 7)] == [3, 6, 7]
    assert [step for step in range(1, 8) if is_due(step, 0, 7)] == [7]
