"""Metrics against numbers worked out by hand, the interval against normal theory."""

import math

import numpy as np
import pytest
import torch

from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.objective.losses import margins
from jpo_dist.objective.metrics import Meter, by_protocol, column, comparison_columns, counted, means
from jpo_dist.objective.scores import Scores
from jpo_dist.statistics.intervals import bootstrap_interval

# items:            rewards (instruction, response)
#   0  (2, 3)       1  (1, -1)       2  (2, 3): as good as 0
POLICY = torch.tensor([[-10.0, -20.0], [-15.0, -30.0], [-8.0, -7.0]], dtype=torch.float64)
REFERENCE = torch.tensor([[-12.0, -23.0], [-16.0, -29.0], [-10.0, -10.0]], dtype=torch.float64)
WINNERS, LOSERS = torch.tensor([0, 1, 0]), torch.tensor([1, 0, 2])


def rows(**objective: float) -> np.ndarray:
    scores = Scores(POLICY, REFERENCE, WINNERS, LOSERS, margins(POLICY, REFERENCE, WINNERS, LOSERS))
    losses = torch.tensor([0.5, 1.5, 0.25], dtype=torch.float64)
    return comparison_columns(scores, losses, ObjectiveConfig.model_validate({"beta": 0.1, **objective})).numpy()


def test_columns_equal_hand_computed_values() -> None:
    expected = {
        "loss": [0.5, 1.5, 0.25],
        "rewards/chosen": [0.5, 0.0, 0.5],
        "rewards/rejected": [0.0, 0.5, 0.5],
        "rewards/margins": [0.5, -0.5, 0.0],
        "margin/instruction": [1.0, -1.0, 0.0],
        "margin/response": [4.0, -4.0, 0.0],
        "logps/chosen": [-30.0, -45.0, -30.0],
        "logps/rejected": [-45.0, -30.0, -15.0],
        "logps/chosen_response": [-20.0, -30.0, -20.0],
        "logps/rejected_response": [-30.0, -20.0, -7.0],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(column(rows(), name), values, atol=1e-15, err_msg=name)


def test_a_tie_is_not_a_win() -> None:
    assert column(rows(), "rewards/accuracies").tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0])
def test_rewards_and_margins_carry_the_instruction_weight_and_the_parts_do_not(weight: float) -> None:
    found = rows(instruction_weight=weight)
    np.testing.assert_allclose(column(found, "rewards/chosen")[0], 0.1 * (weight * 2 + 3), atol=1e-15)
    np.testing.assert_allclose(column(found, "rewards/margins")[0], 0.1 * (weight * 1 + 4), atol=1e-15)
    difference = column(found, "rewards/chosen") - column(found, "rewards/rejected")
    np.testing.assert_allclose(column(found, "rewards/margins"), difference, atol=1e-15)
    assert column(found, "margin/instruction").tolist() == [1.0, -1.0, 0.0]


