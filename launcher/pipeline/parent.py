"""The MLflow run of a whole: a pipeline's or a study's, the parent of what runs in it."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jpo_dist.config.environment import tracking_of
from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.files import read_json
from jpo_dist.run_dir import METRICS, RUN
from jpo_dist.tracking.metrics_file import MetricsFile, metrics_at
from jpo_dist.tracking.run_file import sqlite_uri, tracking_uri
from jpo_dist.tracking.writer import NOTE, Status, replay, start_run
from launcher.provenance import run_tags

Parent = Callable[[], str | None]
AGAIN_S = 30.0
"""How long a server that was away at the start may take for the run, before a stage; one that is not there takes five
seconds."""


def own_tracking(said: Mapping[str, Any], folder: Path) -> TrackingConfig:
    """What the config says of tracking, then MLflow's variables, then mlflow.db in the folder."""
    set_ones = {key: value for key, value in said.items() if value is not None}
    return TrackingConfig(**{"uri": sqlite_uri(folder / "mlflow.db"), **tracking_of(os.environ), **set_ones})


@contextmanager
def tracked(tracking: TrackingConfig, own: RunSection, params: Mapping[str, str], note: str) -> Iterator[Parent]:
    """Around the stages: the run that is their parent. Yields what gives its id, or None where nothing is tracked, or
    the server is away: it is asked again then, each time, for a few seconds.

    `note`: what its page says that it is, in Markdown.
    """

    def run_id() -> str | None:
        return read_json(Path(own.dir) / RUN).get("mlflow", {}).get("run_id")

    def parent() -> str | None:
        if run_id() is None and tracking_uri(tracking, own.dir) is not None:
            replay(tracking, own, timeout_s=AGAIN_S)
        return run_id()

    Path(own.dir).mkdir(exist_ok=True)
    # Its page is all that there is to see for hours: a server gets longer for it than a training would give.
    start_run(tracking, own, params, {**run_tags(), NOTE: note}, wait_s=30)
    status: Status = "FAILED"
    try:
        yield parent
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        replay(tracking, own, status)


def tell(
    tracking: TrackingConfig, own: RunSection, note: str, figures: Mapping[str, float], step: int | None = None
) -> None:
    """Say on the page of the whole what it has come to so far, and log `figures`: at `step`, or at the next one where
    there is none or it is over. The same figures again, and no new step, are no second point of a chart."""
    if tracking_uri(tracking, own.dir) is None:
        return
    file = MetricsFile(Path(own.dir) / METRICS)
    last = -1 if file.last_step is None else file.last_step
    at = last + 1 if step is None else step
    if figures and ((step is not None and at > last) or dict(figures) != metrics_at(Path(own.dir), last)):
        file.append(max(last + 1, at), figures)
    file.close()
    replay(tracking, own, timeout_s=AGAIN_S, tags={NOTE: note})
