"""This process as a driver of a Ray cluster, a running one or one of its own, and what that cluster has room for."""

import logging
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped]
import ray
import torch
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.state import available_resources_per_node, state
from ray._private.utils import get_num_cpus
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group

from cluster import environment, resources
from cluster.config import ClusterConfig
from cluster.errors import AddressError, ClusterError, ResourceError

logger = logging.getLogger(__name__)

SETTLE_S = 10.0
"""How long to wait for all workers of a range before starting with fewer: a lost one may be back by then."""

GONE_S = 90.0
"""After how long what seems free and cannot be had is no longer that of a host which is gone: Ray counts that for a
minute."""

OBJECT_STORE_BYTES = 128 * 2**20
"""Size of a local Ray's object store. Only the code of a run passes through it; Ray would reserve 30 % of the
memory."""


@contextmanager
def connected(config: ClusterConfig) -> Iterator[None]:
    """Inside, this process drives a Ray cluster: the one that it drives already, the one at the configured address, or
    a local one."""
    address, key = address_of(config.address)
    if ray.is_initialized():
        yield
    elif address and address != "local":
        with joined(address, key):
            _say_idle_gpus(nodes(), config)
            yield
    else:
        with local(config):
            yield


def _say_idle_gpus(there: list[resources.Node], config: ClusterConfig) -> None:
    if idle := resources.idle_gpus(there, config):
        logger.warning(idle)


def address_of(setting: str | None) -> tuple[str | None, str]:
    """The address of the cluster to join, and who says so: cluster.address, or RAY_ADDRESS where that is not set."""
    given = os.environ.get("RAY_ADDRESS", "").strip()
    return (given, "RAY_ADDRESS") if setting is None and given else (setting, "cluster.address")


@contextmanager
def joined(address: str, key: str = "cluster.address") -> Iterator[None]:
    """Inside, this process is a driver of the running cluster at `address`, which `key` has named. Raises AddressError
    when there is none."""
    rule = f"{key} ({address}) must be `auto` or HOST:PORT of a running Ray cluster that has this host in it"
    if "://" in address:
        raise AddressError(f"{rule}; from outside use `ray job submit --address ... -- <the same command>`")
    host, _, port = address.rpartition(":")
    if address != "auto":
        try:  # Ray itself would try for a minute and say less
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except (OSError, ValueError) as error:
            mend = f"correct {key}" + ("" if key == "cluster.address" else ", or unset it to train on this machine")
            raise AddressError(f"{rule}: {error}; start it with `ray start --head`, or {mend}") from None
    # `ray start --head` demands a token as soon as one exists; a driver with an explicit address sends none by itself.
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        ray.init(
            address=address,
            runtime_env=environment.of_job(),
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        raise AddressError(f"{rule}: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from None
    try:
        yield
    finally:
        ray.shutdown()


def this_machine() -> resources.Node:
    """What a Ray of this machine alone has: in a container its share of the CPUs."""
    cpus, gpus = float(get_num_cpus()), float(torch.cuda.device_count())
    return resources.Node("this machine", cpus, gpus, free_cpus=cpus, free_gpus=gpus)


@contextmanager
def local(config: ClusterConfig) -> Iterator[None]:
    """Inside, this process drives a Ray cluster of this machine alone, as large as the run. No process of it is left
    afterwards.

    Raises ResourceError at once when the machine is too small: nothing will ever join this cluster.
    """
    machine = this_machine()
    workers = min(resources.capacity([machine], config), config.most)
    if workers < config.least:
        raise ResourceError(resources.shortage([machine], config, waited_s=0.0))
    _say_idle_gpus([machine], config)
    if os.environ.get("RAY_AUTH_MODE", "token") == "token":
        environment.private_token()
    before = set(psutil.Process().children())
    try:
        # No dashboard: it costs a few hundred MB and nobody looks at a cluster that ends with the command.
        ray.init(
            address="local",
            num_cpus=math.ceil(workers * config.cpus_per_worker),
            num_gpus=math.ceil(workers * config.gpus_per_worker),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            runtime_env=environment.of_job(),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
    finally:
        started = [child for child in psutil.Process().children() if child not in before and _is_ray(child)]
        family = started + [child for parent in started for child in _children(parent)]
        ray.shutdown()
        _, left = psutil.wait_procs(family, timeout=10)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=5)


def _is_ray(process: psutil.Process) -> bool:
    """Whether a child of this process is one of Ray's. Others may have been started by other threads meanwhile."""
    try:
        return any("/ray/" in part or part.startswith("ray::") for part in process.cmdline())
    except psutil.Error:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def describe(address: str | None = None) -> dict[str, Any]:
    """What `doctor` shows: Ray's version, the cluster a run would join, whether it answers, and its nodes.

    Starts nothing. `address` is that of ClusterConfig.
    """
    address, key = address_of(address)
    facts: dict[str, Any] = {"ray": ray.__version__, "address": address, "reachable": False, "nodes": [], "error": None}
    if address is None:
        return facts
    try:
        with environment.environment({"RAY_USAGE_STATS_ENABLED": "0"}), joined(address, key):
            facts.update(reachable=True, nodes=[node._asdict() for node in nodes()])
    except ClusterError as error:
        facts["error"] = str(error)
    return facts


# ---- resources


def nodes() -> list[resources.Node]:
    """The live nodes of the cluster, without those that go away soon: Ray places nothing there."""
    leaving = state.get_draining_nodes()
    return [node for node in resources.nodes_of(ray.nodes(), available_resources_per_node()) if node.id not in leaving]


def workers_now(config: ClusterConfig) -> int:
    """The number of workers to start, as soon as the cluster can hold them. The log says what is missing when that
    takes longer.

    Raises ResourceError after `start_timeout_s`.

    Ray's own elastic `num_workers=(min, max)` is not used: it resizes at any moment, throwing away the steps since the
    last commit, and knows no placement rule.
    """
    start, told, most = time.monotonic(), False, config.most
    while (left := start + config.start_timeout_s - time.monotonic()) > 0:
        workers = min(resources.room(nodes(), config), most) if config.is_elastic else most
        if workers < most and time.monotonic() < start + SETTLE_S:
            time.sleep(0.5)
            continue
        # What seems free may be on a host that is gone, which Ray notices late: then a range looks again. With room for
        # too few, asking is what makes an autoscaler add nodes.
        workers = max(workers, config.least)
        if reserved(config.of(workers), min(SETTLE_S, left) if config.is_elastic or not told else left):
            return workers
        if workers > config.least and time.monotonic() > start + GONE_S:
            most = (workers + config.least) // 2  # what seems free is not
        if not told and left > SETTLE_S:
            told = True
            waited = time.monotonic() - start
            logger.warning("waiting %.0f s for room: %s", left, resources.shortage(nodes(), config, waited))
    raise ResourceError(resources.shortage(nodes(), config, time.monotonic() - start))


def reserved(config: ClusterConfig, seconds: float) -> bool:
    """Whether the cluster can hold all workers within so many seconds.

    Ray Train would wait silently, and for ever by default. The wait is by a placement group as Ray Train will ask
    for it: polling alone would not make an autoscaler add nodes.
    """
    deadline = time.monotonic() + seconds
    group = placement_group([resources.bundle(config)] * config.most, strategy=config.placement)
    try:
        while not group.wait(1):  # a second at a time: no signal gets through to Python in there
            if time.monotonic() >= deadline:
                return False
        return True
    finally:
        remove_placement_group(group)
