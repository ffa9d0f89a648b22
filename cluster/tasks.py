"""Plain functions over a cluster, as Ray tasks: for work without ranks, such as judging."""

import importlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from cluster import environment, resources
from cluster.config import ClusterConfig
from cluster.connection import connected, nodes, workers_now
from cluster.errors import ClusterError, ResourceError, WorkerError
from cluster.ray_train import importable_name
from cluster.secrets import load_secrets
from cluster.signals import ended_by_signals

logger = logging.getLogger(__name__)

LOOK_S = 5.0
"""How often to look whether a host is left while no task ends."""

Task = Callable[[dict[str, Any]], dict[str, Any]]


def run_tasks(entry: Task, payloads: list[dict[str, Any]], config: ClusterConfig) -> list[dict[str, Any]]:
    """The results of `entry(payload)` for each payload, in their order; up to `config.workers` run at a time.

    `entry` is a top-level function of a module that every node can import; a lost task is started again, so it must
    do no harm when it runs twice. Raises WorkerError with the error of the first task that failed, and ends the
    others then; ResourceError when the cluster has no room for a single task within `config.start_timeout_s`, at the
    start or later; ClusterError when Ray cannot be reached or a task is lost for good. No secrets in payloads.
    """
    results: dict[int, dict[str, Any]] = {}
    with started_one_by_one(entry, config) as tasks:
        for payload in payloads:
            tasks.start(payload)
        # After an error, leaving the cluster is what ends the other tasks. `ray.cancel` would race with their results:
        # one that arrives at that moment kills the driver ("it != submissible_tasks_.end()", seen with Ray 2.60).
        while len(results) < len(payloads):
            results |= dict(tasks.ended(None))
    return [results[number] for number in range(len(payloads))]


class Tasks:
    """Tasks of one function that are started one by one, and looked after together."""

    def __init__(self, remote: Any, name: str, config: ClusterConfig) -> None:
        self._remote, self._name, self._config = remote, name, config
        self._waiting: dict[Any, int] = {}
        self._count = 0
        self._no_room_since: float | None = None

    def start(self, payload: dict[str, Any]) -> int:
        """Start a task as soon as there is room for it. Returns its number, from 0."""
        number, self._count = self._count, self._count + 1
        self._waiting[self._remote.remote(self._name, number, payload, self._config.secrets)] = number
        return number

    def ended(self, timeout_s: float | None) -> list[tuple[int, dict[str, Any]]]:
        """Number and result of one that has ended, in a list; of none after `timeout_s`, or where none runs. None:
        wait for ever.

        Raises what run_tasks raises for a task that failed, and ResourceError where no host could run one for
        `config.start_timeout_s`.
        """
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while self._waiting:
            left = max(0.0, until - time.monotonic())
            done, _ = ray.wait(list(self._waiting), num_returns=1, timeout=min(LOOK_S, left))
            if done:
                self._no_room_since = None
                return [(self._waiting.pop(reference), _get(reference)) for reference in done]
            self._look_for_a_host()
            if left <= LOOK_S:
                break
        return []

    def _look_for_a_host(self) -> None:
        """Ray would let tasks wait for ever, and say nothing, where every host that could run one is gone."""
        one, there, now = self._config.of(1), nodes(), time.monotonic()
        if resources.capacity(there, one):
            self._no_room_since = None
            return
        if self._no_room_since is None:
            self._no_room_since = now
            said = resources.shortage(there, one, 0.0)
            logger.warning(
                "no host is left that could run a task: waiting %.0f s for one: %s", one.start_timeout_s, said
            )
        elif now - self._no_room_since > one.start_timeout_s:
            raise ResourceError(resources.shortage(there, one, now - self._no_room_since))


@contextmanager
def started_one_by_one(entry: Task, config: ClusterConfig) -> Iterator[Tasks]:
    """Inside, tasks of `entry` can be started on the cluster; what still runs at the end is ended.

    Raises ResourceError and ClusterError as run_tasks does.
    """
    name = importable_name(entry)
    worker_env = environment.worker_env(config, os.environ)
    settings = environment.environment(environment.ray_settings(config))
    with settings, ended_by_signals() as take_signals, connected(config):
        take_signals()  # Ray has put its own handlers
        workers_now(config.of(1))  # Ray would let the tasks wait for ever, and say nothing
        remote = ray.remote(
            num_cpus=config.cpus_per_worker, num_gpus=config.gpus_per_worker, max_retries=config.max_failures
        )(_run)
        remote = remote.options(runtime_env={"env_vars": worker_env}, scheduling_strategy=_strategy(config))
        yield Tasks(remote, name, config)


def _strategy(config: ClusterConfig) -> str:
    return "SPREAD" if "SPREAD" in config.placement else "DEFAULT"


def _get(reference: Any) -> dict[str, Any]:
    try:
        return dict(ray.get(reference))
    except RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, WorkerError) else WorkerError.of(0, cause or error)) from None
    except RayError as error:
        raise ClusterError(f"a task was lost: {type(error).__name__}: {str(error)[:1000]}; run again") from None


def _run(name: str, number: int, payload: dict[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    """Run one task, inside its worker. Errors leave it as text: the exception object may not pickle."""
    module, _, function = name.partition(":")
    try:
        load_secrets(secrets)
        result = getattr(importlib.import_module(module), function)(payload)
    except Exception as error:
        raise WorkerError.of(number, error) from None
    return dict(result)
