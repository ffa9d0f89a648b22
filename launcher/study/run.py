"""A whole study: what is asked is written down, trials choose settings, cells run, results and report are written."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cluster.signals import ended_by_signals
from jpo_dist.files import read_json, write_json
from jpo_dist.run_dir import CHECKPOINTS, EXPORT, EXPORT_MERGED
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.tables import Result, mean_of, point_of
from launcher.config.pipeline import entry_of
from launcher.config.study import StudyConfig
from launcher.console import out, say
from launcher.pipeline.lacking import accept
from launcher.pipeline.parent import Parent, tell
from launcher.pipeline.process import alone_in
from launcher.pipeline.resolve import Stage
from launcher.show.run_page.descriptions import of_study
from launcher.show.run_page.figures import of_study as figures_of_study
from launcher.show.study.live import LiveTable, Progress
from launcher.study.cells import Cell, Ran, cells, to_do, trials, unique, untuned
from launcher.study.engine import Failure, State, failures, run_cells
from launcher.study.measured import kept, measure
from launcher.study.places import places
from launcher.study.report.chosen import choose, unchosen
from launcher.study.report.collected import ASKED, collect, write
from launcher.study.report.labels import function_of
from launcher.study.report.training import cost
from launcher.study.reuse import take_over, tell_missing
from launcher.study.tracked import REPORT, own_run, track, track_cell, tracked_study


class CellsFailed(RuntimeError):
    """Some cells have no result; the others have, and the report says which."""


class Study(NamedTuple):
    """What a study has come to."""

    folder: Path
    report: dict[str, Any]
    failed: dict[str, Failure]


def run(config: StudyConfig, source: str) -> Study:
    """Run all trials and cells that are not done, and write the report.

    Leaves in `config.dir` question.json (what was asked, and when), results.json, study.json, report.json, report.md,
    report.html, figures, and the folders of all stages; the report is written after each cell. Raises ConfigError
    before anything runs, InUse, and CellsFailed at the end where a cell failed.
    """
    if config.question.checker and config.question.primary != "win":
        function_of("question.checker", config.question.checker)
    if config.strata:
        function_of("strata", config.strata)
    folder = Path(config.dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder) as lock:
        asked = _write_down(config, folder)
        tell_missing(config.reuse)
        with tracked_study(config, folder) as parent:
            failed: dict[str, Failure] = {}
            tried = Ran([], {})
            if config.tune:
                cells(config, source, untuned(config))  # what is wrong with them is told before a trial runs
                tries = trials(config, source)
                found = _run(tries, config, folder, lock, parent, "trials")
                failed |= found.failed
                tried = Ran(tries, found.results)
                failed |= unchosen(tried, config)
            all_cells = cells(config, source, choose(tried, config)[0])

            def written(results: dict[str, Result], new: dict[str, Failure]) -> dict[str, Any]:
                said = {name: failure.last_line for name, failure in {**failed, **new}.items()}
                collected = collect(config, source, asked, tried, Ran(all_cells, results), said)
                write(collected, folder)
                report = collected.report
                tell(*own_run(config, folder), of_study(report, running=True), figures_of_study(report), len(results))
                return report

            found = _run(all_cells, config, folder, lock, parent, "cells", written)
            failed |= found.failed
            report = written(found.results, {})
            write_json(folder / f"{REPORT}.json", report)
            track(config, folder, report)
    if failed:
        name, first = next(iter(failed.items()))
        raise CellsFailed(
            f"{len(failed)} cells failed; the first: {name}, {first}. The same command tries them again; "
            f"{folder}/report.md has the others"
        )
    return Study(folder, report, failed)


def _write_down(config: StudyConfig, folder: Path) -> dict[str, Any]:
    """The question with the time it was first asked, and every change since: what a reader must know of the figures."""
    question = config.question.model_dump(mode="json")
    kept = read_json(folder / ASKED)
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if not kept:
        kept = {"at": now, "question": question, "changes": []}
    elif QuestionConfig(**kept["question"]) != config.question:  # settings that came later were as they are by default
        differs = sorted(name for name in question if question[name] != kept["question"].get(name))
        done = len(list((folder / "cells").glob("*.json")))
        change = {"at": now, "settings": differs, "was": {n: kept["question"].get(n) for n in differs}, "after": done}
        kept = {**kept, "question": question, "changes": [*kept["changes"], change]}
        say(f"question.{differs[0]} was another before; the report says so, with {done} measurements taken by then")
    write_json(folder / ASKED, kept)
    return kept


Written = Callable[[dict[str, Result], dict[str, Failure]], Any]


class _Found(NamedTuple):
    results: dict[str, Result]
    failed: dict[str, Failure]
    seconds: float


def _run(
    wanted: Sequence[Cell],
    config: StudyConfig,
    folder: Path,
    lock: Any,
    parent: Parent,
    what: str,
    written: Written | None = None,
) -> _Found:
    """Run cells and measure each as soon as it is done; `written` is called with all results after each new one.

    What cannot be measured, such as an answer on which the checker raises, fails its own cell alone.
    """
    before = {cell.name: kept(cell, config.question, folder) for cell in wanted}
    results = {name: found for name, found in before.items() if found is not None}
    left = [cell for cell in wanted if cell.name not in results]
    unmeasured: dict[str, Failure] = {}
    started = time.monotonic()

    def told(state: State, ended: Stage | None) -> None:
        before = len(results)
        for cell in left:
            if cell.name not in {*results, *unmeasured} and state.is_done(cell):
                try:
                    results[cell.name] = measure(cell, config.question, folder)
                except (ValueError, OSError) as error:
                    said = " ".join(str(error).split())
                    unmeasured[cell.name] = Failure(cell.answers.name, None, cell.answers.folder, said)
                    say(f"{cell.name}: {unmeasured[cell.name]}")
                    continue
                track_cell(config, cell, results[cell.name], folder, parent)
                _release(cell, [one for one in left if one.name not in results], config)
        if written and len(results) > before:
            written(results, failures(state, wanted) | unmeasured)
        event = "" if ended is None else f"{ended.name} {state.said_of(ended)} ({ended.folder.name})"
        stages = f"stages: {len(state.done)} of {len(state.stages)}, {time.monotonic() - started:.0f} s"
        live.tell(event, _progress(wanted, results, failures(state, wanted) | unmeasured, config), stages)

    def tags(stage: Stage) -> dict[str, Any]:
        return {"jpo.study": config.name, "jpo.stage": stage.name, "jpo.key": stage.key}

    take_over(unique(left).values(), config.reuse)
    for stage in to_do(left).values():
        accept(stage, config.max_failed)
    live = LiveTable(out, what, config.question.primary)
    with ended_by_signals(), live, places(config.at_once, config.cluster if left else None, lock) as where:
        state = run_cells(left, where, tags, told, config.max_failed)
    return _Found(results, failures(state, wanted) | unmeasured, round(time.monotonic() - started, 1))


def _release(cell: Cell, left: Sequence[Cell], config: StudyConfig) -> None:
    """Remove the models that were trained for a measured cell alone, unless they are to be kept: a study trains more of
    them than disks hold. Its answers stay."""
    if config.keep_models:
        return
    shared = {entry_of(stage, at).name for at, stage in enumerate(config.stages)}
    needed = unique(left)
    for stage in cell.stages:
        if stage.kind.trains and stage.name not in shared and stage.folder not in needed:
            for name in (EXPORT, EXPORT_MERGED, CHECKPOINTS):
                shutil.rmtree(stage.folder / name, ignore_errors=True)


def _progress(
    wanted: Sequence[Cell], results: Mapping[str, Result], failed: Mapping[str, Failure], config: StudyConfig
) -> list[Progress]:
    """How far each arm is, at each point of the grid."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in wanted:
        found.setdefault((point_of(cell.values), cell.arm), []).append(cell)
    made = []
    for (point, arm), of in found.items():
        done = [cell for cell in of if cell.name in results]
        value, _ = mean_of((results[cell.name] for cell in done), config.question.primary)
        failures_of = sum(cell.name in failed for cell in of)
        made.append(Progress(arm, point, len(done), failures_of, len(of), cost(done, {})["seconds"], value))
    return made
