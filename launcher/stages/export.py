"""Exporting as the driver sees it."""

from pathlib import Path
from typing import Any

from jpo_dist.checkpoint.run_folder import last_bytes
from jpo_dist.run_dir import EXPORT
from launcher.config.kinds import AnyRunConfig
from launcher.config.load import parse_any
from launcher.stages.ranked import heard, run_ranked, under_torchrun

ALONE_BYTES = 8 * 2**30
"""A commit of at most this size, optimizer state and all, is exported by one process: Ray takes longer to start."""


def export(config: AnyRunConfig, which: str | None = None) -> Path:
    """Write a commit as a Hugging Face folder: "newest", "best", that of a step, or, by None, what the config means.
    Returns the folder. Any number of ranks exports what any other has written."""
    run_dir = Path(config.run.dir)
    small = 0 < last_bytes(run_dir) <= ALONE_BYTES
    convertible = config.engine.offload_optimizer.device != "nvme"  # else only the ranks that wrote it can read it
    if small and convertible and not under_torchrun():
        config = config.model_copy(update={"cluster": config.cluster.of(0)})
    run_ranked(export_worker, config, which=which)
    return run_dir / EXPORT


def export_worker(payload: dict[str, Any]) -> None:
    """Export on one rank."""
    from jpo_dist.train.resume import export_commit

    config = parse_any(payload["config"])
    with heard(payload):
        export_commit(config, config.cluster.collective_timeout_s, elastic=True, which=payload["which"])
