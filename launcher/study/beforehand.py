"""What a study will take, before it runs: cells and stages, time and disk by those that are done; and its power."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jpo_dist.files import read_json
from jpo_dist.statistics.crossed import Variances
from jpo_dist.statistics.power import power, runs_needed
from jpo_dist.study.findings import pilot
from jpo_dist.study.tables import tables
from launcher.config.study import StudyConfig
from launcher.pipeline.process import is_done, was_done
from launcher.pipeline.resolve import Stage
from launcher.show.sections import Section
from launcher.study.cells import Ran, cells, to_do, trials, unique, untuned
from launcher.study.report.chosen import choose, unchosen
from launcher.study.report.collected import found_so_far, kept_of
from launcher.study.reuse import found_in, places_of

if TYPE_CHECKING:
    from launcher.study.foreseen import Foreseen

RUNS = (3, 5, 8, 12)


def dry(config: StudyConfig, source: str) -> Section:
    """Stages to do by name, with the time and disk that those done before took each. Raises ConfigError.

    Cells that are measured need no stage, and what another study has made (`reuse`) is not made again. Settings that
    `tune` has not chosen yet stand at their first values: the numbers of stages are right, their folders are not known
    yet.
    """
    tries = trials(config, source) if config.tune else []
    tried = Ran(tries, kept_of(tries, config))
    chosen = choose(tried, config)[0] if len(tried.results) == len(tries) else {}
    found = cells(config, source, {**untuned(config), **chosen})
    wanted = [*tries, *found]
    measured = kept_of(wanted, config)
    places = places_of(config.reuse)
    unmeasured = [cell for cell in wanted if cell.name not in measured]
    left = to_do(unmeasured, lambda stage: is_done(stage) or found_in(stage, places) is not None)
    by_name: dict[str, list[Stage]] = {}
    for stage in unique(wanted).values():
        by_name.setdefault(stage.name, []).append(stage)
    never = {name for name, stages in by_name.items() if not any(map(was_done, stages))}
    from launcher.study.foreseen import foreseen  # torch and transformers, which nothing else here needs

    planned = foreseen(wanted, {folder: stage for folder, stage in left.items() if stage.name in never})
    takes = [_takes(name, stages, left, planned, config) for name, stages in by_name.items()]
    points = len(found) // (len(config.arms) * len(config.seeds))
    notes = [
        f"{len(wanted) - len(found)} trials and {len(found)} cells ({len(config.arms)} arms x {len(config.seeds)} "
        f"seeds x {points} points); equal stages are done once.",
        *_time_and_disk(takes, never, config),
    ]
    if lost := unchosen(tried, config):
        name, first = next(iter(lost.items()))
        notes.append(f"{len(lost)} cells fail before they run; the first: {name}, {first}.")
    rows = [[one.name, str(one.there), str(one.to_do), one.each_took, one.each_holds] for one in takes]
    return Section("Stages", ["stage", "all", "to do", "each took", "each holds"], rows, notes)


class _Takes(NamedTuple):
    """The stages of one name: how many there are, how many have to run, and what these take."""

    name: str
    there: int
    to_do: int
    each_took: str
    each_holds: str
    seconds: float
    bytes: float
    is_told: bool
    """Whether anything is known of all that have to run."""


def _takes(
    name: str,
    stages: Sequence[Stage],
    left: Mapping[Path, Stage],
    planned: Mapping[Path, "Foreseen"],
    config: StudyConfig,
) -> _Takes:
    to_run = [stage for stage in stages if stage.folder in left]
    done = [stage for stage in stages if was_done(stage)]
    if done:
        seconds = statistics.median(_seconds(stage) for stage in done)
        size = statistics.median(_bytes(stage.folder) for stage in done)
        whole_s, whole_bytes, is_told = len(to_run) * seconds, len(to_run) * size, True
    else:
        told = [planned[stage.folder] for stage in to_run if stage.folder in planned]
        seconds = statistics.median(one.seconds for one in told) if told else 0.0
        size = statistics.median(one.bytes for one in told) if told else 0.0
        # Models are removed behind their answers, so that only some are there at a time.
        at_a_time = len(told) if config.keep_models else min(len(told), config.at_once)
        whole_s, whole_bytes = sum(one.seconds for one in told), at_a_time * size
        is_told = len(told) == len(to_run)
    each = (f"{seconds:,.0f} s", f"{size / 1e6:,.1f} MB") if seconds or size else ("-", "-")
    return _Takes(name, len(stages), len(to_run), *each, whole_s, whole_bytes, is_told)


def _time_and_disk(takes: Sequence[_Takes], never: Collection[str], config: StudyConfig) -> list[str]:
    """What is left all together, and how that is known; and what is not known."""
    notes = []
    reckoned = [one.name for one in takes if one.name in never and one.seconds]
    by = ["the stages of the same name that are done"] if len(never) < len(takes) else []
    by += [f"`jpo plan` ({', '.join(reckoned)}: a floor, without start and evaluation)"] if reckoned else []
    if by:
        hours = sum(one.seconds for one in takes) / config.at_once / 3600
        size = sum(one.bytes for one in takes) / 1e9
        notes.append(f"Left, {config.at_once} at once: {hours:.1f} hours and {size:.1f} GB, by {' and '.join(by)}.")
    if unknown := [one.name for one in takes if not one.is_told]:
        notes.append(f"Time and disk are not known before one of each is done: {', '.join(unknown)}.")
    return notes


def _seconds(stage: Stage) -> float:
    return float(read_json(stage.done_file).get("seconds", 0.0))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def design(config: StudyConfig, source: str, difference: float) -> list[Section]:
    """How many training runs each measured arm would need for a difference, by the spread of the runs there are.

    Raises ConfigError for a study that has not begun, and ValueError without results of two runs.
    """
    results = found_so_far(config, source).collected.results
    metric = config.question.primary
    found = pilot(results, metric)
    rows, notes = [], []
    for (point, arm), told in found.items():
        name = " ".join(filter(None, [arm, point]))
        if isinstance(told, Variances):
            table = tables(results)[point][arm][metric]
            instructions, answers = len(table.counts_QS), round(float(table.counts_QS.mean()))
            rows.append(_designed(name, told, instructions, answers, difference))
        else:
            notes.append(f"{name}: {told}.")
    if not rows:
        raise ValueError(f"--power needs two runs and two answers an instruction; {' '.join(notes)}")
    notes.append(
        f"For a true difference of {difference:g} on {metric} between two such arms, on as many instructions and "
        "answers as measured. tau: standard deviation between training runs, itself an estimate, and a poor one "
        "from few runs."
    )
    head = ["arm", "instructions", "answers each", "tau", *(f"power, {runs} runs" for runs in RUNS), "runs for .80"]
    return [Section("Power", head, rows, notes)]


def _designed(name: str, told: Variances, instructions: int, answers: int, difference: float) -> list[str]:
    chances = [power(told, instructions, runs, answers, difference).power for runs in RUNS]
    needed = runs_needed(told, instructions, answers, difference)
    return [
        name, str(instructions), str(answers), f"{told.between_runs**0.5:.4f}", *(f"{one:.2f}" for one in chances),
        "over 100" if needed is None else str(needed),
    ]  # fmt: skip
