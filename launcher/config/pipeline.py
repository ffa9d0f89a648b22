"""The YAML of `jpo run`: which commands can be stages, their order, what they share, and how often the middle is gone
through."""

from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, Field, model_validator

from jpo_dist.config.addresses import OnDisk
from jpo_dist.config.base import Count, Section
from jpo_dist.data.config import BuildConfig
from jpo_dist.run_dir import EXPORT, SCORES
from launcher.config.kinds import GenerateRunConfig, JudgeRunConfig, RunConfig, SftRunConfig, WinRateRunConfig

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Share = Annotated[float, Field(ge=0, le=1)]
POLICY = "policy"
"""The name by which any stage means the newest model that a stage before it has trained."""


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
    "sft": Kind(SftRunConfig, ("sft",), "run.dir", EXPORT, trains=True),
    "generate": Kind(GenerateRunConfig, ("generate",), "output"),
    "judge": Kind(JudgeRunConfig, ("judge",), "output"),
    "build": Kind(BuildConfig, ("data", "build"), "output"),
    "train": Kind(RunConfig, ("train",), "run.dir", EXPORT, trains=True),
    "evaluate": Kind(RunConfig, ("evaluate",), "run.dir"),
    "winrate": Kind(WinRateRunConfig, ("winrate",), "output"),
    "score": Kind(RunConfig, ("score",), "run.dir", SCORES),
}


class PipelineConfig(Section):
    """The stages of one pipeline."""

    dir: OnDisk = Field(min_length=1)
    """Folder of the pipeline: each stage has one in it, named after what it was made from. Shared by all hosts."""
    name: Annotated[str, Field(pattern=NAME)] = "pipeline"
    """Name of the pipeline's run in MLflow, the parent of its stages' runs."""
    rounds: Count = 1
    """How often the stages from the first `generate` to the last `train` are gone through (iterative JPO). Round k adds
    k - 1 to the `seed` of generate, so that no round repeats the noise of another."""
    shared: dict[str, Any] = Field(default_factory=dict)
    """Settings of every stage that has them, for example {model: {path: …}, tracking: {uri: …}}; a stage's own win."""
    max_failed: Share = 0.0
    """Largest share of a stage's requests to a server that may be without an answer at its end, after all tries: of
    those that may get one another time (timeouts, lost connections, broken replies, 429, 5xx). A stage that has more is
    not done, and the same command asks them again."""
    stages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """Each `{COMMAND: its config}`, with a `name` beside it where a command comes twice. Text `@NAME` in a config is
    what the newest stage of that name has made, `@NAME/PATH` a file in it, `@policy` the newest trained model, or
    that of `shared` where none has been trained yet."""

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Self:
        entries = [entry_of(stage, at) for at, stage in enumerate(self.stages)]
        names = [entry.name for entry in entries]
        for at, name in enumerate(names):
            if name in names[:at]:
                raise ValueError(f"stages.{at}: a stage is named {name} already; give this one a `name` of its own")
            if name == POLICY:
                raise ValueError(f"stages.{at}.name ({name}) means the newest trained model; choose another")
        return self


class Entry(NamedTuple):
    """One stage as the YAML has it."""

    name: str
    command: str
    settings: dict[str, Any]


def entry_of(stage: dict[str, Any], at: int) -> Entry:
    """The entry `stages.<at>`. Raises ValueError: key, value, rule, fix."""
    rest = {key: value for key, value in stage.items() if key != "name"}
    if len(rest) != 1:
        raise ValueError(
            f"stages.{at} has {len(rest)} commands ({', '.join(rest) or 'none'}); write one, and `name` if it needs one"
        )
    ((command, settings),) = rest.items()
    if command not in COMMANDS:
        raise ValueError(f"stages.{at}.{command} is no command of a pipeline; known: {', '.join(COMMANDS)}")
    if settings is not None and not isinstance(settings, dict):
        raise ValueError(f"stages.{at}.{command} ({settings!r}) is no config; write its settings as a mapping")
    name = stage.get("name", command)
    if not isinstance(name, str) or not name:
        raise ValueError(f"stages.{at}.name ({name!r}) is no name; write text")
    return Entry(name, command, dict(settings or {}))
