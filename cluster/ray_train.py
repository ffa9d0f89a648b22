"""Machines to ranked processes, by Ray Train.

The training code runs inside as it would under torchrun: RANK, WORLD_SIZE and a process group are there when it
starts. No batch and no checkpoint passes through Ray.
"""

import importlib
import itertools
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed
from ray._private.ray_logging import stdout_deduplicator
from ray.exceptions import RayActorError, RayError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.execution.context import get_train_context as get_internal_train_context

from cluster import environment, resources
from cluster.config import ClusterConfig
from cluster.connection import connected, nodes, workers_now
from cluster.errors import (
    ClusterError,
    HostLeaves,
    RoomForMore,
    WorkerError,
    is_hopeless,
    is_regroup,
    root_cause,
)
from cluster.history import History
from cluster.secrets import load_secrets
from cluster.signals import ended_by_signals

logger = logging.getLogger(__name__)

LEAVING_A_GROUP = {"TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5"}
"""Seconds that Ray waits for all workers to leave their process group. A lost one never does; Ray's default is 30."""

SETUP_ATTEMPTS = 3
"""How often the process group is tried. Ray does not repeat this step, and its choice of a free port is a race."""

# Ray prints this on the driver's standard output, in the middle of a progress bar. The loss is in cluster.jsonl, and
# in the WorkerError when it ends the run.
stdout_deduplicator.skip_re = re.compile("A worker died or was killed while executing a task")


def launch(
    entry: Callable[[dict[str, Any]], None],
    payload: dict[str, Any],
    config: ClusterConfig,
    *,
    run_name: str,
    storage: str,
) -> dict[str, Any]:
    """Run `entry(payload)` in `config.workers` ranked processes and wait for the end.

    With a range of workers the group is as large as the cluster allows: after a loss it starts again with what is left,
    and it ends at a report of commit_reporter() to start again when there is room for more.

    `entry` is a top-level function of a module that every node can import. `storage` is a folder for Ray's own small
    files and `cluster.jsonl` (one line for each commit and each loss of the workers); nothing is ever resumed from
    it.

    Returns `{"attempts": times the workers were started, "metrics": what commit_reporter() got last, or None}`.
    Raises ResourceError before anything loads when the cluster lacks something, WorkerError with the root cause when
    the workers fail more than `config.max_failures` times, ClusterError when Ray cannot be reached or the process
    group cannot be made.
    """
    name = importable_name(entry)
    storage = str(Path(storage).absolute()) if "://" not in storage else storage
    worker_env = environment.worker_env(config, os.environ)
    unique_name = f"{run_name}-{time.time_ns():x}"
    history = History(f"{storage}/cluster.jsonl")

    def start(number: int) -> None:
        connection.enter_context(connected(config))  # the one of the last start, unless that was closed
        take_signals()  # Ray has put its own handlers
        now = config.of(workers_now(config))
        history.num_workers = now.most
        try:
            _trainer(name, payload, now, f"{unique_name}-{number}", storage, worker_env, history).fit()
        except (ray.train.ControllerError, ray.train.PreemptionError):
            # Ray keeps the reservation of workers that failed to start until the driver that asked for them is gone.
            connection.close()
            raise

    settings = environment.environment(environment.ray_settings(config))
    with settings, ended_by_signals() as take_signals, ExitStack() as connection:
        starts = run_until_done(start, config, history, unique_name)
    commits = history.events(unique_name, "commit")
    return {"attempts": starts, "metrics": commits[-1]["metrics"] if commits else None}


def run_until_done(start: Callable[[int], None], config: ClusterConfig, history: History, run: str) -> int:
    """Start groups of workers until one gets to the end; returns how many it took.

    `start(number)` runs one group and raises what Ray raised; `run` begins the Ray names of all its starts. Raises
    WorkerError and ClusterError as `launch` does.

    Ray's own retries are not used: for a lost host they wait with no end that a person would know, and they cannot tell
    a host that leaves or a wrong input from a failure.
    """
    unconnected, failures, before = 0, 0, None
    for number in itertools.count(1):
        known = len(history.events(run, "commit"))
        try:
            start(number)
            break
        except ray.train.WorkerGroupError as error:
            unconnected, cause = 0, root_cause(error.worker_failures, history.num_workers)
            if is_regroup(cause):
                continue
            failures += 1
            if len(history.events(run, "commit")) > known:
                before = None  # it got on: the same words again are another failure
            if failures > config.max_failures or is_hopeless(cause, before):
                raise cause from None
            before = cause.kind, cause.message
        except ray.train.PreemptionError:  # the host was taken before the step was done that would have been committed
            unconnected = 0
        except ray.train.ControllerError as error:
            unconnected += 1
            if unconnected == SETUP_ATTEMPTS or not _is_passing(error.controller_failure):
                raise ClusterError(_setup_message(error.controller_failure, unconnected)) from None
            time.sleep(unconnected)
    return number


def _is_passing(failure: BaseException) -> bool:
    return isinstance(failure, RayError) or type(failure).__name__.startswith("WorkerGroupStartup")


