"""Exporting as the driver sees it."""

from pathlib import Path
from typing import Any

from jpo_dist.run_dir import EXPORT
from launcher.config.kinds import AnyRunConfig
from launcher.config.load import parse_any
from launcher.stages.ranked import run_ranked


def export(config: AnyRunConfig) -> Path:
    """Write the newest valid commit as a Hugging Face folder. Returns the folder."""
    run_ranked(export_worker, config)
    return Path(config.run.dir) / EXPORT


def export_worker(payload: dict[str, Any]) -> None:
    """Export on one rank."""
    from jpo_dist.train.resume import export_commit

    config = parse_any(payload["config"])
    export_commit(config, config.cluster.collective_timeout_s, elastic=config.cluster.is_elastic)
