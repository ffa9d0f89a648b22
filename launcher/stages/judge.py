"""`jpo judge`: read the candidates, ask the judge, write comparisons, report and page."""

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cluster.config import ClusterConfig
from jpo_dist.config.load import flatten
from jpo_dist.data.read import read_candidates
from jpo_dist.fan_out import Spread, here
from jpo_dist.judge import report as judge_report
from jpo_dist.judge.config import JudgeConfig
from jpo_dist.judge.judging import judge, left_over, write
from jpo_dist.judge.verdict import Candidate, Judged
from launcher.config.kinds import JudgeRunConfig
from launcher.config.run_paths import refuse_lost
from launcher.show import judge_page

log = logging.getLogger(__name__)


class Incomplete(RuntimeError):
    """Some candidates were not asked; what was judged is written."""


class InUse(RuntimeError):
    """Another judge works in the output folder."""


def run(config: JudgeRunConfig) -> dict[str, Any]:
    """Judge, write, track. Returns the report.

    Leaves in `config.output` a ComparisonSet (decided comparisons and ties, report.json), judged.jsonl (a line a
    candidate), report.html, run.json (what this run did) and answers/. Raises Incomplete when the budget ended it,
    ConfigError for a relative output in a Ray job: the answers are paid for.
    """
    refuse_lost("output", config.output)
    folder = Path(config.output).expanduser().absolute()
    found, reading = read_candidates(config.candidates, on_bad_row=config.on_bad_row)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        spread, tasks = _spread(config)
        settings = JudgeConfig.model_validate(config.model_dump(exclude={"cluster"}))
        judged, report = judge([Candidate(*one) for one in found], settings, folder, spread, tasks)
        report = report | {"reading": reading.as_dict()}
        write(judged, report, folder)
        judge_page.write_page(report, folder / "report.html")
        _track(config, report, folder)
    _say_what_is_left(config, judged)
    return report


def _spread(config: JudgeRunConfig) -> tuple[Spread, int]:
    workers = config.cluster.most
    if workers == 0:
        if config.kind == "reward_model":
            import torch

            from cluster.environment import threads

            torch.set_num_threads(threads(config.cluster))  # as in a task: it changes the last bits of scores
        return here, 1
    return partial(_by_ray, cluster=config.cluster), workers


def _by_ray(
    entry: Callable[[dict[str, Any]], dict[str, Any]], payloads: list[dict[str, Any]], cluster: ClusterConfig
) -> list[dict[str, Any]]:
    from cluster.tasks import run_tasks

    env = {name: os.environ[name] for name in ("JPO_CACHE",) if name in os.environ}
    return run_tasks(entry, payloads, cluster, env)


def _alone_in(folder: Path) -> Any:
    """Two runs in one folder would ask the same questions twice. The lock goes with the process, kill -9 included."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        raise InUse(f"output ({folder}) is in use by another judge; wait for its end, or name another folder") from None


def _track(config: JudgeRunConfig, report: dict[str, Any], folder: Path) -> None:
    if config.tracking.uri in (None, "none"):
        return
    from jpo_dist.tracking.finished_run import log_report

    params = flatten(config.model_dump(mode="json"))
    figures = judge_page.write_figures(report, folder / "mlflow" / "figures")
    files = [folder / "report.html", folder / "report.json", *figures]
    log_report(config.tracking, folder / "mlflow", config.name, params, judge_report.metrics(report), files)


def _say_what_is_left(config: JudgeRunConfig, judged: list[Judged]) -> None:
    left = left_over(judged)
    for outcome, count in left.items():
        log.warning("%d of %d candidates: %s", count, len(judged), outcome)
    if "failed" in left:
        log.warning("the same command asks the %d failed ones again; judged.jsonl has the reasons", left["failed"])
    if "not asked" in left:
        raise Incomplete(
            f"{left['not asked']} of {len(judged)} candidates are not asked: the budget is used up "
            f"({_limits(config)}). What was judged is in {config.output}. To go on, raise the limit and run the same "
            "command: no answered question is asked again"
        )


def _limits(config: JudgeRunConfig) -> str:
    set_ones = {name: limit for name, limit in config.budget.model_dump().items() if limit is not None}
    return ", ".join(f"budget.{name}={limit:g}" for name, limit in set_ones.items())
