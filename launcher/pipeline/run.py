"""Running the stages: one process each, in order; what is done is skipped, what was cut short goes on.

A stage is the very command that a person could type, `jpo COMMAND FOLDER.yaml`: it resumes by itself. A stage is done
when its command has ended well, which FOLDER.done.json says; it is written then, and by nobody else.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from cluster.signals import ended_by_signals
from jpo_dist.config.sections import RunSection
from jpo_dist.files import read_json
from jpo_dist.run_dir import RUN
from jpo_dist.tracking.page_text import input_tags
from launcher.config.pipeline import PipelineConfig, entry_of
from launcher.console import say
from launcher.pipeline.contents import Contents
from launcher.pipeline.parent import Parent, own_tracking, tracked
from launcher.pipeline.process import alone_in, is_done, note_done, run_to_end, start_stage
from launcher.pipeline.resolve import Stage, by_name, resolve_stages

MEMORY, OWN_RUN = ".digests.json", "pipeline"


class StageFailed(RuntimeError):
    """The command of a stage ended badly; its own last line says why."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def plan(config: PipelineConfig, source: str) -> list[Stage]:
    """All stages, checked, with their keys and folders. Raises ConfigError."""
    folder = Path(config.dir).expanduser().absolute()
    contents = Contents(folder / MEMORY)
    stages = resolve_stages(config, source, contents)
    if folder.is_dir():
        contents.keep()
    return stages


def run(config: PipelineConfig, source: str, until: str | None = None) -> list[Stage]:
    """Run all stages that are not done, up to and with `until`. Returns them all.

    Raises ConfigError before anything runs; InUse; StageFailed with the exit code of the stage's command.
    """
    folder = Path(config.dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder) as lock:
        stages = plan(config, source)
        last = len(stages) if until is None else stages.index(by_name(stages, until)) + 1
        with _tracked(config, folder) as parent:
            for number, stage in enumerate(stages[:last], 1):
                title = f"{number}/{len(stages)} {stage.name}"
                if is_done(stage):
                    say(f"{title}: done before, {stage.folder}")
                else:
                    say(f"{title}: jpo {' '.join(stage.kind.command)} {stage.config_file}")
                    _run_stage(stage, _tags(config, stage, stages, parent()), lock)
    return stages


def _run_stage(stage: Stage, tags: Mapping[str, str], lock: IO[str]) -> None:
    """Run the command and wait."""
    started = time.monotonic()
    with ended_by_signals():
        code = run_to_end(lambda: start_stage(stage, tags, lock))
    if code:
        raise StageFailed(
            f"stage {stage.name} ended with exit code {code}; the reason stands above. The same command goes on there",
            code,
        )
    note_done(stage, time.monotonic() - started)


# ---- MLflow


def _tracked(config: PipelineConfig, folder: Path) -> AbstractContextManager[Parent]:
    """Around the stages: the pipeline's own MLflow run."""
    stages = [entry_of(stage, at).name for at, stage in enumerate(config.stages)]
    own = RunSection(dir=str(folder / OWN_RUN), name=config.name)
    params = {"stages": ", ".join(stages), "rounds": str(config.rounds)}
    times = f", those from the first `generate` to the last `train` {config.rounds} times" if config.rounds > 1 else ""
    note = f"A pipeline: {' → '.join(stages)}{times}. Its child runs are what each stage measured."
    return tracked(own_tracking(config.shared.get("tracking", {}), folder), own, params, note)


def _tags(config: PipelineConfig, stage: Stage, stages: list[Stage], parent: str | None) -> dict[str, str]:
    """What the MLflow run of a stage says of its place in the pipeline: its key, and those of what it reads."""
    tags: dict[str, Any] = {"jpo.pipeline": config.name, "jpo.stage": stage.name, "jpo.key": stage.key}
    if parent:
        tags["mlflow.parentRunId"] = parent
    for before in stages:
        if before.name in stage.after:
            tags[f"jpo.input.{before.name}"] = before.key
            tags |= input_tags(before.name, run_of(before.folder))
    return tags


def run_of(folder: Path) -> dict[str, Any]:
    """What run.json says of the MLflow run of a stage: a training's is in its folder, any other's in `mlflow` in it;
    {} for one that is not tracked."""
    found = (read_json(place).get("mlflow", {}) for place in (folder / RUN, folder / "mlflow" / RUN))
    return next((known for known in found if known.get("run_id")), {})
