"""Metrics of single items: sums over the examples for SFT, means over them for KTO."""

import math

import numpy as np
import pytest
import torch

from jpo_dist.objective.item_metrics import kto_columns, kto_means, sft_columns, sft_means

POLICY = torch.tensor([[-6.0, -2.0], [-1.0, -9.0]], dtype=torch.float64)
TOKENS = torch.tensor([[3.0, 2.0], [1.0, 4.0]], dtype=torch.float64)


def sft(instruction_weight: float, weights: list[float]) -> dict[str, float]:
    losses = -(POLICY[:, 1] + instruction_weight * POLICY[:, 0])
    rows = sft_columns(losses, POLICY, TOKENS, torch.tensor(weights, dtype=torch.float64), instruction_weight)
    return sft_means(rows.numpy(), "eval/")


def test_sft_is_a_mean_over_tokens_not_over_examples() -> None:
    assert sft(0.0, [1.0, 1.0]) == {
        "eval/loss": pytest.approx(11 / 6),
        "eval/perplexity": pytest.approx(math.exp(11 / 6)),
        "eval/tokens": 6.0,
        "eval/logps/response": -5.5,
    }


def test_weights_and_instructions_count_in_the_loss_and_not_in_perplexity() -> None:
    found = sft(0.5, [2.0, 1.0])
    assert found["eval/loss"] == pytest.approx((2 * 5 + 9.5) / (2 * 3.5 + 4.5))
    assert found["eval/perplexity"] == pytest.approx(math.exp(11 / 6))
    assert (found["eval/tokens"], found["eval/logps/instruction"]) == (8.0, -3.5)


def kto(labels: list[bool]) -> dict[str, float]:
    ratios = torch.tensor([[1.0, 2.0], [0.0, 2.0], [0.0, -1.0]], dtype=torch.float64)
    policy = torch.tensor([[-1.0, -2.0], [-1.0, -4.0], [-1.0, -6.0]], dtype=torch.float64)
    r, z0 = ratios.sum(1), torch.tensor(2.5, dtype=torch.float64)
    losses = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    return kto_means(kto_columns(losses, torch.tensor(labels), r, z0, 0.1, ratios, policy).numpy())


def test_kto_tells_labels_apart() -> None:
    assert kto([True, True, False]) == {
        "loss": 0.5,
        "kl": 2.5,
        "rewards/accuracies": pytest.approx(2 / 3),
        "log_ratio/instruction": pytest.approx(1 / 3),
        "log_ratio/response": 1.0,
        "rewards/chosen": pytest.approx(0.25),
        "rewards/rejected": pytest.approx(-0.1),
        "rewards/margins": pytest.approx(0.35),
        "logps/chosen_response": -3.0,
        "logps/rejected_response": -6.0,
    }


def test_a_step_of_one_label_has_no_margin() -> None:
    found = kto([True, True, True])
    assert not {"rewards/rejected", "rewards/margins", "logps/rejected_response"} & found.keys()
    assert all(math.isfinite(value) for value in found.values())


def test_nothing_is_told_of_nothing() -> None:
    assert sft_means(np.zeros((0, 6))) == kto_means(np.zeros((0, 8))) == {}
