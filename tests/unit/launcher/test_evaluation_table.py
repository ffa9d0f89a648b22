"""What people see of an evaluation whose loss is also over ties."""

from pathlib import Path
from statistics import NormalDist
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.evaluate.evaluation import with_intervals
from jpo_dist.objective.losses import margins
from jpo_dist.objective.metrics import comparison_columns
from jpo_dist.objective.scores import Scores
from launcher.show.evaluation import evaluation_table


def test_ties_are_told_and_have_no_accuracy(tmp_path: Path) -> None:
    """Of two conditional comparisons one is a tie; the joint one is nothing else. The tie must not count as a loss."""
    policy = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    edges = torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1])
    scores = Scores(policy, torch.zeros_like(policy), *edges, margins(policy, torch.zeros_like(policy), *edges))
    scores = scores._replace(is_tie_C=torch.tensor([False, True, True]))
    rows = comparison_columns(scores, torch.tensor([1.0, 3.0, 5.0]), ObjectiveConfig(loss="davidson", ties="use"))
    held_out: Any = SimpleNamespace(comparisons=SimpleNamespace(is_joint_C=np.array([False, False, True])))
    found = with_intervals(rows.numpy(), held_out)
    rate, low, high = found["conditional"]["rewards/accuracies"]
    assert (rate, high) == (1.0, 1.0)
    assert low == pytest.approx(1 / (1 + NormalDist().inv_cdf(0.975) ** 2))  # Wilson's interval of 1 of 1
    assert (found["conditional"]["loss"][0], found["conditional"]["comparisons"], found["conditional"]["ties"]) == (
        2,
        2,
        1,
    )
    assert "rewards/accuracies" not in found["joint"]
    console = Console(width=200, record=True, file=(tmp_path / "log").open("w"))
    console.print(evaluation_table({"policy": "p", "comparisons": found}))
    said = console.export_text()
    assert "conditional (2, of these 1 ties)" in said
    assert "all ties" in said
