"""docs/metrics.md has a line for every metric, and none for what nobody logs."""

import re
from pathlib import Path

import numpy as np
import pytest

from jpo_dist.objective.item_metrics import kto_means, sft_means
from jpo_dist.objective.metrics import by_protocol, means
from tests.support.metric_names import documented, undocumented

ROOT = Path(__file__).parents[2]
WRITTEN = "".join(
    path.read_text(encoding="utf-8")
    for room in ("jpo_dist", "launcher")
    for path in sorted((ROOT / room).rglob("*.py"))
)


def test_what_objectives_measure_has_a_line() -> None:
    rows_CK = np.array([[0.5] * 11 + [tie, 0.2] for tie in (0, 1)])
    logged = {
        **means(rows_CK), **by_protocol(rows_CK, np.array([True, False]), "eval/"),
        **sft_means(np.array([[2.0, 2, 5, -1, -2, 3]])),
        **kto_means(np.array([[0.5, label] + [0.1] * 6 for label in (0, 1)])),
    }  # fmt: skip
    assert {"ties/predicted", "eval/joint/ties/share", "logps/instruction", "rewards/margins", "kl"} <= set(logged)
    assert undocumented(logged) == []


def test_a_metric_without_a_line_is_noticed() -> None:
    strange = ["new", "eval/new", "eval/both/loss", "system/gpu_x_clock_megahertz", "winrate/group/a/new"]
    assert undocumented([*strange, "winrate/group/a/b/low", "system/10.0.0.1/gpu_0_clock_megahertz"]) == sorted(strange)


@pytest.mark.parametrize("name", documented())
def test_what_has_a_line_is_logged(name: str) -> None:
    """Its last word, at least, is one that the code writes."""
    counted = re.sub("(comparisons|examples)_per_second", "{counted}_per_second", name)  # what a step is made of
    last = [word for word in re.split(r"[A-Z_]*[A-Z]{2,}[A-Z_]*|/", counted) if word]
    assert not last or re.search(rf"[\"/_}}]{re.escape(last[-1])}[\"/_]", WRITTEN), name
