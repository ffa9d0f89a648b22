"""Logs a finished piece of work that is not training (judging, building) as one MLflow run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.distributed.waiting import working
from jpo_dist.run_dir import METRICS
from jpo_dist.tracking.metrics_file import MetricsFile
from jpo_dist.tracking.writer import Writer, stage_title, start_run, tags_of_environment


def log_report(
    tracking: TrackingConfig,
    folder: Path,
    name: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    files: Sequence[Path],
    timeout_s: float = 60.0,
    tags: Mapping[str, str] | None = None,
) -> int:
    """Log parameters, one step of metrics and files. Returns the number of steps the server still lacks.

    The run is called `name`, or what `tags` say that it is of a pipeline or study.

    `folder` keeps the run's id and what could not be sent: the same work done again is the next step of the same run,
    and a server that is away loses nothing.
    """
    run = RunSection(dir=str(folder), name=name)
    folder.mkdir(parents=True, exist_ok=True)
    start_run(tracking, run, params, tags, title=stage_title({**(tags or {}), **tags_of_environment()}))
    metrics_file = MetricsFile(folder / METRICS)
    metrics_file.append(0 if metrics_file.last_step is None else metrics_file.last_step + 1, metrics)
    metrics_file.close()
    writer = Writer(tracking, run)
    for file in files:
        writer.log_artifact(file)
    writer.finish("FINISHED")
    with working("sending the results to MLflow"):
        return writer.close(timeout_s)
