"""Plain functions over a cluster, as Ray tasks: for work without ranks, such as judging."""

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from cluster import environment
from cluster.config import ClusterConfig
from cluster.connection import connected, workers_now
from cluster.errors import ClusterError, WorkerError
from cluster.ray_train import importable_name
from cluster.secrets import load_secrets

Task = Callable[[dict[str, Any]], dict[str, Any]]


def run_tasks(
    entry: Task, payloads: list[dict[str, Any]], config: ClusterConfig, env: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The results of `entry(payload)` for each payload, in their order; up to `config.workers` run at a time.

    `entry` is a top-level function of a module that every node can import; a lost task is started again, so it must
    do no harm when it runs twice. Raises WorkerError with the error of the first task that failed, and ends the
    others then; ResourceError when the cluster has no room for a single task within `config.start_timeout_s`;
    ClusterError when Ray cannot be reached or a task is lost for good. No secrets in payloads or `env`.
    """
    name = importable_name(entry)
    worker_env = environment.worker_env(config, os.environ, env)
    with environment.environment(environment.ray_settings(config)), connected(config):
        workers_now(config.of(1))  # Ray would let the tasks wait for ever, and say nothing
        remote = ray.remote(
            num_cpus=config.cpus_per_worker, num_gpus=config.gpus_per_worker, max_retries=config.max_failures
        )(_run)
        remote = remote.options(runtime_env={"env_vars": worker_env}, scheduling_strategy=_strategy(config))
        waiting = {remote.remote(name, n, payload, config.secrets): n for n, payload in enumerate(payloads)}
        results: dict[int, dict[str, Any]] = {}
        # After an error, leaving the cluster is what ends the other tasks. `ray.cancel` would race with their results:
        # one that arrives at that moment kills the driver ("it != submissible_tasks_.end()", seen with Ray 2.60).
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            results[waiting.pop(done[0])] = _get(done[0])
    return [results[number] for number in range(len(payloads))]


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
