"""Logs a finished piece of work that is not training (judging, building) as one MLflow run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.distributed.waiting import working
from jpo_dist.run_dir import METRICS
from jpo_dist.tracking.metrics_file import MetricsFile
from jpo_dist.tracking.writer import NOTE, Status, Writer, replay, stage_title, start_run, tags_of_environment

LAST_S = 10.0
"""How long the rest is sent where somebody ends the command meanwhile: a run that is open would seem to go on."""


class Finished(NamedTuple):
    """What a finished piece of work has come to."""

    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    files: Sequence[Path] = ()
    note: str = ""
    """What the page of its run says, in Markdown."""
    inputs: Sequence[Mapping[str, Any]] = ()
    """The sets that it read, as Writer.log_inputs takes them."""
    began_ms: int | None = None
    """When it began, in milliseconds since the epoch; now, if it is not said."""


def log_report(
    tracking: TrackingConfig,
    folder: Path,
    name: str,
    work: Finished,
    tags: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
) -> int:
    """Log parameters, one step of metrics, files, what the page says and the sets that were read. Returns the number of
    steps the server still lacks.

    The run is called `name`, or what `tags` say that it is of a pipeline or study.

    `folder` keeps the run's id and what could not be sent: the same work done again is the next step of the same run,
    and a server that is away loses nothing.
    """
    run = RunSection(dir=str(folder), name=name)
    folder.mkdir(parents=True, exist_ok=True)
    if_interrupted: Status | None = "KILLED"
    try:
        _start(tracking, run, work, tags or {})
        writer = Writer(tracking, run)
        if work.inputs:
            writer.log_inputs(work.inputs)
        for file in work.files:
            writer.log_artifact(file)
        writer.finish("FINISHED")
        if_interrupted = None  # all of it is queued, and the work is done
        with working("sending the results to MLflow"):
            return writer.close(timeout_s)
    except (KeyboardInterrupt, SystemExit):
        replay(tracking, run, if_interrupted, LAST_S)
        raise


def _start(tracking: TrackingConfig, run: RunSection, work: Finished, tags: Mapping[str, str]) -> None:
    named = {**tags, **({NOTE: work.note} if work.note else {})}
    title = stage_title({**tags, **tags_of_environment()})
    start_run(tracking, run, work.params, named, title=title, began_ms=work.began_ms)
    metrics_file = MetricsFile(Path(run.dir) / METRICS)
    metrics_file.append(0 if metrics_file.last_step is None else metrics_file.last_step + 1, work.metrics)
    metrics_file.close()
