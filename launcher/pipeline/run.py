"""Running the stages: one process each, in order; what is done is skipped, what was cut short goes on.

A stage is the very command that a person could type, `jpo COMMAND FOLDER.yaml`: it resumes by itself. A stage is done
when its command has ended well and no request to a server is left that may still get an answer, but for those that
`max_failed` allows; FOLDER.done.json says so, and is written by nobody else.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import IO, Any

from cluster.signals import ended_by_signals
from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.endpoint.left import NOTHING, Left
from jpo_dist.files import read_json
from jpo_dist.run_dir import RUN, SCORES
from jpo_dist.tracking.page_text import input_tags
from launcher.config.pipeline import PipelineConfig, entry_of
from launcher.console import FAILURE, say
from launcher.pipeline.contents import Contents
from launcher.pipeline.lacking import accept, left_of, way_out
from launcher.pipeline.outcomes import outcome_of
from launcher.pipeline.parent import Parent, own_tracking, tell, tracked
from launcher.pipeline.process import alone_in, is_done, note_done, run_to_end, start_stage
from launcher.pipeline.resolve import Stage, by_name, resolve_stages
from launcher.show.run_page.descriptions import DONE, TO_DO, StageLine, of_pipeline

MEMORY, OWN_RUN = ".digests.json", "pipeline"


class StageFailed(RuntimeError):
    """The command of a stage ended badly, and its own last line says why; or it left requests without an answer."""

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
        with _tracked(config, folder, stages) as parent:
            for number, stage in enumerate(stages[:last], 1):
                title = f"{number}/{len(stages)} {stage.name}"
                if is_done(stage) or accept(stage, config.max_failed):
                    say(f"{title}: done before, {stage.folder}")
                else:
                    say(f"{title}: jpo {' '.join(stage.kind.command)} {stage.config_file}")
                    _tell(config, folder, stages, {stage.name: "has begun"})
                    told = partial(_tell, config, folder, stages)
                    _run_stage(stage, _tags(config, stage, stages, parent()), lock, told, config.max_failed)
            _tell(config, folder, stages, {})
    return stages


def _run_stage(
    stage: Stage, tags: Mapping[str, str], lock: IO[str], tell: Callable[[dict[str, str]], None], max_failed: float
) -> None:
    """Run the command and wait, once more where it leaves more than `max_failed` of its requests without an answer;
    `tell` is told how it ended, if not well."""
    started = time.monotonic()
    code, left = _command(stage, tags, lock)
    if left.share > max_failed:
        say(f"{stage.name}: {left}; they are asked once more")
        code, left = _command(stage, tags, lock)
    if code:
        tell({stage.name: f"failed with exit code {code}"})
        raise StageFailed(
            f"stage {stage.name} ended with exit code {code}; the reason stands above. The same command goes on there",
            code,
        )
    if left.share > max_failed:
        tell({stage.name: f"is not done: {left}"})
        raise StageFailed(f"stage {stage.name} is not done: {way_out(left)}", FAILURE)
    if left.requests:
        say(f"{stage.name}: {left}, no more than max_failed={max_failed:g}")
    note_done(stage, time.monotonic() - started)


def _command(stage: Stage, tags: Mapping[str, str], lock: IO[str]) -> tuple[int, Left]:
    """The exit code of the stage's command; what it left, where it ended well."""
    with ended_by_signals():
        code = run_to_end(lambda: start_stage(stage, tags, lock))
    return code, NOTHING if code else left_of(stage)


# ---- MLflow


def _tracked(config: PipelineConfig, folder: Path, stages: Sequence[Stage]) -> AbstractContextManager[Parent]:
    """Around the stages: the pipeline's own MLflow run."""
    names = [entry_of(stage, at).name for at, stage in enumerate(config.stages)]
    params = {"stages": ", ".join(names), "rounds": str(config.rounds)}
    note, _ = _found(config, stages, {})
    return tracked(_own_tracking(config, folder), _own_run(config, folder), params, note)


def _own_tracking(config: PipelineConfig, folder: Path) -> TrackingConfig:
    return own_tracking(config.shared.get("tracking", {}), folder)


def _own_run(config: PipelineConfig, folder: Path) -> RunSection:
    return RunSection(dir=str(folder / OWN_RUN), name=config.name)


def _tell(config: PipelineConfig, folder: Path, stages: Sequence[Stage], states: Mapping[str, str]) -> None:
    """What the stages have come to so far, on the page of the pipeline. `states`: of those that are not done, in words;
    where there are none, nothing more runs, and its figures are logged."""
    note, figures = _found(config, stages, states)
    tell(_own_tracking(config, folder), _own_run(config, folder), note, {} if states else figures)


def _found(
    config: PipelineConfig, stages: Sequence[Stage], states: Mapping[str, str]
) -> tuple[str, Mapping[str, float]]:
    """The description, and the figures of the last stage that has measured any."""
    lines: list[StageLine] = []
    measured: str | None = None
    figures: Mapping[str, float] = {}
    for stage in stages:
        if is_done(stage):
            outcome = outcome_of(stage)
            seconds = read_json(stage.done_file).get("seconds")
            lines.append(StageLine(stage.name, DONE, seconds, outcome.words, run_of(stage.folder)))
            measured, figures = (stage.name, outcome.figures) if outcome.figures else (measured, figures)
        else:
            state = states.get(stage.name, TO_DO)
            lines.append(StageLine(stage.name, state, None, "", run_of(stage.folder)))
    names = " → ".join(entry_of(stage, at).name for at, stage in enumerate(config.stages))
    times = f", those from the first `generate` to the last `train` {config.rounds} times" if config.rounds > 1 else ""
    return of_pipeline(f"A pipeline: {names}{times}.", lines, measured), figures


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
    """What run.json says of the MLflow run of a stage, which is in its folder or beside what it wrote there; {} for one
    that is not tracked."""
    places = (folder, *(folder / name / "mlflow" for name in ("", SCORES, "evaluation")))
    found = (read_json(place / RUN).get("mlflow", {}) for place in places)
    return next((known for known in found if known.get("run_id")), {})
