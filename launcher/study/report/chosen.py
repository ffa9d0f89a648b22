"""What `tune` has found: by arm the settings of its best trial, and of an arm without one why its cells fail."""

import math
from collections.abc import Sequence
from typing import Any

from jpo_dist.study.tables import mean_of
from launcher.config.study import StudyConfig
from launcher.study.cells import Cell, Ran, cell_name, grid_of
from launcher.study.engine import Failure
from launcher.study.report.told import published_in
from launcher.study.report.training import last_training, metrics_at_the_end

Chosen = dict[str, dict[str, Any]]


def choose(tried: Ran, config: StudyConfig) -> tuple[Chosen, list[dict[str, Any]]]:
    """By arm the settings of the trial with the highest primary metric, or whose `tune.match` is nearest, the first of
    equal ones; and all trials.

    A trial without a finite value of that metric is never chosen: an arm of which all are such has no settings, unless
    there is nothing to choose for it.
    """
    match = config.tune.match if config.tune else None
    chosen: Chosen = {}
    best: dict[str, float] = {}
    told, published = [], published_in(config)
    for cell in tried.done:
        mean, count = mean_of([tried.results[cell.name]], config.question.primary)
        value = _finite(mean)
        row: dict[str, Any] = {"arm": cell.arm, "settings": cell.settings, "value": value, "answers": count}
        if match is not None:
            reached = _finite(metrics_at_the_end(cell, published).get(match.metric))
            row |= {"metric": match.metric, "reached": reached, "aim": match.value}
            value = None if reached is None else -abs(reached - match.value)
        told.append(row)
        if not cell.settings:
            chosen[cell.arm] = {}
        elif value is not None and value > best.get(cell.arm, -math.inf):
            best[cell.arm], chosen[cell.arm] = value, cell.settings
    for row in told:
        row["chosen"] = row["settings"] == chosen.get(row["arm"])
    return chosen, told


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def unchosen(tried: Ran, config: StudyConfig) -> dict[str, Failure]:
    """The failures of the cells of each arm whose trials are all done, and none of which has a value to choose by."""
    chosen, _ = choose(tried, config)
    made: dict[str, Failure] = {}
    for arm in dict.fromkeys(cell.arm for cell in tried.cells):
        of_arm = [cell for cell in tried.cells if cell.arm == arm]
        if arm not in chosen and all(cell.name in tried.results for cell in of_arm):
            failure = _without_value(of_arm, tried, config)
            made |= {cell_name(arm, values): failure for values in grid_of(config)}
    return made


def _without_value(trials: Sequence[Cell], tried: Ran, config: StudyConfig) -> Failure:
    """That no trial has a value of the metric that decides, and which metrics they have."""
    match, first = config.tune.match if config.tune else None, trials[0]
    if match is not None:
        published = published_in(config)
        there = sorted({name for cell in trials for name in metrics_at_the_end(cell, published)})
        what = f"tune.match.metric ({match.metric}) has a finite value in no step of"
        stage = last_training(first) or first.answers
    else:
        there = sorted({name for cell in trials for name in tried.results[cell.name].sums})
        what = f"question.primary ({config.question.primary}) has a value in no answer of"
        stage = first.answers
    said = f"{what} the {len(trials)} trials of {first.arm}, so none is chosen; there are: {', '.join(there) or 'none'}"
    return Failure(stage.name, None, stage.folder, said)
