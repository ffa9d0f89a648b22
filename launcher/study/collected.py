"""What a study has come to, at any moment: results of the cells that are done, and what its report tells beside."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.config.explain import ConfigError
from jpo_dist.files import read_json, write_json
from jpo_dist.generate.answers import is_answers, read_answers
from jpo_dist.records.comparisons import Item, Message
from jpo_dist.study.findings import findings
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.results import read_results, write_results
from jpo_dist.study.tables import Result, mean_of
from launcher.config.study import StudyConfig
from launcher.show.study import page
from launcher.study.cells import Cell, cells, trials
from launcher.study.measured import kept
from launcher.study.training import cost, curves, last_of, one_draw, sets

ASKED, RESULTS, ABOUT, PAGE = "question.json", "results.json", "study.json", "README.md"


class Ran(NamedTuple):
    """Cells, and the results of those that are done, by name."""

    cells: list[Cell]
    results: Mapping[str, Result]

    @property
    def done(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.name in self.results]


class Collected(NamedTuple):
    """The cells that are done with their results, and what is known of the study beside them."""

    results: list[Result]
    settings: list[dict[str, Any]]
    """What was chosen for each cell before it ran."""
    strata: dict[str, str]
    about: dict[str, Any]
    """The contents of study.json."""

    @property
    def report(self) -> dict[str, Any]:
        """All figures of the report."""
        return report_of(self.results, self.strata, self.about)


def report_of(results: Sequence[Result], strata: Mapping[str, str], about: Mapping[str, Any]) -> dict[str, Any]:
    """All figures of a report: findings of the results, and what study.json says beside them."""
    return {**about, **findings(results, QuestionConfig(**about["asked"]["question"]), strata)}


def found_so_far(config: StudyConfig, source: str) -> Collected:
    """What is done of a study, whoever is running it. Runs and changes nothing.

    Raises ConfigError, also for a study that has not begun.
    """
    folder = Path(config.dir).expanduser().absolute()
    asked = read_json(folder / ASKED)
    if not asked:
        raise ConfigError(f"dir ({config.dir}): no study has begun there; run it with jpo study {source}")
    tried = Ran([], {})
    if config.tune:
        tries = trials(config, source)
        tried = Ran(tries, kept_of(tries, config))
    wanted = cells(config, source, choose(tried, config)[0])
    return collect(config, source, asked, tried, Ran(wanted, kept_of(wanted, config)), {})


def kept_of(wanted: Sequence[Cell], config: StudyConfig) -> dict[str, Result]:
    """What the cells came to that are measured, by name."""
    folder = Path(config.dir).expanduser().absolute()
    found = {cell.name: kept(cell, config.question, folder) for cell in wanted}
    return {name: result for name, result in found.items() if result is not None}


def publish(config: StudyConfig, source: str, folder: Path) -> Collected:
    """Write what is done of a study to `folder` as it is committed: README.md with its figures, results.json and
    study.json. Text in `folder`/reading.md stands in the page after the answer. Raises what found_so_far raises."""
    found = found_so_far(config, source)
    write(found, folder, PAGE, also_html=False)
    return found


def collect(
    config: StudyConfig,
    source: str,
    asked: dict[str, Any],
    tried: Ran,
    ran: Ran,
    failed: Mapping[str, str],
) -> Collected:
    """The cells of `ran` that have a result, in their order, and what the report says beside them; `tried`: those of
    `tune`."""
    done = ran.done
    points = 1
    for values in config.grid.values():
        points *= len(values)
    about = {
        "study": config.name,
        "config": source if not Path(source).is_absolute() else Path(source).name,
        "asked": asked,
        "planned": {
            "arms": list(config.arms),
            "seeds": list(config.seeds),
            "points": points,
            "cells": len(config.arms) * len(config.seeds) * points,
        },
        "tuned": choose(tried, config)[1],
        "failed": dict(failed),
        "sets": sets(done),
        "one_draw": one_draw(done),
        "curves": curves(done),
        "cost": cost([*tried.done, *done]),
    }
    strata = labels(config.strata, done) if config.strata else {}
    return Collected([ran.results[cell.name] for cell in done], [cell.settings for cell in done], strata, about)


def labels(function: str, done: Sequence[Cell]) -> dict[str, str]:
    """The label of each instruction that was answered, by its id; `no label (ERROR)` where the function raises.

    Raises ConfigError for a function that is none.
    """
    label = function_of("strata", function)

    def told(turns: tuple[Message, ...]) -> str:
        try:
            return str(label(Item(turns, "")))
        except Exception as error:  # whatever a function of the user raises
            return f"no label ({type(error).__name__})"

    for cell in done:
        if is_answers(cell.answers.folder):
            found = {answer.prompt_id: answer.messages for answer in read_answers(cell.answers.folder)}
            return {prompt_id: told(turns) for prompt_id, turns in found.items()}
    return {}


def function_of(key: str, name: str) -> Callable[[Item], Any]:
    """The function `module:function` that `key` names. Raises ConfigError, whatever its module raises."""
    module, _, function = name.partition(":")
    try:
        found: Callable[[Item], Any] = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise ConfigError(f"{key} ({name}): {error}; correct the name, or set PYTHONPATH") from error
    return found


def choose(tried: Ran, config: StudyConfig) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """By arm the settings of the trial with the highest primary metric, or whose `tune.match` is nearest, the first of
    equal ones; and all trials."""
    match = config.tune.match if config.tune else None
    best: dict[str, tuple[float, dict[str, Any]]] = {}
    told = []
    for cell in tried.done:
        mean, count = mean_of([tried.results[cell.name]], config.question.primary)
        value = float("-inf") if mean is None else mean
        row: dict[str, Any] = {"arm": cell.arm, "settings": cell.settings, "value": value, "answers": count}
        if match is not None:
            reached = last_of(cell, match.metric)
            row |= {"metric": match.metric, "reached": reached, "aim": match.value}
            value = float("-inf") if reached is None else -abs(reached - match.value)
        told.append(row)
        if cell.arm not in best or value > best[cell.arm][0]:
            best[cell.arm] = (value, cell.settings)
    chosen = {arm: settings for arm, (_, settings) in best.items()}
    for row in told:
        row["chosen"] = row["settings"] == chosen[row["arm"]]
    return chosen, told


def write(found: Collected, folder: Path, name: str = "report.md", also_html: bool = True) -> list[Path]:
    """Write results.json, study.json, the page `name` and its figures, and report.html where wanted. Returns the files
    of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    write_results(found.results, found.settings, found.strata, folder / RESULTS)
    write_json(folder / ABOUT, found.about)
    return page.write(report_in(folder), folder, name, also_html)


def report_in(folder: Path) -> dict[str, Any]:
    """The report of the results.json and study.json in a folder: nothing else is needed to write its page again.

    Raises ValueError where they are not there.
    """
    about = read_json(folder / ABOUT)
    if not about:
        raise ValueError(f"{folder} has no {ABOUT}: it is no folder of jpo study; name one")
    found = read_results(folder / RESULTS)
    return report_of(found.results, found.strata, about)
