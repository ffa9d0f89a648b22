"""A whole study: what is asked is written down, trials choose settings, cells run, results and report are written."""

import re
import shutil
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.files import read_json, write_json
from jpo_dist.run_dir import CHECKPOINTS, EXPORT, EXPORT_MERGED, RUN
from jpo_dist.study.findings import Result, findings, tables
from jpo_dist.tracking.finished_run import log_report
from jpo_dist.tracking.writer import Writer
from launcher.config.pipeline import entry_of
from launcher.config.study import StudyConfig
from launcher.console import say
from launcher.pipeline.parent import own_tracking, tracked
from launcher.pipeline.process import alone_in
from launcher.pipeline.resolve import Stage
from launcher.show import study as show
from launcher.study.cells import Cell, cells, trials, unique
from launcher.study.engine import Failure, State, run_cells
from launcher.study.measured import kept, measure, write_results

ASKED, REPORT = "question.json", "report"


class CellsFailed(RuntimeError):
    """Some cells have no result; the others have, and the report says which."""


class Study(NamedTuple):
    """What a study has come to."""

    folder: Path
    report: dict[str, Any]
    failed: dict[str, Failure]


def run(config: StudyConfig, source: str) -> Study:
    """Run all trials and cells that are not done, and write the report.

    Leaves in `config.dir` question.json (what was asked, and when), results.json, report.json, report.md, report.html,
    figures, and the folders of all stages. Raises ConfigError before anything runs, InUse, and CellsFailed at the end
    where a cell failed.
    """
    folder = Path(config.dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder) as lock:
        asked = _write_down(config, folder)
        with _tracked(config, folder) as parent:
            failed: dict[str, Failure] = {}
            chosen: dict[str, dict[str, Any]] = {}
            tried: list[dict[str, Any]] = []
            if config.tune:
                tries = trials(config, source)
                found = _run(tries, config, folder, lock, parent, "trials")
                failed |= found.failed
                chosen, tried = _chosen(tries, found.results, config)
            all_cells = cells(config, source, chosen)
            found = _run(all_cells, config, folder, lock, parent, "cells")
            failed |= found.failed
            measured_cells = [cell for cell in all_cells if cell.name in found.results]
            results = [found.results[cell.name] for cell in measured_cells]
            write_results(results, measured_cells, folder)
            report = {
                "study": config.name,
                "asked": asked,
                **findings(results, config.question),
                "tuned": tried,
                "failed": {name: failure.last_line for name, failure in failed.items()},
                "seconds": found.seconds,
            }
            _write_report(report, config, folder)
            _track(config, report, folder)
    if failed:
        name, first = next(iter(failed.items()))
        raise CellsFailed(
            f"{len(failed)} cells failed; the first: {name}, in stage {first.stage} with exit code {first.code}: "
            f"{first.last_line} (all of it: {first.log}). The same command tries them again; {folder}/report.md has "
            "the others"
        )
    return Study(folder, report, failed)


def _write_down(config: StudyConfig, folder: Path) -> dict[str, Any]:
    """The question with the time it was first asked, and every change since: what a reader must know of the figures."""
    question = config.question.model_dump(mode="json")
    kept = read_json(folder / ASKED)
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if not kept:
        kept = {"at": now, "question": question, "changes": []}
    elif kept["question"] != question:
        differs = sorted(name for name in question if question[name] != kept["question"].get(name))
        done = len(list((folder / "cells").glob("*.json")))
        change = {"at": now, "settings": differs, "was": {n: kept["question"].get(n) for n in differs}, "after": done}
        kept = {**kept, "question": question, "changes": [*kept["changes"], change]}
        say(f"question.{differs[0]} was another before; the report says so, with {done} measurements taken by then")
    write_json(folder / ASKED, kept)
    return kept


class _Found(NamedTuple):
    results: dict[str, Result]
    failed: dict[str, Failure]
    seconds: float


