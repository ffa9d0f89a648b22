"""What a pipeline or study has come to, on its page in MLflow: a point of a chart for each that says something new."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from jpo_dist.config.sections import RunSection, TrackingConfig
from launcher.pipeline.parent import tell, tracked


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an MLflow server, which is made once."""
    return tmp_path_factory.mktemp("server") / "mlflow.db"


@pytest.fixture
def own(server: Path, tmp_path: Path) -> Iterator[tuple[TrackingConfig, RunSection]]:
    """A run for the whole, open while its parts are told of."""
    tracking, run = TrackingConfig(uri=f"sqlite:///{server}"), RunSection(dir=str(tmp_path), name=tmp_path.name)
    with tracked(tracking, run, {}, "begun"):
        yield tracking, run


def on_the_server(server: Path, run: RunSection) -> tuple[list[tuple[int, float]], str]:
    """Points of the chart of `rate`, by step, and the description."""
    with sqlite3.connect(server) as database:
        [[run_id]] = database.execute("select run_uuid from runs where name = ?", (run.name,))
        points = database.execute("select step, value from metrics where run_uuid = ? order by step", (run_id,))
        notes = database.execute("select value from tags where run_uuid = ? and key = 'mlflow.note.content'", (run_id,))
        return list(points), next(notes)[0]


def test_a_pipeline_has_a_point_for_each_other_result(server: Path, own: tuple[TrackingConfig, RunSection]) -> None:
    for n, rate in enumerate((None, 0.5, 0.5, None, 0.6, 0.5)):
        tell(*own, f"note {n}", {} if rate is None else {"rate": rate})
    assert on_the_server(server, own[1]) == ([(0, 0.5), (1, 0.6), (2, 0.5)], "note 5")


def test_a_study_has_a_point_for_each_number_of_cells_and_for_each_other_result(
    server: Path, own: tuple[TrackingConfig, RunSection]
) -> None:
    for step, rate in ((1, 0.5), (3, 0.5), (3, 0.5), (3, 0.6), (2, 0.6), (5, 0.6)):
        tell(*own, f"{step} cells", {"rate": rate}, step)
    assert on_the_server(server, own[1]) == ([(1, 0.5), (3, 0.5), (4, 0.6), (5, 0.6)], "5 cells")


def test_nothing_is_written_where_nothing_is_tracked(tmp_path: Path) -> None:
    tell(TrackingConfig(uri="none"), RunSection(dir=str(tmp_path)), "note", {"rate": 0.5})
    assert not list(tmp_path.iterdir())
