"""The grid as pipelines: one cell for each arm, seed and combination of values. Stages with equal keys are the same."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import parse_as
from jpo_dist.study.tables import SEED, Result, point_of
from launcher.config.pipeline import COMMANDS, PipelineConfig, entry_of
from launcher.config.study import Stages, StudyConfig, TuneConfig, used_variables, with_values
from launcher.pipeline.contents import Contents
from launcher.pipeline.process import is_done
from launcher.pipeline.resolve import Stage, by_name, resolve_stages


class Cell(NamedTuple):
    """One training run of one arm, from its first stage to its answers."""

    arm: str
    values: dict[str, Any]
    """Of the grid, `seed` among them: its place in the study."""
    settings: dict[str, Any]
    """What `tune` chose for the arm; of a trial, what it tries."""
    stages: tuple[Stage, ...]
    answers: Stage
    """The stage that is measured."""
    kl: Stage | None = None
    """The stage that scores the policy's own answers, for its sampled KL."""

    @property
    def name(self) -> str:
        return cell_name(self.arm, {**self.values, **self.settings})


class Ran(NamedTuple):
    """Cells, and the results of those that are done, by name."""

    cells: list[Cell]
    results: Mapping[str, Result]

    @property
    def done(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.name in self.results]


def cell_name(arm: str, values: Mapping[str, Any]) -> str:
    """What a cell is called."""
    return " ".join([arm, *(f"{name}={value}" for name, value in values.items())])


def grid_of(config: StudyConfig) -> list[dict[str, Any]]:
    """All places of an arm's cells: seed by seed, every combination of the grid."""
    points = [dict(zip(config.grid, values, strict=True)) for values in itertools.product(*config.grid.values())]
    return [{SEED: seed, **point} for seed in config.seeds for point in points]


def cells(config: StudyConfig, source: str, chosen: dict[str, dict[str, Any]]) -> list[Cell]:
    """All cells, seed by seed, so that arms can be compared early. `chosen`: by arm, what `tune` found; with `tune` an
    arm without it, of which every trial failed, has no cells.

    Raises ConfigError, which names the arm, before any stage runs; also for an arm whose runs would be copies of one.
    """
    contents = _contents(config)
    found = [
        _cell(config, source, contents, arm, values, chosen.get(arm, {}))
        for values in grid_of(config)
        for arm in config.arms
        if not config.tune or arm in chosen
    ]
    contents.keep()
    _check_runs_differ(config, source, found)
    return found


def _check_runs_differ(config: StudyConfig, source: str, found: Sequence[Cell]) -> None:
    """Raises ConfigError for an arm that trains where two seeds have one training, or the same answers: its runs would
    be copies of one, and an interval over them without meaning. An arm that trains nothing has no runs to differ."""
    shared = {entry_of(stage, at).name for at, stage in enumerate(config.stages)}
    seeds: dict[tuple[str, str, Path], Any] = {}
    for cell in found:
        if not _trains(config.arms[cell.arm]):
            continue
        trained = [stage for stage in cell.stages if stage.kind.trains and stage.name not in shared]
        for stage in [cell.answers, *trained[-1:]]:
            other = seeds.setdefault((cell.arm, point_of(cell.values), stage.folder), cell.values[SEED])
            if other != cell.values[SEED]:
                raise ConfigError(
                    f"{source}: arms.{cell.arm}: {stage.name} is the same for seeds {other} and {cell.values[SEED]}, "
                    "since $seed stands nowhere in what it is made from: all its training runs would be one and the "
                    f"same, counted {len(config.seeds)} times; write `train: {{seed: $seed}}` in its training stage, "
                    "or name one seed in seeds"
                )


def untuned(config: StudyConfig) -> dict[str, dict[str, Any]]:
    """By arm the first values of `tune.over`: they stand for what is not chosen yet."""
    first = {name: values[0] for name, values in config.tune.over.items()} if config.tune else {}
    return dict.fromkeys(config.arms, first)