def test_the_instruction_weight_can_turn_a_win_into_a_loss() -> None:
    policy = torch.tensor([[5.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    edge, none = (torch.tensor([0]), torch.tensor([1])), torch.zeros_like(policy)
    scores = Scores(policy, none, *edge, margins(policy, none, *edge))
    wins = [
        comparison_columns(scores, torch.zeros(1), ObjectiveConfig(instruction_weight=weight))[0]
        for weight in (0.0, 1.0)
    ]
    assert [column(row[None].numpy(), "rewards/accuracies")[0] for row in wins] == [0.0, 1.0]


def tied_rows(is_tie: list[bool]) -> np.ndarray:
    scores = Scores(POLICY, REFERENCE, WINNERS, LOSERS, margins(POLICY, REFERENCE, WINNERS, LOSERS))
    scores = scores._replace(is_tie_C=torch.tensor(is_tie))
    objective = ObjectiveConfig(loss="davidson", ties="use")
    return comparison_columns(scores, torch.tensor([0.5, 1.5, 0.25], dtype=torch.float64), objective).numpy()


def test_ties_count_in_the_loss_and_in_nothing_that_knows_a_winner() -> None:
    """beta z is 0.5, -0.5 and, the tie, 0. Davidson, nu = 1: P(tie) = 2 / (e^(d/2) + e^(-d/2) + 2)."""
    found = means(tied_rows([False, False, True]))
    apart = 2 / (math.exp(0.25) + math.exp(-0.25) + 2)
    assert found["loss"] == 0.75
    assert found["rewards/accuracies"] == 0.5
    assert found["rewards/margins"] == pytest.approx(0.0)
    assert found["logps/chosen"] == -37.5
    assert (found["ties/share"], found["ties/predicted"]) == (pytest.approx(1 / 3), 0.5)
    assert found["ties/predicted_decided"] == pytest.approx(apart, rel=1e-12)
    assert counted(tied_rows([True, False, True]), "rewards/accuracies").tolist() == [0.0]
    assert counted(tied_rows([True, False, True]), "loss").tolist() == [0.5, 1.5, 0.25]


def test_ties_alone_have_a_loss_and_no_accuracy() -> None:
    assert sorted(means(tied_rows([True] * 3))) == ["loss", "ties/predicted", "ties/share"]
    assert "ties/share" not in means(rows())


def test_means_over_tokens_make_rewards_and_margins_where_the_loss_has_them() -> None:
    """Rewards are (2, 3), (1, -1) and (2, 3): with lambda = 1 5 nats over 4 + 6 tokens, 0 over 5, 5 over 8."""
    scores = Scores(POLICY, REFERENCE, WINNERS, LOSERS, margins(POLICY, REFERENCE, WINNERS, LOSERS))
    scores = scores._replace(scored_N2=torch.tensor([[4, 6], [2, 3], [2, 6]]))
    found = comparison_columns(scores, torch.zeros(3), ObjectiveConfig(loss="sigmoid_norm", beta=2.0)).numpy()
    np.testing.assert_allclose(column(found, "rewards/chosen"), [1.0, 0.0, 1.0], atol=1e-15)
    np.testing.assert_allclose(column(found, "rewards/margins"), [1.0, -1.0, -0.25], atol=1e-15)
    assert column(found, "rewards/accuracies").tolist() == [1.0, 0.0, 0.0]
    assert column(found, "margin/response").tolist() == [4.0, -4.0, 0.0]


def test_columns_carry_no_gradient() -> None:
    policy = POLICY.clone().requires_grad_()
    scores = Scores(policy, REFERENCE, WINNERS, LOSERS, margins(policy, REFERENCE, WINNERS, LOSERS))
    assert not comparison_columns(scores, policy.sum(1), ObjectiveConfig()).requires_grad


def test_table_does_not_depend_on_micro_steps_or_their_order() -> None:
    found, together, apart = torch.from_numpy(rows()), Meter(), Meter()
    together.add(found, np.array([4, 1, 7]))
    for i in (2, 0, 1):
        apart.add(found[i : i + 1], np.array([[4, 1, 7][i]]))
    comparisons, table = together.table()
    assert comparisons.tolist() == [1, 4, 7]
    assert column(table, "loss").tolist() == [1.5, 0.5, 0.25]
    assert (apart.table()[1] == table).all()


def test_means_and_counts_by_protocol() -> None:
    found = by_protocol(rows(), np.array([True, False, True]), "eval/")
    assert found["eval/comparisons"] == 3.0
    assert found["eval/loss"] == pytest.approx(0.75)
    assert found["eval/conditional/loss"] == 1.5
    assert found["eval/joint/loss"] == 0.375
    assert found["eval/joint/rewards/accuracies"] == 0.5
    assert found["eval/conditional/rewards/margins"] == -0.5


def test_a_protocol_without_comparisons_has_no_means() -> None:
    found = by_protocol(rows(), np.zeros(3, dtype=bool), "eval/")
    assert not [name for name in found if "joint" in name]
    assert found["eval/conditional/loss"] == found["eval/loss"]
    assert means(rows()[:0]) == {}


# ---- intervals


def test_interval_agrees_with_normal_theory() -> None:
    """mean +- 1.96 s / sqrt(n), to a tenth of its width, for many values of a skewed kind."""
    values = np.random.default_rng(0).exponential(2.0, 2000)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_covers_the_truth_about_19_times_of_20() -> None:
    rng = np.random.default_rng(1)
    covers = 0
    for seed in range(200):
        low, high = bootstrap_interval(rng.random(60) < 0.7, seed=seed, draws=300)
        covers += low <= 0.7 <= high
    assert 0.88 <= covers / 200 <= 0.99


def test_interval_shrinks_with_the_root_of_the_count() -> None:
    rng = np.random.default_rng(2)
    (low, high), (lower, higher) = (bootstrap_interval(rng.standard_normal(n)) for n in (400, 1600))
    assert (high - low) / (higher - lower) == pytest.approx(2.0, rel=0.15)


def test_interval_is_repeatable_and_follows_its_seed() -> None:
    values = np.random.default_rng(3).random(50)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_interval_of_equal_values_is_a_point_and_of_none_is_nan() -> None:
    assert bootstrap_interval(np.full(9, 0.25)) == (0.25, 0.25)
    assert all(math.isnan(end) for end in bootstrap_interval(np.array([])))
