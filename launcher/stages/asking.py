"""What the commands that ask a judge or a model share: where tasks run, the lock of a folder, words on what is left."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from cluster.config import ClusterConfig
from jpo_dist.distributed.waiting import working
from jpo_dist.fan_out import Spread, here
from jpo_dist.judge.config import JudgingConfig

log = logging.getLogger(__name__)


class Incomplete(RuntimeError):
    """Some candidates were not asked; what was judged is written."""


def spread_of(kind: str, cluster: ClusterConfig) -> tuple[Spread, int]:
    """How shards are run, and how many at a time: Ray tasks, or this process with cluster.workers=0."""
    workers = cluster.most
    if workers == 0:
        if kind == "reward_model":
            import torch

            from cluster.environment import threads

            torch.set_num_threads(threads(cluster))  # as in a task: it changes the last bits of scores
        return here, 1
    return partial(by_ray, cluster=cluster), workers


def by_ray(
    entry: Callable[[dict[str, Any]], dict[str, Any]], payloads: list[dict[str, Any]], cluster: ClusterConfig
) -> list[dict[str, Any]]:
    """The results of `entry` for each payload, as Ray tasks: a Spread once it is given its cluster."""
    from cluster.tasks import run_tasks

    with working(f"{len(payloads)} tasks on Ray"):
        return run_tasks(entry, payloads, cluster)


def say_what_is_left(left: dict[str, int], total: int, config: JudgingConfig, output: str, reasons: str) -> None:
    """Warn of candidates without a verdict, `left` by outcome. Raises Incomplete where the budget ended it."""
    for outcome, count in left.items():
        log.warning("%d of %d candidates: %s", count, total, outcome)
    if "failed" in left:
        log.warning("the same command asks the %d failed ones again; %s has the reasons", left["failed"], reasons)
    if "not asked" in left:
        raise Incomplete(
            f"{left['not asked']} of {total} candidates are not asked: the budget is used up "
            f"({_limits(config)}). What was judged is in {output}. To go on, raise the limit and run the same "
            "command: no answered question is asked again"
        )


def _limits(config: JudgingConfig) -> str:
    set_ones = {name: limit for name, limit in config.budget.model_dump().items() if limit is not None}
    return ", ".join(f"budget.{name}={limit:g}" for name, limit in set_ones.items())
