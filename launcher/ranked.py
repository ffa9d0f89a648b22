"""The stages behind the commands: what the driver does before, around and after the ranked processes.

The same function runs in three places: Ray workers, processes that torchrun has started, or this process alone.
"""

import importlib.metadata
import importlib.util
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.errors import is_input
from cluster.secrets import load_secrets
from jpo_dist.tracking.writer import Status, replay, start_run
from launcher.config.load import ConfigError, RunConfig, flatten, parse, ray_job, write
from launcher.show.progress import progress_of

logger = logging.getLogger(__name__)

Entry = Callable[[dict[str, Any]], None]


def train(config: RunConfig) -> Path:
    """Train, track and export. Returns the exported folder. `config` must have absolute paths."""
    run_dir = Path(config.run.dir)
    if not is_driver():
        run_ranked(train_worker, config)
        return run_dir / "export"
    load_secrets(config.cluster.secrets)  # MLflow's, before the first call of it
    if config.checkpoint.storage:  # a new machine goes on in the same MLflow run
        from jpo_dist.checkpoint.store import restore_run_files

        for name in restore_run_files(config.checkpoint.storage, run_dir):
            logger.info("fetched %s from %s", name, config.checkpoint.storage)
    resolved = run_dir / "config.yaml"
    before = resolved.read_text(encoding="utf-8") if resolved.exists() else None
    write(config, resolved)
    start_run(config.tracking, config.run, flatten(config.model_dump(mode="json")), run_tags())
    status: Status = "FAILED"
    try:
        with progress_of(run_dir):
            run_ranked(train_worker, config)
        status = "FINISHED"
    except Exception as error:
        if before is not None and is_input(error):  # a start that was refused leaves the run that is there as it was
            resolved.write_text(before, encoding="utf-8")
            status = "FINISHED" if (run_dir / "export").exists() else "FAILED"
        raise
    finally:
        replay(config.tracking, config.run, status)
    return run_dir / "export"


def evaluate(config: RunConfig) -> Path:
    """Write `<run.dir>/evaluation.json`. Returns its path."""
    run_ranked(evaluate_worker, config)
    return Path(config.run.dir) / "evaluation.json"


def export(config: RunConfig) -> Path:
    """Write the newest valid commit as a Hugging Face folder. Returns the folder."""
    run_ranked(export_worker, config)
    return Path(config.run.dir) / "export"


def train_worker(payload: dict[str, Any]) -> None:
    from jpo_dist.train.loop import run

    config = parse(payload["config"])
    cluster = config.cluster
    hooks: dict[str, Any] = {}
    if payload["under_ray"]:
        from cluster.ray_train import commit_reporter, host_leaves

        hooks = {"on_commit": commit_reporter(cluster), "leaving": host_leaves}
    run(config, timeout_s=cluster.collective_timeout_s, elastic=cluster.is_elastic, **hooks)


def evaluate_worker(payload: dict[str, Any]) -> None:
    from jpo_dist.evaluate.evaluation import evaluate_policy

    config = parse(payload["config"])
    choice = config.evaluate
    policy = choice.policy or str(Path(config.run.dir) / "export")
    evaluate_policy(config, policy, choice.instructions, choice.max_new_tokens, config.cluster.collective_timeout_s)


def export_worker(payload: dict[str, Any]) -> None:
    from jpo_dist.train.resume import export_commit

    config = parse(payload["config"])
    export_commit(config, config.cluster.collective_timeout_s, elastic=config.cluster.is_elastic)


def run_ranked(entry: Entry, config: RunConfig) -> None:
    """Run `entry` on every rank and wait. Raises what a rank raised.

    Under torchrun this process is a rank already and Ray need not be installed; with cluster.workers=0 it is the only
    one; else Ray starts the ranks.
    """
    load_secrets(config.cluster.secrets)
    payload: dict[str, Any] = {"config": config.model_dump(mode="json"), "under_ray": False}
    if under_torchrun() or config.cluster.workers == 0:
        entry(payload)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from jpo_dist.model.engine import disconnect

            disconnect()
        return
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            f"cluster.workers ({config.cluster.workers}) needs Ray, which is not installed; install it, set "
            "cluster.workers=0 to train in this process, or start with torchrun"
        )
    from cluster.ray_train import launch

    payload["under_ray"] = True
    env = {"JPO_CACHE": os.environ["JPO_CACHE"]} if "JPO_CACHE" in os.environ else {}
    storage = str(Path(config.run.dir) / "ray")
    launch(entry, payload, config.cluster, run_name=config.run.name, storage=storage, env=env)


def under_torchrun() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_driver() -> bool:
    """One process writes config and tracking: the one that was typed, or rank 0 under torchrun."""
    return int(os.environ.get("RANK", "0")) == 0


def run_tags() -> dict[str, str]:
    """What a person needs to run it again: code, versions, machine."""
    tags = {"jpo.command": " ".join(sys.argv), "jpo.python": platform.python_version()}
    for name in ("jpo-dist", "torch", "deepspeed", "transformers", "ray"):
        try:
            tags[f"jpo.version.{name}"] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    root = Path(__file__).parent.parent
    if (root / ".git").exists():
        git = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        tags["jpo.git_commit"] = git.stdout.strip()
    tags["jpo.ray_job"] = ray_job() or ""
    return {key: value for key, value in tags.items() if value}
