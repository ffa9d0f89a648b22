"""Which command a config is for, by its keys."""

from pathlib import Path

import yaml
from pydantic import BaseModel

from jpo_dist.data.config import BuildConfig
from launcher.commands.judge import JudgeRunConfig
from launcher.config.load import RunConfig


def kind_of(path: Path) -> type[BaseModel]:
    """`sources` makes it one of `jpo data build`, `candidates` with `output` one of `jpo judge`, else of `jpo train`.

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
