"""What a pipeline or study has come to, as points of charts: one for each that says something new."""

from pathlib import Path

import pytest

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.tracking.metrics_file import metrics_of
from launcher.pipeline import parent


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The descriptions that would be sent; nothing is."""
    sent: list[str] = []
    monkeypatch.setattr(parent, "replay", lambda *_, tags, **__: sent.extend(tags.values()))
    return sent


def steps(folder: Path) -> list[tuple[float, float]]:
    return [(row["step"], row["rate"]) for row in metrics_of(folder)]


def tell(folder: Path, rate: float | None, step: int | None = None, uri: str = "http://127.0.0.1:1") -> None:
    figures = {} if rate is None else {"rate": rate}
    parent.tell(TrackingConfig(uri=uri), RunSection(dir=str(folder)), f"note {rate}", figures, step)


def test_a_pipeline_has_a_point_for_each_other_result(tmp_path: Path, told: list[str]) -> None:
    for rate in (None, 0.5, 0.5, None, 0.6, 0.5):
        tell(tmp_path, rate)
    assert steps(tmp_path) == [(0, 0.5), (1, 0.6), (2, 0.5)]
    assert told == [f"note {rate}" for rate in (None, 0.5, 0.5, None, 0.6, 0.5)]


def test_a_study_has_a_point_for_each_number_of_cells_and_for_each_other_result(
    tmp_path: Path, told: list[str]
) -> None:
    for step, rate in ((1, 0.5), (3, 0.5), (3, 0.5), (3, 0.6), (2, 0.6), (5, 0.6)):
        tell(tmp_path, rate, step)
    assert steps(tmp_path) == [(1, 0.5), (3, 0.5), (4, 0.6), (5, 0.6)]


def test_nothing_is_written_where_nothing_is_tracked(tmp_path: Path, told: list[str]) -> None:
    tell(tmp_path, 0.5, uri="none")
    assert not list(tmp_path.iterdir())
    assert told == []
