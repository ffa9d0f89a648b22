"""Which command a config file is for, by its keys."""

from pathlib import Path

import yaml
from pydantic import BaseModel

from jpo_dist.data.config import BuildConfig
from jpo_dist.files import text_of
from launcher.config.kinds import GenerateRunConfig, JudgeRunConfig, RunConfig, SftRunConfig, WinRateRunConfig
from launcher.config.pipeline import PipelineConfig
from launcher.config.study import StudyConfig

KEYS: dict[type[BaseModel], frozenset[str]] = {
    SftRunConfig: frozenset({"sft"}),
    StudyConfig: frozenset({"arms", "question"}),  # it may have stages too
    PipelineConfig: frozenset({"stages"}),
    BuildConfig: frozenset({"sources"}),
    JudgeRunConfig: frozenset({"candidates", "output"}),
    GenerateRunConfig: frozenset({"instructions", "output"}),
    WinRateRunConfig: frozenset({"answers", "against"}),
}
"""The keys that a config of each command has, and no other. What has none of them is one of `jpo train`."""

COMMANDS: dict[type[BaseModel], str] = {
    RunConfig: "jpo train",
    SftRunConfig: "jpo sft",
    StudyConfig: "jpo study",
    PipelineConfig: "jpo run",
    BuildConfig: "jpo data build",
    JudgeRunConfig: "jpo judge",
    GenerateRunConfig: "jpo generate",
    WinRateRunConfig: "jpo winrate",
}
"""What a person types for a config of each kind."""


def kind_of(path: Path) -> type[BaseModel]:
    """The class of the config in a file. What cannot be read at all is left for the loader to explain."""
    try:
        found = yaml.safe_load(text_of(path))
    except (OSError, ValueError, yaml.YAMLError):
        return RunConfig
    keys = set(found) if isinstance(found, dict) else set()
    return next((kind for kind, needed in KEYS.items() if needed <= keys), RunConfig)
