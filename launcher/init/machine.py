"""Where a run would train: the section `cluster` for this machine, or for the Ray cluster that it is part of."""

import importlib.util
import os
from typing import Any, NamedTuple

from jpo_dist.config.explain import ConfigError


class Machine(NamedTuple):
    """Settings of `cluster`, and why they are so."""

    settings: dict[str, Any]
    why: str


def machine(workers: int | None) -> Machine:
    """The section for `workers` (None: as many as there are GPUs) on the cluster that RAY_ADDRESS names, else on this
    machine. Raises ConfigError for a cluster that does not answer."""
    asked = os.environ.get("RAY_ADDRESS", "").strip()
    if asked:
        return _of_cluster(asked, workers)
    import torch

    gpus, cores = torch.cuda.device_count(), len(os.sched_getaffinity(0))
    settings, why = _section(gpus, cores, workers)
    return Machine(settings, f"this machine: {gpus} GPUs, {cores} cores{why}")


def _of_cluster(address: str, workers: int | None) -> Machine:
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            f"the cluster at {address} needs Ray, which is not installed; install it, or unset RAY_ADDRESS"
        )
    from cluster.connection import describe

    facts = describe(address)
    if not facts["reachable"]:
        raise ConfigError(f"{facts['error']}")
    nodes = facts["nodes"]
    gpus, cores = (int(sum(node[kind] for node in nodes)) for kind in ("gpus", "cpus"))
    settings, why = _section(gpus, cores, workers if workers is not None else gpus or len(nodes))
    return Machine(
        {"address": address} | settings, f"Ray at {address}: {len(nodes)} hosts, {gpus} GPUs, {cores} CPUs{why}"
    )


def _section(gpus: int, cores: int, workers: int | None) -> tuple[dict[str, Any], str]:
    count = gpus if workers is None else workers
    if count == 0:
        return {"workers": 0}, "; 0 workers: training is in this very process, without Ray"
    if 0 < gpus < count:
        raise ConfigError(f"--workers ({count}) is more than the {gpus} GPUs there, and a worker needs one; lower it")
    made: dict[str, Any] = {"workers": count, "cpus_per_worker": max(1, cores // count)}
    return made | ({"gpus_per_worker": 1} if gpus else {}), ""
