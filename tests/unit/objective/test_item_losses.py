"""Losses of single items against numbers by hand, in float64."""

import math

import pytest
import torch

from jpo_dist.objective.item_losses import by_part, kto_losses, reference_point, sft_item_losses

SCORES = torch.tensor([[-4.0, -2.0], [-1.0, -8.0]], dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_sft_is_what_the_tokens_cost_with_the_instruction_at_its_weight() -> None:
    assert sft_item_losses(SCORES, 0.0).tolist() == [2.0, 8.0]
    assert sft_item_losses(SCORES, 0.5).tolist() == [4.0, 8.5]
    assert by_part(1.0, SCORES).tolist() == [-6.0, -9.0]


def test_kto_is_equation_8() -> None:
    r = torch.tensor([3.0, 3.0, -1.0, -1.0], dtype=torch.float64)
    good = torch.tensor([True, False, True, False])
    found = kto_losses(r, torch.tensor(2.0, dtype=torch.float64), good, 0.5, 1.0, 1.5)
    by_hand = [1 - sigmoid(0.5), 1.5 * (1 - sigmoid(-0.5)), 1 - sigmoid(-1.5), 1.5 * (1 - sigmoid(1.5))]
    torch.testing.assert_close(found, torch.tensor(by_hand, dtype=torch.float64), rtol=0, atol=1e-15)


def test_kto_pulls_up_what_is_desirable_and_down_what_is_not_by_the_slope_of_the_sigmoid() -> None:
    r = torch.tensor([3.0, 3.0], dtype=torch.float64, requires_grad=True)
    z0 = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    kto_losses(r, z0, torch.tensor([True, False]), 0.5, 1.0, 1.5).sum().backward()
    slope = 0.5 * sigmoid(0.5) * sigmoid(-0.5)
    assert r.grad is not None
    assert r.grad.tolist() == pytest.approx([-slope, 1.5 * slope], abs=1e-15)
    assert z0.grad is None


def test_the_reference_point_is_a_mean_that_is_never_negative() -> None:
    r = torch.tensor([1.0, 4.0, -2.0], dtype=torch.float64, requires_grad=True)
    assert reference_point(r).item() == 1.0
    assert not reference_point(r).requires_grad
    assert reference_point(-r).item() == 0.0
