"""The configs that there are, and which command a file is for, by its keys."""

from pathlib import Path

import yaml
from pydantic import BaseModel

from cluster.config import ClusterConfig
from jpo_dist.config.run import JpoConfig
from jpo_dist.data.config import BuildConfig
from jpo_dist.evaluate.config import EvaluateConfig, ScoreConfig
from jpo_dist.judge.config import JudgeConfig


class RunConfig(JpoConfig):
    """Everything one `jpo` command needs."""

    cluster: ClusterConfig = ClusterConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    score: ScoreConfig = ScoreConfig()


class JudgeRunConfig(JudgeConfig):
    """Everything one `jpo judge` needs."""

    cluster: ClusterConfig = ClusterConfig(workers=0)
    """workers: Ray tasks, each with its share of the questions and of endpoint.concurrency. 0: this process."""


def kind_of(path: Path) -> type[BaseModel]:
    """The class of the config in a file. `sources` makes it one of `jpo data build`, `candidates` with `output` one of
    `jpo judge`, anything else one of `jpo train`.

    What cannot be read at all is left for the loader to explain.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return RunConfig
    keys = set(found) if isinstance(found, dict) else set()
    if "sources" in keys:
        return BuildConfig
    return JudgeRunConfig if {"candidates", "output"} <= keys and "data" not in keys else RunConfig
