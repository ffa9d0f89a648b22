"""The commands that can be stages: their config, where they write, and what they leave for the stages after them."""

from typing import NamedTuple

from pydantic import BaseModel

from jpo_dist.data.config import BuildConfig
from jpo_dist.run_dir import EXPORT
from launcher.config.kinds import JudgeRunConfig, RunConfig


class Kind(NamedTuple):
    """What `jpo run` knows of a command."""

    config: type[BaseModel]
    command: tuple[str, ...]
    folder: str
    """The setting that names the folder it writes to; the pipeline sets it."""
    made: str = ""
    """What later stages mean by its name, within that folder; empty: the folder itself."""
    trains: bool = False


COMMANDS: dict[str, Kind] = {
    "judge": Kind(JudgeRunConfig, ("judge",), "output"),
    "build": Kind(BuildConfig, ("data", "build"), "output"),
    "train": Kind(RunConfig, ("train",), "run.dir", EXPORT, trains=True),
    "evaluate": Kind(RunConfig, ("evaluate",), "run.dir"),
}
