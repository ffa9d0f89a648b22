"""Where a run would train: the section `cluster` for this machine, or for the Ray cluster that it is part of."""

import importlib.util
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from cluster.config import ClusterConfig
from cluster.resources import Node, capacity
from jpo_dist.config.explain import ConfigError


class Machine(NamedTuple):
    """Settings of `cluster`, and why they are so."""

    settings: dict[str, Any]
    why: str


def machine(workers: int | None) -> Machine:
    """The section for `workers` (None: as many as there are GPUs) on the cluster that RAY_ADDRESS names, else on this
    machine. Raises ConfigError for a cluster that does not answer, and for more workers than there is room for."""
    asked = os.environ.get("RAY_ADDRESS", "").strip()
    if asked:
        return _of_cluster(asked, workers)
    import torch

    gpus, cores = torch.cuda.device_count(), _cores()
    settings, why = _section([Node("this machine", cores, gpus, cores, gpus)], gpus if workers is None else workers)
    return Machine(settings, f"this machine: {gpus} GPUs, {cores} cores{why}")


def _cores() -> int:
    """Cores that this process may use: in a container its share of the machine's, as a local Ray will count them."""
    cores = len(os.sched_getaffinity(0))
    if importlib.util.find_spec("ray") is None:
        return cores
    from cluster.connection import this_machine

    return max(1, min(cores, int(this_machine().cpus)))


def _of_cluster(address: str, workers: int | None) -> Machine:
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            f"the cluster at {address} needs Ray, which is not installed; install it, or unset RAY_ADDRESS"
        )
    from cluster.connection import describe

    facts = describe(address)
    if not facts["reachable"]:
        raise ConfigError(f"{facts['error']}")
    nodes = [Node(**node) for node in facts["nodes"]]
    gpus, cores = (int(sum(getattr(node, kind) for node in nodes)) for kind in ("gpus", "cpus"))
    able = sum(node.cpus >= 1 for node in nodes)  # a head often has none to give
    settings, why = _section(nodes, workers if workers is not None else gpus or max(1, able))
    return Machine(
        {"address": address} | settings, f"Ray at {address}: {len(nodes)} hosts, {gpus} GPUs, {cores} CPUs{why}"
    )


def _section(nodes: Sequence[Node], count: int) -> tuple[dict[str, Any], str]:
    """The section for `count` workers, each with as many CPUs as leave room for all."""
    if count == 0:
        return {"workers": 0}, "; 0 workers: training is in this very process, without Ray"
    gpus = sum(node.gpus for node in nodes)
    if 0 < gpus < count:
        raise ConfigError(f"--workers ({count}) is more than the {gpus:g} GPUs there, and a worker needs one; lower it")
    most = max(1, int(sum(node.cpus for node in nodes)) // count)
    each = 1 if gpus else 0
    possible = [ClusterConfig(workers=count, cpus_per_worker=n, gpus_per_worker=each) for n in range(most, 0, -1)]
    found = next((one for one in possible if capacity(nodes, one) >= count), None)
    if found is None:
        room = capacity(nodes, possible[-1])
        raise ConfigError(
            f"--workers ({count}) is more than there is room for, which is {room} with a CPU each; lower it"
        )
    section = {"workers": count, "cpus_per_worker": int(found.cpus_per_worker)}
    return section | ({"gpus_per_worker": 1} if gpus else {}), ""
