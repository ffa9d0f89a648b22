"""A study in MLflow: its own run, and a child of it for each measured cell."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.files import read_lines
from jpo_dist.run_dir import OUTBOX, RUN
from jpo_dist.study.tables import Result, mean_of
from jpo_dist.tracking.finished_run import Finished, log_report
from jpo_dist.tracking.metrics_file import metrics_of
from jpo_dist.tracking.page_text import input_tags
from jpo_dist.tracking.writer import NOTE, Writer, sent_tags
from launcher.config.study import StudyConfig
from launcher.pipeline.parent import Parent, own_tracking, tracked
from launcher.pipeline.run import run_of
from launcher.provenance import run_tags
from launcher.show.run_page.descriptions import of_cell, of_study
from launcher.study.cells import Cell
from launcher.study.measured import CELLS, file_of
from launcher.study.report.collected import ASKED

REPORT = "report"
ANEW = "Measured anew: an earlier child run of this cell has other figures."


def tracked_study(config: StudyConfig, folder: Path) -> AbstractContextManager[Parent]:
    """Around the cells: the study's own MLflow run."""
    params = {"arms": ", ".join(config.arms), "primary": config.question.primary}
    note = (
        f"A study of {', '.join(config.arms)} by {config.question.primary}. Its child runs are the measured cells, and "
        "`report.html` among its artifacts is what they say together."
    )
    return tracked(*own_run(config, folder), params, note)


def own_run(config: StudyConfig, folder: Path) -> tuple[TrackingConfig, RunSection]:
    """Where the study's own MLflow run is, and its folder and name."""
    return _own_tracking(config, folder), RunSection(dir=str(folder / "study"), name=config.name)


def _own_tracking(config: StudyConfig, folder: Path) -> TrackingConfig:
    return own_tracking(config.tracking.model_dump(mode="json", exclude_unset=True), folder)


def track_cell(config: StudyConfig, cell: Cell, result: Result, folder: Path, parent: Parent) -> None:
    """The MLflow run of what a cell was measured to, a child of the study's: every parameter of its place in it, and
    its figures. Nothing where a child of this cell has these figures; one with others stays, and the new one says so.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", cell.name)[:64]  # what a run may be called
    figures = [(metric, *mean_of([result], metric)) for metric in result.sums]
    means = [(metric, mean, int(count)) for metric, mean, count in figures if mean is not None]
    metrics = {name: value for metric, mean, n in means for name, value in ((metric, mean), (f"{metric}/answers", n))}
    params = {"arm": cell.arm, **cell.values, **cell.settings}
    before = _children(cell, name, params, folder)
    if any(metrics == figures for figures in before):
        return
    study = parent()
    tags = {**run_tags(), "jpo.study": config.name, **({"mlflow.parentRunId": study} if study else {})}
    for stage in cell.stages:
        tags |= {f"jpo.key.{stage.name}": stage.key, **input_tags(stage.name, run_of(stage.folder))}
    means.sort(key=lambda one: one[0] != config.question.primary)
    note = of_cell(cell.arm, {**cell.values, **cell.settings}, means, tags)
    work = Finished(params, metrics, note=f"{note}\n\n{ANEW}" if before else note)
    place = folder / CELLS / f"{file_of(cell, config.question, folder).stem}-{name}.mlflow"
    log_report(_own_tracking(config, folder), place, name, work, tags)


def _children(cell: Cell, name: str, params: Mapping[str, Any], folder: Path) -> list[dict[str, float]]:
    """The figures of each child run that a cell has. Before folders were named by the measurement and the cell they
    were by the answers alone: such a child is this cell's where its parameters are."""
    said = {key: str(value) for key, value in params.items()}
    places = [folder / CELLS / f"{cell.answers.folder.name}.mlflow", *(folder / CELLS).glob(f"*-{name}.mlflow")]
    key = f"jpo.key.{cell.answers.name}"  # of a trial there may be a child with the same parameters
    return [
        _figures(place)
        for place in places
        if (place / RUN).is_file() and _params(place) == said and sent_tags(place).get(key) == cell.answers.key
    ]


def _params(place: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry, _ in read_lines(place / OUTBOX, start=b'{"op":"params"'):
        found |= entry["params"]
    return found


def _figures(place: Path) -> dict[str, float]:
    steps = metrics_of(place)
    return {name: value for name, value in steps[-1].items() if name != "step"} if steps else {}


def track(config: StudyConfig, folder: Path, report: dict[str, Any]) -> None:
    """The report's answer on the page of the study's run, its files and figures, before the status is set."""
    writer = Writer(*own_run(config, folder))
    writer.set_tag(NOTE, of_study(report))
    for name in (f"{REPORT}.md", f"{REPORT}.html", f"{REPORT}.json", ASKED):
        writer.log_artifact(folder / name)
    for figure in sorted(folder.glob("*.png")):
        writer.log_artifact(figure)
    writer.close(60)
