"""Whether a cluster can hold the workers asked for, and what to say when it cannot. Pure functions of plain data."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cluster.config import ClusterConfig


class Node(NamedTuple):
    """A live machine of the cluster: what it has, and how much of that nobody uses now."""

    ip: str
    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float
    id: str = ""


def bundle(config: ClusterConfig) -> dict[str, float]:
    """The resources of one worker, in Ray's words."""
    gpus = {"GPU": config.gpus_per_worker} if config.gpus_per_worker else {}
    return {"CPU": config.cpus_per_worker, **gpus}


def capacity(nodes: Sequence[Node], config: ClusterConfig) -> int:
    """How many of the workers these nodes could hold under the placement rule if nobody else used them."""
    return _under_rule(
        [_fits(node.cpus, config.cpus_per_worker, node.gpus, config.gpus_per_worker) for node in nodes], config
    )


def room(nodes: Sequence[Node], config: ClusterConfig, ours: Sequence[str] = ()) -> int:
    """How many of the workers, at most `config.most`, these nodes can hold now. `ours`: the node id of each worker that
    runs already; its place counts as free."""
    counts = [
        _fits(node.free_cpus, config.cpus_per_worker, node.free_gpus, config.gpus_per_worker) + ours.count(node.id)
        for node in nodes
    ]
    return min(_under_rule(counts, config), config.most)


def _under_rule(counts: Sequence[int], config: ClusterConfig) -> int:
    match config.placement:
        case "STRICT_SPREAD":
            return sum(count > 0 for count in counts)
        case "STRICT_PACK":
            return max(counts, default=0)
        case _:
            return sum(counts)


def _fits(cpus: float, cpus_each: float, gpus: float, gpus_each: float) -> int:
    by_cpu = math.floor(cpus / cpus_each + 1e-9)
    return min(by_cpu, math.floor(gpus / gpus_each + 1e-9)) if gpus_each else by_cpu


def shortage(nodes: Sequence[Node], config: ClusterConfig, waited_s: float) -> str:
    """The message of a ResourceError: what was asked, what each node has, what to change."""
    each = f"{config.cpus_per_worker:g} CPU"
    if config.gpus_per_worker:
        each += f" + {config.gpus_per_worker:g} GPU"
    asked = f"cluster.workers={config.least} x {each}, placement {config.placement}"
    have = "; ".join(_describe(node, config) for node in nodes) or "no live node"
    possible = capacity(nodes, config)
    verdict = (
        f"room for {possible} of {config.least} workers even when nothing else runs"
        if possible < config.least
        else "enough in total, but in use by others"
    )
    waited = f" after {waited_s:.0f} s" if waited_s >= 1 else ""
    return f"asked: {asked}; {len(nodes)} node(s): {have}; {verdict}{waited}. Fix: {_fix(nodes, config, possible)}"


def _describe(node: Node, config: ClusterConfig) -> str:
    text = f"{node.ip} has {node.cpus:g} CPU ({node.free_cpus:g} free)"
    return text + (f", {node.gpus:g} GPU ({node.free_gpus:g} free)" if config.gpus_per_worker or node.gpus else "")


def _fix(nodes: Sequence[Node], config: ClusterConfig, possible: int) -> str:
    if possible >= config.least:
        return "end what holds them (`ray status` lists it), or raise cluster.start_timeout_s"
    if config.placement == "STRICT_SPREAD" and possible == len(nodes):
        return f"join {config.least - possible} more node(s), or use cluster.placement=SPREAD"
    if config.gpus_per_worker and not any(node.gpus for node in nodes):
        return "use cluster.gpus_per_worker=0 to train on CPUs, or join nodes with GPUs"
    fewer = "cluster.workers" if isinstance(config.workers, int) else "cluster.workers.min"
    return f"use {fewer}={possible or 1}, a smaller cluster.cpus_per_worker, or join more nodes"


def idle_gpus(nodes: Sequence[Node], config: ClusterConfig) -> str | None:
    """What to say where there are GPUs and the workers reserve none of them; None otherwise."""
    gpus = sum(node.gpus for node in nodes)
    if config.gpus_per_worker or not gpus:
        return None
    return (
        f"{gpus:g} GPU(s) are there, and cluster.gpus_per_worker is 0: the workers compute on CPUs. Set "
        "cluster.gpus_per_worker=1 to compute on GPUs"
    )


def nodes_of(records: Sequence[Mapping[str, object]], free: Mapping[str, Mapping[str, float]]) -> list[Node]:
    """Nodes from Ray's node table and its free resources by node id; dead nodes are left out."""
    nodes = []
    for record in records:
        if not record["Alive"]:
            continue
        total, unused = record["Resources"], free.get(str(record["NodeID"]), {})
        assert isinstance(total, Mapping)
        nodes.append(
            Node(
                ip=str(record["NodeManagerAddress"]),
                cpus=total.get("CPU", 0.0),
                gpus=total.get("GPU", 0.0),
                free_cpus=unused.get("CPU", 0.0),
                free_gpus=unused.get("GPU", 0.0),
                id=str(record["NodeID"]),
            )
        )
    return nodes