def trials(config: StudyConfig, source: str) -> list[Cell]:
    """The cells of `tune`: the same combinations for every arm. An arm that has none of the settings has one trial.

    Raises ConfigError.
    """
    assert config.tune is not None
    contents = _contents(config)
    point = {SEED: config.tune.seed, **{name: values[0] for name, values in config.grid.items()}}
    found = []
    for arm, stages in config.arms.items():
        used = set(used_variables([config.shared, config.stages, stages]))
        over = {name: values for name, values in config.tune.over.items() if name in used}
        for values in itertools.product(*over.values()):
            tried = dict(zip(over, values, strict=True))
            found.append(_cell(config, source, contents, arm, point, tried, config.tune))
    contents.keep()
    return found


def _contents(config: StudyConfig) -> Contents:
    folder = Path(config.dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return Contents(folder / ".digests.json")


def _cell(
    config: StudyConfig,
    source: str,
    contents: Contents,
    arm: str,
    values: dict[str, Any],
    settings: dict[str, Any],
    trial: TuneConfig | None = None,
) -> Cell:
    where = f"{source}: arms.{arm}"
    said = config.tracking.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    own = [*config.stages, *config.arms[arm]]
    kl = None if trial or not _trains(own) else config.kl
    measure = trial.measure if trial else [one for one in config.measure if kl or not _is(one, config.kl)]
    pipeline = {
        "dir": config.dir,
        "name": config.name,
        "shared": {**({"tracking": said} if said else {}), **config.shared},
        "stages": [*own, *measure],
    }
    written = parse_as(PipelineConfig, with_values(pipeline, {**values, **settings}), where)
    try:
        stages = resolve_stages(written, where, contents)
    except ConfigError as error:
        raise ConfigError(f"{error} (arm {arm})") from None
    measured = by_name(stages, trial.answers if trial else config.question.answers)
    scored = by_name(stages, kl) if kl else None
    if scored is not None:
        _check_own_answers(scored, stages, where)
    wanted = {measured.name, *([scored.name] if scored else [])}
    return Cell(arm, values, settings, tuple(_needed(wanted, stages)), measured, scored)


def _check_own_answers(scored: Stage, stages: Sequence[Stage], where: str) -> None:
    """Raises ConfigError where the stage of `kl` scores anything but the answers of one stage before it."""
    data = scored.settings["score"]["data"]
    made = {str(stage.made): stage.name for stage in stages if stage.kind.command == ("generate",)}
    if not isinstance(data, str) or data not in made:
        names = ", ".join(f'"@{name}"' for name in made.values()) or "none"
        raise ConfigError(
            f"{where}: kl ({scored.name}): its score.data ({data}) must be the answers of one generate stage, as text, "
            f"since the sampled KL is a mean over what the policy drew itself; write one of {names}"
        )


def _trains(stages: Stages) -> bool:
    return any(COMMANDS[entry_of(stage, at).command].trains for at, stage in enumerate(stages))


def _is(stage: dict[str, Any], name: str | None) -> bool:
    return entry_of(stage, 0).name == name


def _needed(wanted: set[str], stages: Sequence[Stage]) -> list[Stage]:
    """The stages that are wanted and those that they begin from, in their order; others measure nothing."""
    needed = set(wanted)
    for stage in reversed(stages):
        if stage.name in needed:
            needed.update(stage.after)
    return [stage for stage in stages if stage.name in needed]


def unique(found: Sequence[Cell]) -> dict[Path, Stage]:
    """Every stage of the cells once, by its folder, in the order in which cells want them."""
    return {stage.folder: stage for cell in found for stage in cell.stages}


def to_do(found: Sequence[Cell], there: Callable[[Stage], bool] = is_done) -> dict[Path, Stage]:
    """The stages that have to run so that every one of the cells can be measured, once, by folder: those that are
    measured, and what these begin from, as far as it is not `there`.

    A model that was removed behind its answers is not trained again unless something that has to run begins from it.
    """
    left: dict[Path, Stage] = {}
    for cell in found:
        needed = {cell.answers.name, *([cell.kl.name] if cell.kl else [])}
        for stage in reversed(cell.stages):
            if stage.name in needed and not there(stage):
                left[stage.folder] = stage
                needed.update(stage.after)
    return left


def before(stage: Stage, cell: Cell) -> set[Path]:
    """Folders of the stages that a stage of the cell begins from."""
    return {other.folder for other in cell.stages if other.name in stage.after}


def described(cell: Cell) -> str:
    """What tells the cell's measurement apart from others: the key of what is measured."""
    return json.dumps([cell.arm, cell.values, cell.answers.key], sort_keys=True)
