"""What a study has come to, at any moment: results of the cells that are done, and what its report tells beside."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.config.explain import ConfigError
from jpo_dist.files import read_json, write_json
from jpo_dist.study.findings import findings
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.results import read_results, write_results
from jpo_dist.study.tables import Result
from launcher.config.study import StudyConfig
from launcher.show.study import page
from launcher.study.cells import Cell, Ran, cells, trials
from launcher.study.measured import kept
from launcher.study.report.chosen import choose, unchosen
from launcher.study.report.labels import labels, labels_elsewhere
from launcher.study.report.sets import sets
from launcher.study.report.told import published_in
from launcher.study.report.training import codes, cost, curves, dtypes, one_draw

ASKED, RESULTS, ABOUT, PAGE = "question.json", "results.json", "study.json", "README.md"


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
    question = QuestionConfig(**about["asked"]["question"])
    return {**about, **findings(results, question, strata, about["planned"].get("grid"))}


class Found(NamedTuple):
    """What is done of a study, and the cells behind it."""

    collected: Collected
    tried: Ran
    ran: Ran


def found_so_far(config: StudyConfig, source: str) -> Found:
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
    failed = {name: failure.last_line for name, failure in unchosen(tried, config).items()}
    ran = Ran(wanted, kept_of(wanted, config))
    return Found(collect(config, source, asked, tried, ran, failed), tried, ran)


def kept_of(wanted: Sequence[Cell], config: StudyConfig) -> dict[str, Result]:
    """What the cells came to that are measured, by name."""
    folder = Path(config.dir).expanduser().absolute()
    found = {cell.name: kept(cell, config.question, folder) for cell in wanted}
    return {name: result for name, result in found.items() if result is not None}


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
    done, published = ran.done, published_in(config)
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
            "grid": {name: list(values) for name, values in config.grid.items()},
            "points": points,
            "cells": len(config.arms) * len(config.seeds) * points,
        },
        "tuned": choose(tried, config)[1],
        "failed": dict(failed),
        "sets": sets(done, ran.cells, published),
        "one_draw": one_draw(done),
        "curves": curves(done, published),
        "cost": cost([*tried.done, *done], published),
        "codes": codes([*tried.done, *done], published),
        "dtypes": dtypes(done, published),
    }
    strata = labels(config.strata, ran, labels_elsewhere(config)) if config.strata else {}
    return Collected([ran.results[cell.name] for cell in done], [cell.settings for cell in done], strata, about)


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
