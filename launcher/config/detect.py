"""Which command a config file is for, by its keys."""

from pathlib import Path

import yaml
from pydantic import BaseModel

from jpo_dist.data.config import BuildConfig
from launcher.config.kinds import JudgeRunConfig, RunConfig, WinRateRunConfig
from launcher.config.pipeline import PipelineConfig


def kind_of(path: Path) -> type[BaseModel]:
    """The class of the config in a file. `sources` makes it one of `jpo data build`, `candidates` with `output` one of
    `jpo judge`, `stages` one of `jpo run`, `answers` with `against` one of `jpo winrate`, anything else
    one of `jpo train`.

    What cannot be read at all is left for the loader to explain.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return RunConfig
    keys = set(found) if isinstance(found, dict) else set()
    if "stages" in keys:
        return PipelineConfig
    if "sources" in keys:
        return BuildConfig
    if {"answers", "against"} <= keys:
        return WinRateRunConfig
    return JudgeRunConfig if {"candidates", "output"} <= keys and "data" not in keys else RunConfig
