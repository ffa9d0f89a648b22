"""One run under several circumstances: more ranks, another network, another ZeRO stage."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.run import JpoConfig
from jpo_dist.estimate.advice import Situation, ranks_fed, tokens_of
from jpo_dist.estimate.hardware import Device, Link, link_of
from jpo_dist.estimate.memory import memory
from jpo_dist.estimate.model_shape import Activations, ModelShape, Passes, activations, model_shape
from jpo_dist.estimate.step_time import break_even, step_time
from jpo_dist.estimate.workload import Load, filling_pass, loads
from jpo_dist.model.device import torch_dtype
from jpo_dist.objective.held_out import evaluation_plan

IN_A_NODE = 8
"""GPUs of a node."""
EXTRAPOLATED = (8, 64, 512)
"""Numbers of GPUs that `jpo plan` asks about beside the run's own."""


@dataclass
class Subject:
    """A run on paper: model, comparisons, and what has been worked out of them so far."""

    ranks: int
    """Ranks of the run as it is configured; its methods ask about other numbers too."""
    settings: Any
    """The transformers configuration of the model."""
    dataset: Prepared
    held_out: Prepared | None
    on_gpu: bool
    about: list[str]

    def __post_init__(self) -> None:
        self._active: dict[Any, Activations] = {}
        self._shapes: dict[Any, ModelShape] = {}
        self._loads: dict[Any, list[Load]] = {}
        self._passes: dict[Any, Passes] = {}

    def shape(self, config: JpoConfig) -> ModelShape:
        """The shape of the model under the adapter and dtype of `config`."""
        key = config.model.model_dump_json()
        if key not in self._shapes:
            self._shapes[key] = model_shape(self.settings, config.model)
        return self._shapes[key]

    def loads(self, config: JpoConfig, ranks: int) -> list[Load]:
        """The work of some steps on so many ranks."""
        key = (config.train.model_dump_json(), config.reference.tokens_per_pass, ranks)
        if key not in self._loads:
            shape = self.shape(config)
            share = shape.layers * shape.width / (shape.in_body + shape.head)
            plan = make_plan(self.dataset, config.train, ranks, share)
            self._loads[key] = loads(plan, config.reference.tokens_per_pass)
        return self._loads[key]

    def active(self, config: JpoConfig, ranks: int) -> Activations:
        """Bytes of activations on so many ranks. On more ranks than the run has a rank holds less: the run's own number
            is
        then taken, as a bound."""
        passes = self.passes(config, min(ranks, self.ranks))
        key = (config.model.model_dump_json(), passes)
        if key not in self._active:
            self._active[key] = activations(self.settings, config.model, passes, on_gpu=self.on_gpu)
        return self._active[key]

    def passes(self, config: JpoConfig, ranks: int) -> Passes:
        """Lengths of the items of the largest forward of each kind, on so many ranks."""
        key = (config.train.model_dump_json(), config.reference.model_dump_json(), ranks)
        if key not in self._passes:
            self._passes[key] = self._find_passes(config, ranks)
        return self._passes[key]

    def _find_passes(self, config: JpoConfig, ranks: int) -> Passes:
        found, budget = self.loads(config, ranks), config.reference.tokens_per_pass
        cached = config.reference.mode == "cached"
        scoring = [load.longest_pass for load in found] if config.reference.has_forwards else [()]
        if self.held_out is not None:
            plan = evaluation_plan(self.held_out, config.train, budget, ranks)
            scoring += [load.fullest for load in loads(plan, budget)]
        return Passes(
            training=max((load.fullest for load in found), key=sum),
            scoring=max(scoring, key=sum),
            filling=filling_pass(self.dataset.tokens.lengths_N, ranks, budget) if cached else (),
        )

    def situation(self, config: JpoConfig, ranks: int, device: Device, link: Link) -> Situation:
        """What the run needs and how fast it is on so many ranks of this device and network."""
        shape, found = self.shape(config), self.loads(config, ranks)
        active = self.active(config, ranks)
        return Situation(
            ranks,
            device,
            link,
            memory(shape, config, ranks, active, on_gpu=self.on_gpu),
            tokens_of(found),
            step_time(shape, config, found, device, link, active.training),
            break_even(shape, config, device, link),
            found[0].comparisons,
        )


