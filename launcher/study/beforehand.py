"""What a study will take, before it runs: cells and stages, time and disk by those that are done; and its power."""

import statistics
from pathlib import Path

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
    rows, left_s, left_bytes, unknown = [], 0.0, 0.0, []
    for name, stages in by_name.items():
        done = [stage for stage in stages if was_done(stage)]
        count = sum(stage.folder in left for stage in stages)
        seconds = statistics.median(_seconds(stage) for stage in done) if done else None
        size = statistics.median(_bytes(stage.folder) for stage in done) if done else None
        if count and (seconds is None or size is None):
            unknown.append(name)
        left_s += count * (seconds or 0)
        left_bytes += count * (size or 0)
        rows.append([
            name, str(len(stages)), str(count), "-" if seconds is None else f"{seconds:.0f} s",
            "-" if size is None else f"{size / 1e6:.1f} MB",
        ])  # fmt: skip
    points = len(found) // (len(config.arms) * len(config.seeds))
    notes = [
        f"{len(wanted) - len(found)} trials and {len(found)} cells ({len(config.arms)} arms x {len(config.seeds)} "
        f"seeds x {points} points); equal stages are done once.",
    ]
    if len(unknown) < len(by_name):
        hours = left_s / config.at_once / 3600
        notes.append(
            f"Left, {config.at_once} at once: {hours:.1f} hours and {left_bytes / 1e9:.1f} GB, by the stages of the "
            "same name that are done."
        )
    if lost := unchosen(tried, config):
        name, first = next(iter(lost.items()))
        notes.append(f"{len(lost)} cells fail before they run; the first: {name}, {first}.")
    if unknown:
        notes.append(
            f"Time and disk are not known before one of each is done: {', '.join(unknown)}. `jpo plan` estimates a "
            "training."
        )
    return Section("Stages", ["stage", "all", "to do", "each took", "each holds"], rows, notes)


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
