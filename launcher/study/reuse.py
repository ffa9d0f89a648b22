"""Stages that another study has done: equal settings and inputs have equal keys, and what they made is taken over."""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from jpo_dist.files import read_json
from jpo_dist.folders import replacing
from launcher.console import say
from launcher.pipeline.process import is_done, note_done
from launcher.pipeline.resolve import Stage
from launcher.study.places import log_of


def places_of(folders: Sequence[str]) -> list[Path]:
    """The folders of other studies, as `reuse` names them."""
    return [Path(one).expanduser().absolute() for one in folders]


def tell_missing(folders: Sequence[str]) -> None:
    """Say which folders of other studies are not there."""
    for place in places_of(folders):
        if not place.is_dir():
            say(f"reuse: {place} is not there; what it would have is made here")


def take_over(stages: Iterable[Stage], folders: Sequence[str]) -> list[str]:
    """Put what was made for these stages in other studies into this one, and note them as done. Returns their names.

    Files are linked, which takes no room on the same disk, and outlive the other study. What is taken is said.
    """
    places, taken = places_of(folders), []
    for stage in stages:
        source = None if is_done(stage) else found_in(stage, places)
        if source is not None:
            _link(source, stage)
            taken.append(stage.name)
            say(f"{stage.name} taken from {source / stage.folder.name}")
    return taken


def found_in(stage: Stage, places: Iterable[Path]) -> Path | None:
    """The first of the folders of other studies in which the stage is done, and what it made is still there."""
    return next((place for place in places if _has(place, stage)), None)


def _has(place: Path, stage: Stage) -> bool:
    made = place / stage.made.relative_to(stage.folder.parent)
    return read_json(place / stage.done_file.name).get("key") == stage.key and made.exists()


def _link(place: Path, stage: Stage) -> None:
    source = place / stage.folder.name
    with replacing(stage.folder) as aside:
        shutil.copytree(source, aside, copy_function=_link_file, dirs_exist_ok=True)
    log = place / log_of(stage).name
    if log.is_file():
        shutil.copy2(log, log_of(stage))
    done = read_json(place / stage.done_file.name)
    note_done(stage, float(done.get("seconds", 0.0)), str(done.get("code", "")))


def _link_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
