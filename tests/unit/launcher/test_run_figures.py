"""Pictures of a run: which there are, drawn of real rows, and the same bytes for the same figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jpo_dist.evaluate.strata import by_length_difference, by_similarity, calibration
from launcher.show.run_figures import LEAST_STEPS, evaluation_figures, training_figures

pytest.importorskip("matplotlib")


def rows(count: int) -> list[dict[str, float]]:
    found = []
    for step in range(count):
        row: dict[str, float] = {"step": step, "rewards/chosen": 0.1 * step, "rewards/rejected": -0.2 * step,
                                 "margin/instruction": step, "margin/response": -step}  # fmt: skip
        row |= {f"perf/rank_tokens_per_second/{rank}": 100.0 + rank for rank in (0, 1, 10)} if step % 3 == 0 else {}
        found.append(row | ({"eval/rewards/chosen": 0.05 * step} if step in (0, count - 1) else {}))
    return found


def test_training_has_pictures_of_what_was_measured_and_a_short_run_has_none(tmp_path: Path) -> None:
    made = training_figures(rows(LEAST_STEPS), tmp_path / "a")
    assert [path.name for path in made] == ["rewards.png", "margin_parts.png", "rank_speed.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)
    assert training_figures(rows(LEAST_STEPS - 1), tmp_path / "b") == []
    assert not (tmp_path / "b").exists()
    of_items = [{"step": float(step), "loss": 1.0} for step in range(20)]
    assert training_figures(of_items, tmp_path / "c") == [], "a run of SFT has no margins"
    again = training_figures(rows(LEAST_STEPS), tmp_path / "d")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in made]


def test_an_evaluation_has_a_picture_for_each_kind_of_stratum_that_it_found(tmp_path: Path) -> None:
    beta_z_C = np.array([2.0, -1.0, 0.5, 0.3])
    report: dict[str, Any] = {
        "similarity": by_similarity(beta_z_C, np.array([0.0, 0.3, 0.7, 1.0])),
        "length": by_length_difference(beta_z_C, np.array([-100, 0, 3, 90])),
        "calibration": {"all": calibration(beta_z_C)},
    }
    made = [path.name for path in evaluation_figures(report, tmp_path)]
    assert made == ["similarity.png", "length.png", "calibration.png"]
    nothing = {"similarity": "pairing needs sklearn", "length": [], "calibration": {}}
    assert evaluation_figures(nothing, tmp_path) == []
