"""The length-controlled rate: against another solver, a known truth, and published figures that a plain fit misses."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize

from jpo_dist.winrate.length_control import PHI_PENALTY, THETA_PENALTY, controlled_rate
from tests.support.shared import shared


def drawn(seed: int, theta: float, phi: float, shift: float, count: int = 800) -> tuple[np.ndarray, ...]:
    rng = np.random.Generator(np.random.PCG64(seed))
    gaps = np.rint(rng.normal(shift, 300, count)).astype(int)
    chance = 1 / (1 + np.exp(-(theta + phi * np.tanh(gaps / gaps.std()))))
    return (rng.random(count) < chance).astype(float), gaps, np.arange(count) // 2


def test_the_fit_is_the_one_of_a_general_solver() -> None:
    wins, gaps, instructions = drawn(0, 0.4, 1.5, -100)
    wins[::9] = 0.5
    x = np.tanh(gaps / gaps.std())

    def loss(at: np.ndarray) -> float:
        z = at[0] + at[1] * x
        likelihood = (wins * z - np.logaddexp(0, z)).sum()
        return float(-likelihood + THETA_PENALTY / 2 * at[0] ** 2 + PHI_PENALTY / 2 * at[1] ** 2)

    theta, phi = minimize(loss, [0.0, 0.0], tol=1e-12).x
    found = controlled_rate(wins, gaps, instructions)
    assert found["win_rate"] == pytest.approx(1 / (1 + np.exp(-theta)), abs=1e-6)
    assert found["phi"] == pytest.approx(phi, abs=1e-5)


@pytest.mark.slow
def test_a_known_rate_at_equal_length_is_in_the_interval_where_the_raw_rate_is_not() -> None:
    """A judge that loves length, and a model that is 150 characters short: 60 % at equal length."""
    truth, inside, raw_inside = 0.6, 0, 0
    for seed in range(20):
        wins, gaps, instructions = drawn(seed, float(np.log(truth / (1 - truth))), 2.0, -150)
        found = controlled_rate(wins, gaps, instructions)
        low, high = found["interval"]
        inside += low <= truth <= high
        raw_inside += abs(wins.mean() - truth) < 0.04
    assert inside >= 17
    assert raw_inside <= 2


def test_a_swap_mirrors_it() -> None:
    wins, gaps, instructions = drawn(3, 0.2, 1.0, 50)
    one, other = controlled_rate(wins, gaps, instructions), controlled_rate(1 - wins, -gaps, instructions)
    assert one["win_rate"] == pytest.approx(1 - other["win_rate"], abs=2e-10)
    assert one["interval"] == pytest.approx([1 - end for end in reversed(other["interval"])], abs=2e-10)
    assert one["phi"] == pytest.approx(other["phi"], abs=1e-8)


def test_a_side_that_always_wins_gets_a_finite_figure() -> None:
    _, gaps, instructions = drawn(4, 0, 0, 0)
    found = controlled_rate(np.ones(len(gaps)), gaps, instructions)
    assert 0.99 < found["win_rate"] < 1
    assert found["refused"] is None


@pytest.mark.parametrize("model", ["alpaca-7b", "claude-2.1"])
def test_models_of_the_leaderboard_whose_lengths_hardly_overlap_are_refused(model: str) -> None:
    """The plain fit gives 19.8 and 32.4 where the published figures are 5.9 and 25.3."""
    published = json.loads(shared(f"alpaca_eval/{model}.json").read_text())
    preference, other_length, length = np.array(published["verdicts"]).T
    found = controlled_rate(preference - 1, length - other_length, np.arange(len(length)))
    assert found["win_rate"] is None
    assert "lengths hardly overlap" in found["refused"]
    assert 0 < found["longer"] < 0.2


def test_too_few_and_a_constant_difference_are_refused() -> None:
    assert "29 instructions" in controlled_rate(np.ones(29), np.arange(29), np.arange(29))["refused"]
    assert "same number" in controlled_rate(np.ones(40), np.full(40, 3), np.arange(40))["refused"]
    assert controlled_rate(np.array([]), np.array([]), np.array([], dtype=int))["refused"]
