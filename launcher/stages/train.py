"""Training as the driver sees it: config.yaml, the MLflow run, the ranks, the progress bar."""

import importlib.metadata
import platform
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from cluster.errors import is_input
from cluster.secrets import load_secrets
from jpo_dist.distributed.stopping import stoppable
from jpo_dist.run_dir import EXPORT
from jpo_dist.train.driver import recorded
from launcher.chatter import Aside
from launcher.config.kinds import AnyRunConfig
from launcher.config.load import parse_any
from launcher.config.run_paths import ray_job
from launcher.show.progress import progress_of
from launcher.stages.ranked import is_driver, run_ranked


def train(config: AnyRunConfig, chatter: Aside | None = None) -> Path:
    """Train, track and export. Returns the exported folder. `config` must have absolute paths. `chatter` is kept in
    the run's folder."""
    run_dir = Path(config.run.dir)
    if not is_driver():
        with stoppable(run_dir, config.checkpoint.stop_grace_s, is_driver=False):
            run_ranked(train_worker, config)
        return run_dir / EXPORT
    load_secrets(config.cluster.secrets)  # MLflow's, before the first call of it
    with recorded(config, run_tags(), is_input), progress_of(run_dir):
        if chatter:
            chatter.keep_in(run_dir, "train")
        run_ranked(train_worker, config, partial(_look, config))
    return run_dir / EXPORT


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
    run(config, timeout_s=cluster.collective_timeout_s, elastic=cluster.is_elastic, **hooks)


def run_tags() -> dict[str, str]:
    """Facts that a person needs to run it again: code, versions, machine."""
    tags = {"jpo.command": " ".join(sys.argv), "jpo.python": platform.python_version()}
    for name in ("jpo-dist", "torch", "deepspeed", "transformers", "ray"):
        try:
            tags[f"jpo.version.{name}"] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    root = Path(__file__).parents[2]
    if (root / ".git").exists():
        git = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        tags["jpo.git_commit"] = git.stdout.strip()
    tags["jpo.ray_job"] = ray_job() or ""
    return {key: value for key, value in tags.items() if value}
