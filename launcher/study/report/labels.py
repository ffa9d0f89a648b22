"""Labels of instructions (`strata`): kinds by which a study's primary metric is told too."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jpo_dist.config.explain import ConfigError
from jpo_dist.files import read_json
from jpo_dist.generate.answers import is_answers, read_answers
from jpo_dist.records.comparisons import Item, Message, digest
from launcher.config.study import StudyConfig
from launcher.study.cells import Cell, Ran
from launcher.study.measured import program_digests
from launcher.study.report.told import PUBLISHED


def labels(function: str, ran: Ran, elsewhere: Mapping[str, str]) -> dict[str, str]:
    """The label of each instruction that any cell has a result of, by its id. `no label (WHY)`: the function raises
    on it, or the answers to it cannot be read any more. `elsewhere`: what it was found to be on another host.

    Answers of a cell are read where those of the cells before it leave instructions without a label. Raises ConfigError
    for a function that is none.
    """
    label = function_of("strata", function)

    def told(turns: tuple[Message, ...]) -> str:
        try:
            return str(label(Item(turns, "")))
        except Exception as error:  # whatever a function of the user raises
            return f"no label ({type(error).__name__})"

    found = dict(elsewhere)
    wanted: set[str] = set()
    for cell in ran.done:
        of_answers = [of for metric, of in ran.results[cell.name].sums.items() if metric != "kl"]  # of other answers
        own = {prompt_id for of in of_answers for prompt_id in of}
        wanted |= own
        for folder in _answers_behind(cell) if own - found.keys() else []:
            asked = _asked_in(folder)
            found |= {one: told(turns) for one, turns in asked.items() if one in own and one not in found}
    return {one: found.get(one, "no label (no answers to read)") for one in sorted(wanted)}


def labels_elsewhere(config: StudyConfig) -> dict[str, str]:
    """Labels that the study goes on with (launcher.study.report.continued), of the same function and program alone."""
    known = read_json(Path(config.dir).expanduser().absolute() / PUBLISHED).get("labels", {})
    found: dict[str, str] = known.get(function_key(config.strata or ""), {})
    return found


def function_key(function: str) -> str:
    """A function by its name and the contents of its program."""
    return digest([function, *program_digests(function)])


def _answers_behind(cell: Cell) -> list[Path]:
    """Folders of the answers that a cell is measured on; of verdicts, those that were judged."""
    stage = cell.answers
    judged = stage.settings["answers"] if stage.kind.command == ("winrate",) else str(stage.folder)
    return [Path(one) for one in ([judged] if isinstance(judged, str) else judged)]


def _asked_in(folder: Path) -> dict[str, tuple[Message, ...]]:
    """The instructions of a folder of answers, by their ids; none where it is gone or damaged."""
    try:
        return {answer.prompt_id: answer.messages for answer in read_answers(folder)} if is_answers(folder) else {}
    except (ValueError, OSError):
        return {}


def function_of(key: str, name: str) -> Callable[[Item], Any]:
    """The function `module:function` that `key` names. Raises ConfigError, whatever its module raises."""
    module, _, function = name.partition(":")
    try:
        found: Callable[[Item], Any] = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise ConfigError(f"{key} ({name}): {error}; correct the name, or set PYTHONPATH") from error
    return found