def _run(wanted: Sequence[Cell], config: StudyConfig, folder: Path, lock: Any, parent: str | None, what: str) -> _Found:
    """Run cells and measure each as soon as it is done."""
    before = {cell.name: kept(cell, config.question, folder) for cell in wanted}
    results = {name: found for name, found in before.items() if found is not None}
    left = [cell for cell in wanted if cell.name not in results]
    started = time.monotonic()

    def told(state: State, ended: Stage | None) -> None:
        for cell in left:
            if cell.name not in results and state.is_done(cell):
                results[cell.name] = measure(cell, config.question, folder)
                _track_cell(config, cell, results[cell.name], folder, parent)
                _release(cell, [one for one in left if one.name not in results], config)
        failing = sum(state.failure_of(cell) is not None for cell in wanted)
        so_far = _so_far(list(results.values()), config)
        if ended is not None:
            word = "failed" if ended.folder in state.failed else "done"
            say(f"{ended.name} {word} ({ended.folder.name})")
        say(f"{what}: {len(results)} of {len(wanted)} done, {failing} failed, stages: {len(state.done)} of "
            f"{len(state.stages)}, {time.monotonic() - started:.0f} s{so_far}")  # fmt: skip

    def tags(stage: Stage) -> dict[str, Any]:
        return {"jpo.study": config.name, "jpo.stage": stage.name, "jpo.key": stage.key}

    state = run_cells(left, config.at_once, lock, tags, told)
    failed = {cell.name: failure for cell in wanted if (failure := state.failure_of(cell))}
    return _Found(results, failed, round(time.monotonic() - started, 1))


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


def _so_far(results: list[Result], config: StudyConfig) -> str:
    """The primary metric of each arm over its runs so far."""
    found = []
    for point, arms in tables(results).items():
        for arm, of in arms.items():
            table = of.get(config.question.primary)
            if table is not None and table.counts_QS.sum():
                value = table.values_QS.sum() / table.counts_QS.sum()
                found.append(f"{arm}{f' {point}' if point else ''} {value:.3f} ({len(table.seeds)})")
    return f"; {config.question.primary} so far: {', '.join(found)}" if found else ""


def _chosen(
    tries: Sequence[Cell], results: dict[str, Result], config: StudyConfig
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """By arm the settings of the trial with the highest primary metric, the first of equal ones; and all trials."""
    best: dict[str, tuple[float, dict[str, Any]]] = {}
    tried = []
    for cell in tries:
        if cell.name not in results:
            continue
        cells_of = results[cell.name].sums.get(config.question.primary, {}).values()
        count = sum(one[2] for one in cells_of)
        value = sum(one[0] for one in cells_of) / count if count else float("-inf")
        tried.append({"arm": cell.arm, "settings": cell.settings, "value": value, "answers": count})
        if cell.arm not in best or value > best[cell.arm][0]:
            best[cell.arm] = (value, cell.settings)
    return {arm: settings for arm, (_, settings) in best.items()}, tried


def _write_report(report: dict[str, Any], config: StudyConfig, folder: Path) -> None:
    write_json(folder / f"{REPORT}.json", report)
    show.write(report, folder)


# ---- MLflow


def _tracked(config: StudyConfig, folder: Path) -> AbstractContextManager[str | None]:
    """Around the cells: the study's own MLflow run."""
    own = RunSection(dir=str(folder / "study"), name=config.name)
    params = {"arms": ", ".join(config.arms), "primary": config.question.primary}
    return tracked(_own_tracking(config, folder), own, params)


def _own_tracking(config: StudyConfig, folder: Path) -> TrackingConfig:
    return own_tracking(config.tracking.model_dump(mode="json", exclude_unset=True), folder)


def _track_cell(config: StudyConfig, cell: Cell, result: Result, folder: Path, parent: str | None) -> None:
    """The cell's own MLflow run, a child of the study's: every parameter of its place on it, and its figures."""
    place = folder / "cells" / f"{cell.answers.folder.name}.mlflow"
    if (place / RUN).is_file():  # of an earlier start
        return
    metrics: dict[str, float] = {}
    for metric, of in result.sums.items():
        count = sum(one[2] for one in of.values())
        metrics |= {metric: sum(one[0] for one in of.values()) / count, f"{metric}/answers": count} if count else {}
    params = {"arm": cell.arm, **cell.values, **cell.settings, **{f"key.{s.name}": s.key for s in cell.stages}}
    tags = {"jpo.study": config.name, **({"mlflow.parentRunId": parent} if parent else {})}
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", cell.name)[:64]  # what a run may be called
    log_report(_own_tracking(config, folder), place, name, params, metrics, [], tags=tags)


def _track(config: StudyConfig, report: dict[str, Any], folder: Path) -> None:
    """The report's pages and figures as files of the study's run, before its status is set."""
    tracking, own = _own_tracking(config, folder), RunSection(dir=str(folder / "study"), name=config.name)
    writer = Writer(tracking, own)
    for name in ("report.md", "report.html", "report.json", "arms.png", "curve.png", "question.json"):
        if (folder / name).is_file():
            writer.log_artifact(folder / name)
    writer.close(60)
