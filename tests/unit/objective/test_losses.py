"""Losses against hand-derived values, derivatives against their formulas, and what holds for any margin."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.objective.comparison_losses import LOSSES, comparison_losses, mean_rewards
from jpo_dist.objective.criterion import Portion, criterion_of
from jpo_dist.objective.losses import margins, sft_losses, total_margin
from jpo_dist.objective.scores import Scores, Share

KINDS = ["sigmoid", "ipo", "hinge", "robust", "davidson", "rao_kupper", "sigmoid_norm", "simpo"]
finite = st.floats(-50, 50)
betas = st.floats(0.01, 1.0)


def loss(z: float, beta: float = 0.1, kind: str = "sigmoid", smoothing: float = 0.0) -> float:
    return comparison_losses(torch.tensor([z], dtype=torch.float64), beta, kind, smoothing).item()  # type: ignore[arg-type]


def slope(z: float, beta: float, kind: str = "sigmoid", smoothing: float = 0.0) -> float:
    at = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    comparison_losses(at, beta, kind, smoothing).sum().backward()  # type: ignore[arg-type]
    assert at.grad is not None
    return at.grad.item()


@pytest.mark.parametrize(
    ("kind", "z", "beta", "smoothing", "expected"),
    [
        ("sigmoid", 0.0, 0.1, 0.0, math.log(2)),
        ("sigmoid", 10.0, 0.1, 0.0, math.log(1 + math.exp(-1))),
        ("sigmoid", -10.0, 0.1, 0.0, 1 + math.log(1 + math.exp(-1))),
        # (1 - s) x + s (x + beta z) with x = log(1 + e^-1), beta z = 1: smoothing adds s * beta z
        ("sigmoid", 10.0, 0.1, 0.2, 0.2 + math.log(1 + math.exp(-1))),
        ("sigmoid", 0.0, 0.7, 0.4, math.log(2)),
        ("ipo", 0.0, 0.1, 0.0, 25.0),  # target 1 / (2 beta) = 5
        ("ipo", 5.0, 0.1, 0.0, 0.0),
        ("ipo", 7.0, 0.1, 0.0, 4.0),
        ("hinge", 0.0, 0.1, 0.0, 1.0),
        ("hinge", 4.0, 0.1, 0.0, 0.6),
        ("hinge", 10.0, 0.1, 0.0, 0.0),
        ("hinge", 12.0, 0.1, 0.0, 0.0),
        ("hinge", -10.0, 0.1, 0.0, 2.0),
    ],
)
def test_losses_equal_values_worked_out_by_hand(
    kind: str, z: float, beta: float, smoothing: float, expected: float
) -> None:
    assert loss(z, beta, kind, smoothing) == pytest.approx(expected, rel=1e-14, abs=1e-14)


@settings(deadline=None)
@given(finite, betas, st.floats(0, 0.49))
def test_sigmoid_slope_is_minus_beta_times_what_is_left_to_learn(z: float, beta: float, s: float) -> None:
    """dL/dz = -beta (sigmoid(-beta z) - s): zero where the model is as sure as the labels are."""
    expected = -beta * (1 / (1 + math.exp(beta * z)) - s)
    assert slope(z, beta, "sigmoid", s) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(finite, betas)
def test_ipo_and_hinge_slopes(z: float, beta: float) -> None:
    assert slope(z, beta, "ipo") == pytest.approx(2 * (z - 1 / (2 * beta)), rel=1e-9, abs=1e-9)
    assert slope(z, beta, "hinge") == (-beta if beta * z < 1 else 0.0)


def test_slope_at_equal_models_is_half_of_beta() -> None:
    """Loss ln 2 is not a resting point: the first step must move."""
    assert slope(0.0, 0.1) == pytest.approx(-0.05, abs=1e-15)


@settings(deadline=None)
@given(finite, betas)
def test_exchanging_winner_and_loser_costs_beta_z(z: float, beta: float) -> None:
    assert loss(-z, beta) - loss(z, beta) == pytest.approx(beta * z, rel=1e-12, abs=1e-12)


@settings(deadline=None)
@given(finite, finite, betas, st.floats(0, 0.49))
def test_sigmoid_loss_is_convex_in_the_margin(a: float, b: float, beta: float, s: float) -> None:
    middle, ends = (
        loss((a + b) / 2, beta, "sigmoid", s),
        (loss(a, beta, "sigmoid", s) + loss(b, beta, "sigmoid", s)) / 2,
    )
    assert middle <= ends + 1e-12


@settings(deadline=None)
@given(finite, betas)
def test_a_larger_margin_never_costs_more(z: float, beta: float) -> None:
    assert loss(z + 1, beta) < loss(z, beta)
    assert loss(z + 1, beta, "hinge") <= loss(z, beta, "hinge")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("z", [-1e6, 1e6])
def test_extreme_margins_stay_finite(kind: str, z: float) -> None:
    assert math.isfinite(loss(z, 0.1, kind))
    assert math.isfinite(slope(z, 0.1, kind))


def test_every_loss_has_its_name() -> None:
    assert sorted(LOSSES) == sorted(KINDS)
    with pytest.raises(ValueError, match=r"kind \(hinges\) is no loss; use one of sigmoid, ipo"):
        loss(0.0, kind="hinges")


@pytest.mark.parametrize(
    ("z", "smoothing", "expected"),
    [
        # log(1 + e^-1) = x at beta z = 1; L(-z) = x + 1: ((1 - e) x - e (x + 1)) / (1 - 2 e) = x - e / (1 - 2 e)
        (10.0, 0.2, math.log(1 + math.exp(-1)) - 0.2 / 0.6),
        (-10.0, 0.2, 1 + math.log(1 + math.exp(-1)) + 0.2 / 0.6),
        (0.0, 0.4, math.log(2)),
        (10.0, 0.0, math.log(1 + math.exp(-1))),
    ],
)
def test_robust_losses_equal_values_worked_out_by_hand(z: float, smoothing: float, expected: float) -> None:
    assert loss(z, 0.1, "robust", smoothing) == pytest.approx(expected, rel=1e-14)


@settings(deadline=None)
@given(finite, betas, st.floats(0, 0.45))
def test_the_mean_of_the_robust_loss_over_flips_is_the_loss_without_flips(z: float, beta: float, e: float) -> None:
    """What it is for: labels that are flipped with probability e cost, on average, what the true ones do."""
    noisy = (1 - e) * loss(z, beta, "robust", e) + e * loss(-z, beta, "robust", e)
    assert noisy == pytest.approx(loss(z, beta), rel=1e-9, abs=1e-9)


def tied(z: float, beta: float, kind: str, p: float, tie: bool) -> float:
    at = torch.tensor([z], dtype=torch.float64)
    return comparison_losses(at, beta, kind, tie_probability=p, is_tie_C=torch.tensor([tie])).item()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "z", "p", "tie", "probability"),
    [
        # e^d = 4 at z = log(4) / beta. Davidson, nu = 1: 4 / (4 + 1 + 2 * 2), tie 2 * 2 / 9
        ("davidson", math.log(4) / 0.1, 0.5, False, 4 / 9),
        ("davidson", math.log(4) / 0.1, 0.5, True, 4 / 9),
        ("davidson", -math.log(4) / 0.1, 0.5, False, 1 / 9),
        ("davidson", 0.0, 0.25, True, 0.25),
        ("davidson", 0.0, 0.25, False, 0.375),
        # Davidson, nu = 1/3 (p = 1/4): strengths 9 and 1, geometric mean 3: 9 / (9 + 1 + 2/3 * 3), tie 2 / 12
        ("davidson", math.log(9) / 0.1, 0.25, False, 9 / 12),
        ("davidson", math.log(9) / 0.1, 0.25, True, 2 / 12),
        # Rao-Kupper, nu = 3: 4 / (4 + 3 * 1), loses 1 / (1 + 3 * 4), tie (9 - 1) * 4 / (7 * 13)
        ("rao_kupper", math.log(4) / 0.1, 0.5, False, 4 / 7),
        ("rao_kupper", -math.log(4) / 0.1, 0.5, False, 1 / 13),
        ("rao_kupper", math.log(4) / 0.1, 0.5, True, 32 / 91),
        ("rao_kupper", 0.0, 0.25, True, 0.25),
        ("rao_kupper", 0.0, 0.25, False, 0.375),
    ],
)
def test_losses_with_ties_equal_probabilities_worked_out_by_hand(
    kind: str, z: float, p: float, tie: bool, probability: float
) -> None:
    assert tied(z, 0.1, kind, p, tie) == pytest.approx(-math.log(probability), rel=1e-13)


@settings(deadline=None)
@given(st.sampled_from(["davidson", "rao_kupper"]), finite, betas, st.floats(0.01, 0.99))
def test_win_loss_and_tie_are_all_that_can_happen(kind: str, z: float, beta: float, p: float) -> None:
    costs = [tied(z, beta, kind, p, False), tied(-z, beta, kind, p, False), tied(z, beta, kind, p, True)]
    assert sum(math.exp(-cost) for cost in costs) == pytest.approx(1.0, rel=1e-12)
    assert tied(-z, beta, kind, p, True) == pytest.approx(costs[2], rel=1e-12), "a tie has no first item"


@pytest.mark.parametrize("kind", ["davidson", "rao_kupper"])
def test_a_tie_pulls_the_margin_to_zero_and_stays_finite_far_from_it(kind: str) -> None:
    z = torch.tensor([-1e6, -7.0, 0.0, 7.0, 1e6], dtype=torch.float64, requires_grad=True)
    costs = comparison_losses(z, 0.1, kind, is_tie_C=torch.ones(5, dtype=torch.bool))  # type: ignore[arg-type]
    costs.sum().backward()
    assert z.grad is not None
    assert bool(torch.isfinite(costs).all() and torch.isfinite(z.grad).all())
    assert np.sign(z.grad.numpy()).tolist() == [-1, -1, 0, 1, 1]


def test_few_ties_make_the_losses_with_ties_those_of_wins_alone() -> None:
    for kind in ("davidson", "rao_kupper"):
        assert tied(7.0, 0.1, kind, 1e-12, False) == pytest.approx(loss(7.0, 0.1), rel=1e-9)


def test_simpo_costs_ln_2_where_the_mean_margin_reaches_gamma() -> None:
    z = torch.tensor([0.25, 0.0], dtype=torch.float64)
    found = comparison_losses(z, 2.0, "simpo", gamma=0.5).tolist()
    assert found == pytest.approx([math.log(2), math.log(1 + math.exp(0.5))], rel=1e-14)


def test_mean_rewards_are_nats_a_token_of_what_lambda_counts() -> None:
    sums, tokens = torch.tensor([[-6.0, -8.0]], dtype=torch.float64), torch.tensor([[3, 2]])
    found = [mean_rewards(sums, tokens, weight).item() for weight in (0.0, 1.0, 0.5)]
    assert found == [-4.0, -14 / 5, -11 / 3.5]


def test_margins_are_rewards_of_winner_minus_loser_by_part() -> None:
    policy = torch.tensor([[-10.0, -20.0], [-11.0, -25.0], [-7.0, -1.0]])
    reference = torch.tensor([[-12.0, -19.0], [-11.5, -20.0], [-7.0, -3.0]])
    # rewards (2, -1), (0.5, -5), (0, 2)
    found = margins(policy, reference, torch.tensor([0, 2, 0]), torch.tensor([1, 0, 0]))
    assert found.tolist() == [[1.5, 4.0], [-2.0, 3.0], [0.0, 0.0]]
    assert total_margin(found, 1.0).tolist() == [5.5, 1.0, 0.0]
    assert total_margin(found, 0.0).tolist() == [4.0, 3.0, 0.0]
    assert total_margin(found, 0.5).tolist() == [4.75, 2.0, 0.0]


def test_scores_of_unlike_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"policy \(3, 2\) and reference \(2, 2\)"):
        margins(torch.zeros(3, 2), torch.zeros(2, 2), torch.tensor([0]), torch.tensor([1]))


@settings(deadline=None)
@given(st.lists(st.tuples(finite, finite, finite, finite), min_size=2, max_size=6), st.floats(0, 2))
def test_margin_is_antisymmetric_and_additive(rows: list[tuple[float, ...]], weight: float) -> None:
    """z(a,b) = -z(b,a) and z(a,c) = z(a,b) + z(b,c): scores belong to items, so items are scored once."""
    policy, reference = (torch.tensor(np.array(rows)[:, part]) for part in (slice(0, 2), slice(2, 4)))
    last = len(rows) - 1
    winners, losers = torch.tensor([0, last, 0, 1, 1]), torch.tensor([last, 0, 1, 0, last])
    ab, ba, first, back, rest = total_margin(margins(policy, reference, winners, losers), weight).tolist()
    assert ab == pytest.approx(-ba, abs=1e-9)
    assert ab == pytest.approx(first + rest, abs=1e-9)
    assert first == pytest.approx(-back, abs=1e-9)


@settings(deadline=None)
@given(st.floats(0, 2), st.floats(-5, 5))
def test_equal_shifts_of_both_instructions_change_nothing(weight: float, shift: float) -> None:
    policy = torch.tensor([[-10.0, -20.0], [-10.0, -25.0]], dtype=torch.float64)
    moved = policy + torch.tensor([shift, 0.0], dtype=torch.float64)
    edge = torch.tensor([0]), torch.tensor([1])
    before, after = (total_margin(margins(p, torch.zeros_like(p), *edge), weight).item() for p in (policy, moved))
    assert before == pytest.approx(after, abs=1e-12)


def test_sft_loss_is_nats_a_response_token_of_the_winner() -> None:
    policy = torch.tensor([[-100.0, -12.0], [-3.0, -8.0]], requires_grad=True)
    found = sft_losses(policy, torch.tensor([4, 2]), torch.tensor([1, 0, 1]))
    assert found.tolist() == [4.0, 3.0, 4.0]
    found.sum().backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == [[0.0, -0.25], [0.0, -1.0]]


@pytest.mark.parametrize("is_tie", [True, False])
def test_of_a_tie_neither_response_is_imitated(is_tie: bool) -> None:
    """A tie has no winner: which of the two its row calls so is an accident of the data's order."""
    objective = ObjectiveConfig(loss="davidson", ties="use", sft_weight=1.0)
    policy_N2 = torch.tensor([[-5.0, -40.0], [-5.0, -40.0]], dtype=torch.float64, requires_grad=True)
    first, second, tie_C = torch.tensor([0]), torch.tensor([1]), torch.tensor([is_tie])
    counted = SimpleNamespace(comparisons=SimpleNamespace(weights_C=np.ones(1)))
    measure, _ = criterion_of(objective).begin(Portion(None, None, counted, np.array([0]), None))  # type: ignore[arg-type]
    zeros_C2 = margins(policy_N2, policy_N2.detach(), first, second)
    found = Scores(policy_N2, policy_N2.detach(), first, second, zeros_C2, None, tie_C)
    share = Share(None, first, second, torch.ones(1), torch.tensor([10, 10]), None, tie_C)  # type: ignore[arg-type]
    losses_C, _ = measure(found, share, None)  # type: ignore[arg-type]
    losses_C.sum().backward()
    assert policy_N2.grad is not None
    responses_N = policy_N2.grad[:, 1]
    if is_tie:
        assert responses_N[0] == -responses_N[1]
    else:
        assert float(responses_N.sum()) == pytest.approx(-1 / 10)  # of the winner's ten tokens