def commit_reporter(config: ClusterConfig) -> Callable[..., None]:
    """A function `(step, metrics, is_last)` for the training code to call on **every** rank after each commit.

    It tells Ray that the run is alive and where it is. All ranks wait for each other and for the controller
    in it, so it is for commits, not for steps. Except after the last commit it raises, on all ranks, what makes
    `launch` begin again from it: HostLeaves when a host of the workers goes away soon, RoomForMore when the cluster
    can hold more of the workers that `config` allows.
    """

    def report(step: int, metrics: dict[str, Any], is_last: bool = False) -> None:
        ray.train.report({"step": step, **metrics})
        if is_last:
            return
        places: list[Any] = [None] * ray.train.get_context().get_world_size()
        torch.distributed.all_gather_object(places, (ray.get_runtime_context().get_node_id(), host_leaves()))
        ours = [node for node, _ in places]
        if any(leaves for _, leaves in places):
            raise HostLeaves(f"step {step} is committed; a host of the workers goes away soon")
        if not config.is_elastic:
            return
        # Rank 0 looks: two ranks may not see the same cluster, and all have to end or none.
        possible = [resources.room(nodes(), config, ours) if ray.train.get_context().get_world_rank() == 0 else 0]
        torch.distributed.broadcast_object_list(possible, src=0)
        if possible[0] > len(ours):
            raise RoomForMore(f"step {step} is committed; room for {possible[0]} workers instead of {len(ours)}")

    return report


def host_leaves() -> bool:
    """Whether Ray has told this worker that a host of the workers goes away soon (`cluster/leave.py`).

    ray.train.get_preemption_info() would say so too, but lets all workers wait for each other and for an actor.
    """
    return get_internal_train_context().preemption_context.preemption_info is not None


def _trainer(
    name: str,
    payload: dict[str, Any],
    config: ClusterConfig,
    run_name: str,
    storage: str,
    worker_env: dict[str, str],
    history: History,
) -> TorchTrainer:
    """Ray's trainer of one start. `run_name` is new for every start: with an old one Ray would resume from its own
    snapshot file."""
    return _Trainer(
        _work,
        train_loop_config={"entry": name, "payload": payload, "secrets": config.secrets},
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.most,
            use_gpu=config.gpus_per_worker > 0,
            resources_per_worker=resources.bundle(config),
            placement_strategy=config.placement,
        ),
        torch_config=_HostAwareTorchConfig(
            backend="nccl" if config.gpus_per_worker else "gloo",
            timeout_s=max(1, round(config.collective_timeout_s)),
            num_threads=environment.threads(config),
        ),
        run_config=ray.train.RunConfig(
            name=run_name,
            storage_path=storage,
            failure_config=ray.train.FailureConfig(
                max_failures=0, controller_failure_limit=0, max_preemption_failures=0
            ),
            callbacks=[Recorder(history)],
            worker_runtime_env={"env_vars": worker_env},
        ),
    )


def _work(config: dict[str, Any]) -> None:
    """Run the entry on one rank, inside its worker."""
    try:
        load_secrets(config["secrets"])
        module, _, function = config["entry"].partition(":")
        getattr(importlib.import_module(module), function)(config["payload"])
    except BaseException as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without this function
        raise WorkerError.of(ray.train.get_context().get_world_rank(), error) from None


def importable_name(entry: Callable[..., Any]) -> str:
    """`module:function` of `entry`: a worker imports it by name, and gets nothing else of the driver's memory.

    Raises ValueError for a function that cannot be imported so.
    """
    if entry.__module__ == "__main__" or "." in entry.__qualname__:
        raise ValueError(f"entry ({entry.__module__}:{entry.__qualname__}) must be a top-level function of a module")
    return f"{entry.__module__}:{entry.__qualname__}"


def _setup_message(failure: BaseException, attempts: int) -> str:
    cause = getattr(failure, "cause", None) or failure
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [""]
    if isinstance(failure, RayActorError):
        return f"a worker process died while the workers started ({attempts} attempts): {' '.join(lines)[:1000]}"
    return (
        f"the workers could not be connected to each other ({attempts} attempts): {type(cause).__name__}: "
        f"{lines[-1]}. Fix: let the nodes reach each other on all ports, and if a node has several networks name the "
        "right one in cluster.env.GLOO_SOCKET_IFNAME and cluster.env.NCCL_SOCKET_IFNAME"
    )


class _Trainer(TorchTrainer):
    """TorchTrainer that leaves Ctrl-C to the caller of `launch`: Ray's own handler would end the workers at once."""

    def _register_sigint_handler(self, controller: Any) -> None:
        return


class _HostAwareTorchConfig(TorchConfig):
    """TorchConfig that lets every host find its own network interface before the process group is made."""

    def __init__(self, backend: str, timeout_s: int, num_threads: int) -> None:
        super().__init__(backend=backend, timeout_s=timeout_s)
        self.num_threads = num_threads

    @property
    def backend_cls(self) -> type:
        return _HostAwareBackend


class _HostAwareBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    """Prepares each worker's process before the group is made, and does not wait long for a lost one at its end."""

    def on_start(self, worker_group: Any, backend_config: _HostAwareTorchConfig) -> None:
        worker_group.execute(_prepare_worker, backend_config.num_threads)
        super().on_start(worker_group, backend_config)

    def on_shutdown(self, worker_group: Any, backend_config: _HostAwareTorchConfig) -> None:
        # Ray reads it here, in its controller, which does not have the driver's environment.
        with environment.environment(LEAVING_A_GROUP):
            super().on_shutdown(worker_group, backend_config)


def _prepare_worker(num_threads: int) -> None:
    environment.prepare_host(ray.util.get_node_ip_address(), num_threads)


class Recorder(ray.train.UserCallback):
    """Writes the history of one start. It runs in Ray's controller, on the driver's host."""

    def __init__(self, history: History) -> None:
        self.history, self._ended = history, False

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: object) -> None:
        self.history.committed(run_context.run_config.name, metrics[0])

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        if not self._ended:  # while a host leaves, Ray tells of one end several times
            self._ended = True
            self.history.ended(run_context.run_config.name, worker_exceptions)
