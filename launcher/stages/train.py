"""Training as the driver sees it: config.yaml, the MLflow run, the ranks, the progress bar."""

import importlib.metadata
import logging
import platform
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from cluster.errors import is_input
from cluster.secrets import load_secrets
from jpo_dist.distributed.stopping import stoppable
from jpo_dist.run_dir import EXPORT, FIGURES
from jpo_dist.tracking.metrics_file import metrics_of
from jpo_dist.tracking.run_file import tracking_uri
from jpo_dist.train.driver import recorded
from jpo_dist.train.exported import finished_at
from launcher.chatter import Aside
from launcher.config.kinds import AnyRunConfig
from launcher.config.load import parse_any
from launcher.provenance import run_tags
from launcher.show.progress import progress_of
from launcher.show.run_figures import training_figures
from launcher.stages.ranked import heard, is_driver, run_ranked

logger = logging.getLogger(__name__)


def train(config: AnyRunConfig, chatter: Aside | None = None) -> Path:
    """Train, track and export. Returns the exported folder. `config` must have absolute paths. `chatter` is kept in
    the run's folder."""
    run_dir = Path(config.run.dir)
    if not is_driver():
        with stoppable(run_dir, config.checkpoint.stop_grace_s, is_driver=False):
            run_ranked(train_worker, config)
        return run_dir / EXPORT
    load_secrets(config.cluster.secrets)  # MLflow's, before the first call of it
    with recorded(config, run_tags(), is_input, run_facts()) as figures:
        trained = finished_at(config) is None
        if chatter:
            chatter.keep_in(run_dir, "train")
        with progress_of(run_dir):
            run_ranked(train_worker, config, partial(_look, config))
        if trained and tracking_uri(config.tracking, run_dir) is not None:
            figures += _figures(run_dir)
    return run_dir / EXPORT


def _figures(run_dir: Path) -> list[Path]:
    """Pictures of the training; none where something prevents them, which must not make a run fail that is done."""
    try:
        return training_figures(metrics_of(run_dir), run_dir / FIGURES)
    except Exception as error:
        logger.warning("no figures of the training: %s", error)
        return []


def _look(config: AnyRunConfig) -> None:
    from jpo_dist.preflight.runs import look

    look(config)


def train_worker(payload: dict[str, Any]) -> None:
    """Train on one rank."""
    from jpo_dist.train.loop import run

    config = parse_any(payload["config"])
    cluster = config.cluster
    hooks: dict[str, Any] = {}
    if payload["under_ray"]:
        from cluster.ray_train import commit_reporter, host_leaves

        hooks = {"on_commit": commit_reporter(cluster), "leaving": host_leaves}
    with heard(payload):
        run(config, timeout_s=cluster.collective_timeout_s, elastic=cluster.is_elastic, **hooks)


def run_facts() -> dict[str, str]:
    """What a person needs to run it again beside config and code: the command and versions."""
    facts = {"command": " ".join(sys.argv), "python": platform.python_version()}
    for name in ("jpo-dist", "torch", "deepspeed", "transformers", "ray"):
        with suppress(importlib.metadata.PackageNotFoundError):
            facts[f"version.{name}"] = importlib.metadata.version(name)
    return facts