def changes(config: JpoConfig) -> dict[str, JpoConfig]:
    """The run with one thing changed, by the name of the change."""

    def changed(section: str, **values: Any) -> JpoConfig:
        return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})

    made = {}
    if config.reference.mode == "live" and not config.reference.refresh_every:
        made["reference.mode=cached"] = changed("reference", mode="cached")
    for stage in (*lower_stages(config), 3):
        offloads = config.engine.offload_params.device != "none" or config.engine.offload_optimizer.device != "none"
        if stage != config.engine.zero_stage and not offloads:
            made[f"engine.zero_stage={stage}"] = changed("engine", zero_stage=stage)
    other = not config.model.gradient_checkpointing
    made[f"model.gradient_checkpointing={str(other).lower()}"] = changed("model", gradient_checkpointing=other)
    return made


def lower_stages(config: JpoConfig) -> tuple[int, ...]:
    """The stages that could be used instead of ZeRO-3."""
    return (2,) if config.engine.grad_accum_dtype == "float32" else (0, 1, 2)


def model_facts(shape: ModelShape, config: JpoConfig) -> dict[str, Any]:
    """Numbers about the model, by name, for tables and programs."""
    return {
        "type": shape.name,
        "parameters": shape.total,
        "trainable": shape.trainable,
        "head": shape.head,
        "head_share_of_products": shape.head / (shape.in_body + shape.head),
        "tied": shape.tied,
        "dtype": str(torch_dtype(config.model.dtype)).removeprefix("torch."),
    }


def time_facts(now: Situation) -> dict[str, Any]:
    """Numbers about the time of a step, by name; seconds, and rates a second."""
    return {
        "phases": [{**phase._asdict(), "seconds": phase.seconds, "bound": phase.bound} for phase in now.time.phases],
        "seconds_per_step": now.time.seconds,
        "comparisons_per_second": now.comparisons / now.time.seconds,
        "tokens_per_second": now.tokens.per_step / now.time.seconds,
        "efficiency": now.time.efficiency,
        "bound": now.time.bound,
    }


def brief(other: Situation) -> dict[str, Any]:
    """Seconds of a step, bytes at the peak, and whether they fit: of a situation that is only compared."""
    return {
        "seconds_per_step": other.time.seconds,
        "peak": other.memory.peak,
        "fits": other.memory.peak <= other.device.memory,
    }


def extrapolated(subject: Subject, config: JpoConfig, gpus: int, device: Device, name: str) -> dict[str, Any]:
    """The run on `gpus` ranks of `device` under ZeRO-3, on the network `name`, and what would be faster there. Inside a
    node NVLink carries everything."""
    link = link_of(name)
    three = config.model_copy(update={"engine": config.engine.model_copy(update={"zero_stage": 3})})
    now = subject.situation(three, gpus, device, link)
    instead = {f"ZeRO-{s}": at_stage(subject, config, gpus, device, link, s) for s in lower_stages(config)}
    if gpus > IN_A_NODE:
        instead["one node"] = subject.situation(three, IN_A_NODE, device, link_of("nvlink"))
    better = {
        what: {"seconds_per_step": other.time.seconds, "peak": other.memory.peak}
        for what, other in instead.items()
        if other.memory.peak <= device.memory and other.time.seconds < 0.95 * now.time.seconds
    }
    return {
        "gpus": gpus,
        "network": name,
        "seconds_per_step": now.time.seconds,
        "comparisons_per_second": now.comparisons / now.time.seconds,
        "efficiency": now.time.efficiency,
        "bound": now.time.bound,
        "tokens_per_micro_step": now.tokens.per_rank_and_micro_step,
        "break_even": now.break_even,
        "ranks_fed": ranks_fed(now.tokens.per_step, now.break_even),
        "comparisons_wanted": int(np.ceil(now.comparisons * gpus * now.break_even / now.tokens.per_step)),
        "fits": now.memory.peak <= device.memory,
        "better": better,
    }


def at_stage(subject: Subject, config: JpoConfig, gpus: int, device: Device, link: Link, stage: int) -> Situation:
    """The run under another ZeRO stage."""
    lower = config.model_copy(update={"engine": config.engine.model_copy(update={"zero_stage": stage})})
    return subject.situation(lower, gpus, device, link)
