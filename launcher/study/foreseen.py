"""What trainings will take that have not run yet, as `jpo plan` reckons it: for the dry run of a study."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.data.build import build, write
from jpo_dist.paths import resolve
from jpo_dist.records.comparisons import digest
from launcher.config.kinds import RunConfig
from launcher.pipeline.process import is_done
from launcher.pipeline.resolve import Stage
from launcher.stages.plan import InShort, in_short
from launcher.study.cells import Cell

LARGEST = 64 * 2**20
"""Most bytes of the files of a set that is built to be planned with: a few seconds."""


class Foreseen(NamedTuple):
    """What one training will take."""

    seconds: float
    """Of all its steps: a floor, without start, reference cache and evaluation."""
    bytes: float


def foreseen(wanted: Sequence[Cell], left: Mapping[Path, Stage]) -> dict[Path, Foreseen]:
    """What each training in `left` will take, by its folder; those that cannot be told yet are not there.

    A step is reckoned once for all trainings with equal settings, on the set of the first of them. A set that is not
    built yet is built for it in a temporary folder, and a model that is not trained yet is taken for the one that its
    training begins from. Not told are trainings on what models have yet to answer, and SFT.
    """
    made: dict[Path, Foreseen] = {}
    known: dict[str, InShort | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        for cell in wanted:
            for stage in cell.stages:
                if stage.kind.trains and stage.folder in left:
                    like = _what_decides(stage)
                    if like not in known:
                        known[like] = _reckoned(stage, cell, Path(folder))
                    if found := known[like]:
                        steps = stage.settings["train"]["max_steps"] or found.steps
                        made[stage.folder] = Foreseen(steps * found.step_seconds, found.bytes)
    return made


def _what_decides(stage: Stage) -> str:
    """A digest that is equal for trainings whose steps take equally long: those that differ in seed, beta, learning
    rate, or which comparisons they see. Without train.max_steps data count too: they tell how many steps there are."""
    said = {name: one for name, one in stage.settings.items() if name not in ("objective", "optim", "run", "tracking")}
    train = {**said["train"], "seed": 0}
    if train["max_steps"]:
        said["data"] = {name: one for name, one in said["data"].items() if name not in ("train", "validation")}
        said["checkpoint"], train["max_steps"] = {"keep": said["checkpoint"]["keep"]}, 0
    return digest([{**said, "train": train}])


def _reckoned(stage: Stage, cell: Cell, folder: Path) -> InShort | None:
    try:
        settings = {**stage.settings, "model": _model_there(stage.settings["model"], cell)}
        settings["data"] = {key: _set_there(one, cell, folder) for key, one in settings["data"].items()}
        config = stage.kind.config.model_validate(settings)
        return in_short(config) if isinstance(config, RunConfig) else None  # `jpo plan` knows of comparisons alone
    except (ValueError, OSError):
        return None


def _model_there(model: dict[str, Any], cell: Cell) -> dict[str, Any]:
    """The model, or the one that it is trained from, whose shape it has."""
    trained = {str(stage.made): stage for stage in cell.stages if stage.kind.trains and not is_done(stage)}
    while (stage := trained.get(model["path"])) is not None:
        own = stage.settings["model"]
        model = {**model, **{name: own[name] for name in ("path", "gguf_file", "revision")}}
    return model


def _set_there(text: Any, cell: Cell, folder: Path) -> Any:
    """A setting of `data`; where it names a set that is not built yet, one that is now in `folder`."""
    if not isinstance(text, str):
        return text
    for stage in cell.stages:
        place = str(stage.made)
        to_build = stage.kind.command == ("data", "build") and not is_done(stage)
        if to_build and (text == place or text.startswith(f"{place}:")):
            return f"{_built(stage, folder / stage.key)}{text.removeprefix(place)}"
    return text


def _built(stage: Stage, folder: Path) -> Path:
    """Raises ValueError for a set that is too large for this, or needs a model; OSError where a file is not there."""
    if not folder.exists():
        config: Any = stage.kind.config.model_validate(stage.settings)
        size = sum(Path(resolve(source.path)).stat().st_size for source in config.sources)
        if size > LARGEST or any(pairs.policy == "hard" for pairs in config.pairs):
            raise ValueError(f"{stage.name} is not built for a plan")
        write(build(config), folder)
    return folder
