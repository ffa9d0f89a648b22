"""`jpo plan`: what a run will need and how long it will take, before any weight is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.batches.plan import make_plan
from jpo_dist.config import JpoConfig
from jpo_dist.estimate.hardware import STATED, Device, Link, device_of, link_of
from jpo_dist.estimate.memory import memory
from jpo_dist.estimate.model_shape import Activations, ModelShape, Passes, activations, model_shape
from jpo_dist.estimate.step_time import Situation, advice, break_even, ranks_fed, step_time, tokens_of, traffic
from jpo_dist.estimate.workload import Load, filling_pass, guessed, loads
from jpo_dist.model.load import load_tokenizer, model_folder, torch_dtype
from jpo_dist.objective.held_out import evaluation_plan
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.train.setup import load_data, require_comparisons
from launcher.config.load import RunConfig

IN_A_NODE = 8
EXTRAPOLATED = (8, 64, 512)


class Options(NamedTuple):
    """What the command line says beside the config."""

    device: str | None
    network: str | None
    model_config: Path | None
    lengths: str | None


@dataclass
class Subject:
    """A run on paper: model, comparisons, and what has been worked out of them so far."""

    config: RunConfig
    settings: Any
    comparisons: ComparisonSet
    lengths_N: np.ndarray
    shared_C: np.ndarray | None
    trunks_N2: np.ndarray | None
    evaluated: tuple[ComparisonSet, np.ndarray] | None
    """Held-out comparisons and the lengths of their items."""
    on_gpu: bool
    about: list[str]

    def __post_init__(self) -> None:
        self._active: dict[Any, Activations] = {}
        self._shapes: dict[Any, ModelShape] = {}
        self._loads: dict[Any, list[Load]] = {}
        self._passes: dict[Any, Passes] = {}

    def shape(self, config: JpoConfig) -> ModelShape:
        key = config.model.model_dump_json()
        if key not in self._shapes:
            self._shapes[key] = model_shape(self.settings, config.model)
        return self._shapes[key]

    def loads(self, config: JpoConfig, ranks: int) -> list[Load]:
        key = (config.train.model_dump_json(), config.reference.tokens_per_pass, ranks)
        if key not in self._loads:
            shape = self.shape(config)
            share = shape.layers * shape.width / (shape.in_body + shape.head)
            common = (self.shared_C, share, self.trunks_N2)
            plan = make_plan(self.comparisons, self.lengths_N, config.train, ranks, *common)
            self._loads[key] = loads(plan, config.reference.tokens_per_pass)
        return self._loads[key]

    def active(self, config: JpoConfig, ranks: int) -> Activations:
        """On more ranks than the config's a rank has less to hold: the config's own is then good enough."""
        passes = self.passes(config, min(ranks, ranks_of(self.config)))
        key = (config.model.model_dump_json(), passes)
        if key not in self._active:
            self._active[key] = activations(self.settings, config.model, passes, on_gpu=self.on_gpu)
        return self._active[key]

    def passes(self, config: JpoConfig, ranks: int) -> Passes:
        key = (config.train.model_dump_json(), config.reference.model_dump_json(), ranks)
        if key not in self._passes:
            self._passes[key] = self._find_passes(config, ranks)
        return self._passes[key]

    def _find_passes(self, config: JpoConfig, ranks: int) -> Passes:
        found, budget = self.loads(config, ranks), config.reference.tokens_per_pass
        cached = config.reference.mode == "cached"
        scoring = [()] if cached else [load.longest_pass for load in found]
        if self.evaluated is not None:
            plan = evaluation_plan(*self.evaluated, config, ranks)
            scoring += [load.fullest for load in loads(plan, budget)]
        return Passes(
            training=max((load.fullest for load in found), key=sum),
            scoring=max(scoring, key=sum),
            filling=filling_pass(self.lengths_N, ranks, budget) if cached else (),
        )

    def situation(self, config: JpoConfig, ranks: int, device: Device, link: Link) -> Situation:
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


def plan(config: RunConfig, options: Options) -> dict[str, Any]:
    """Everything that the tables show, as plain numbers."""
    ranks = ranks_of(config)
    on_gpu = (options.device or ("h100" if config.cluster.gpus_per_worker else "cpu")) != "cpu"
    subject = _subject(config, options, on_gpu)
    device = device_of(
        options.device or ("h100" if on_gpu else "cpu"), max(1, int(config.cluster.cpus_per_worker)), ranks
    )
    link = link_of(options.network or _usual_link(ranks, on_gpu))
    now = subject.situation(config, ranks, device, link)
    others = {name: subject.situation(other, ranks, device, link) for name, other in _changes(config).items()}
    if on_gpu and ranks > IN_A_NODE:
        others["one node"] = subject.situation(config, IN_A_NODE, device, link_of("nvlink"))
    shape = subject.shape(config)
    found = subject.loads(config, ranks)
    micro_steps, passes = len(found[0].tokens_MW), int(found[0].group_M.max()) + 1
    return {
        "about": subject.about,
        "model": _model_facts(shape, config),
        "device": {**device._asdict(), "reckoned_flops": device.reached(torch_dtype(config.model.dtype))},
        "network": link._asdict(),
        "ranks": ranks,
        "memory": {**now.memory._asdict(), "stays": now.memory.stays, "peak": now.memory.peak, "room": device.memory},
        "traffic": {
            "micro_step": traffic(shape, config, ranks, 1, 0)._asdict(),
            "step": traffic(shape, config, ranks, micro_steps, passes)._asdict(),
            "bytes_per_step": traffic(shape, config, ranks, micro_steps, passes).bytes(
                torch_dtype(config.model.dtype).itemsize, ranks
            ),
            "micro_steps": micro_steps,
            "reference_passes": 0 if config.reference.mode == "cached" else passes,
        },
        "tokens": {**now.tokens._asdict(), "break_even": now.break_even},
        "ranks_fed": ranks_fed(now.tokens.per_step, now.break_even),
        "time": _time_facts(now),
        "alternatives": {name: _brief(other) for name, other in others.items()},
        "advice": advice(config, now, others),
        "extrapolation": [_far(subject, config, gpus, device, name) for gpus in EXTRAPOLATED for name in STATED]
        if on_gpu
        else [],
    }


def ranks_of(config: RunConfig) -> int:
    """Of an elastic run, the most."""
    workers = config.cluster.workers
    return max(1, workers if isinstance(workers, int) else workers.max)


def _usual_link(ranks: int, on_gpu: bool) -> str:
    if not on_gpu:
        return "loopback"
    return "nvlink" if ranks <= IN_A_NODE else "400Gb"


def _subject(config: RunConfig, options: Options, on_gpu: bool) -> Subject:
    settings = _settings(config, options.model_config)
    if options.lengths is not None:
        mean, spread = _lengths(options.lengths)
        longest = min(config.data.max_length, config.train.tokens_per_micro_step // 2)
        comparisons, lengths_N = guessed(mean, spread, config.train, longest)
        about = [f"no data read: items of {mean:g} +- {spread:g} tokens are assumed (--lengths)"]
        return Subject(config, settings, comparisons, lengths_N, None, None, (comparisons, lengths_N), on_gpu, about)
    try:
        tokenizer = load_tokenizer(config.model)
        prepared, held_out, notes = load_data(config, tokenizer)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"the plan needs model.path's tokenizer and data.train: {first}. To plan before you have them, say how "
            "long an item is, in tokens: --lengths 80,60 (mean, standard deviation)"
        ) from error
    require_comparisons(prepared, notes)
    evaluated = None if held_out is None else (held_out.comparisons, held_out.tokens.lengths_N)
    lengths_N, shared_C, trunks_N2 = prepared.tokens.lengths_N, prepared.shared_C, prepared.trunks_N2
    return Subject(config, settings, prepared.comparisons, lengths_N, shared_C, trunks_N2, evaluated, on_gpu, notes)


def _settings(config: RunConfig, model_config: Path | None) -> Any:
    """The transformers configuration, from a file or from model.path."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            str(model_config) if model_config else model_folder(config.model),
            revision=None if model_config else config.model.revision,
            trust_remote_code=config.model.trust_remote_code,
        )
    except (OSError, ValueError) as error:
        where = f"--model-config ({model_config})" if model_config else f"model.path ({config.model.path})"
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"{where}: no model configuration can be read there: {first}. Correct it, or name the model's config.json: "
            "--model-config FILE"
        ) from error


def _lengths(text: str) -> tuple[float, float]:
    mean, _, spread = text.partition(",")
    try:
        found = float(mean), float(spread or 0)
    except ValueError:
        found = (0.0, 0.0)
    if found[0] < 3 or found[1] < 0:
        raise ValueError(f"lengths ({text}) is MEAN,SD in tokens of an item, the mean at least 3; for example 80,60")
    return found


def _changes(config: RunConfig) -> dict[str, RunConfig]:
    """The run with one thing changed."""

    def changed(section: str, **values: Any) -> RunConfig:
        return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})

    made = {}
    if config.reference.mode == "live":
        made["reference.mode=cached"] = changed("reference", mode="cached")
    for stage in (*_lower_stages(config), 3):
        offloads = config.engine.offload_params.device != "none" or config.engine.offload_optimizer.device != "none"
        if stage != config.engine.zero_stage and not offloads:
            made[f"engine.zero_stage={stage}"] = changed("engine", zero_stage=stage)
    other = not config.model.gradient_checkpointing
    made[f"model.gradient_checkpointing={str(other).lower()}"] = changed("model", gradient_checkpointing=other)
    return made


def _lower_stages(config: RunConfig) -> tuple[int, ...]:
    """That could be used instead of ZeRO-3."""
    return (2,) if config.engine.grad_accum_dtype == "float32" else (0, 1, 2)


def _model_facts(shape: ModelShape, config: JpoConfig) -> dict[str, Any]:
    return {
        "type": shape.name,
        "parameters": shape.total,
        "trainable": shape.trainable,
        "head": shape.head,
        "head_share_of_products": shape.head / (shape.in_body + shape.head),
        "tied": shape.tied,
        "dtype": str(torch_dtype(config.model.dtype)).removeprefix("torch."),
    }


def _time_facts(now: Situation) -> dict[str, Any]:
    return {
        "phases": [{**phase._asdict(), "seconds": phase.seconds, "bound": phase.bound} for phase in now.time.phases],
        "seconds_per_step": now.time.seconds,
        "comparisons_per_second": now.comparisons / now.time.seconds,
        "tokens_per_second": now.tokens.per_step / now.time.seconds,
        "efficiency": now.time.efficiency,
        "bound": now.time.bound,
    }


def _brief(other: Situation) -> dict[str, Any]:
    return {
        "seconds_per_step": other.time.seconds,
        "peak": other.memory.peak,
        "fits": other.memory.peak <= other.device.memory,
    }


def _far(subject: Subject, config: RunConfig, gpus: int, device: Device, name: str) -> dict[str, Any]:
    """One row of the extrapolation. Inside a node it is NVLink that carries everything."""
    link = link_of(name)
    three = config.model_copy(update={"engine": config.engine.model_copy(update={"zero_stage": 3})})
    now = subject.situation(three, gpus, device, link)
    instead = {f"ZeRO-{s}": _stage(subject, config, gpus, device, link, s) for s in _lower_stages(config)}
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


def _stage(subject: Subject, config: RunConfig, gpus: int, device: Device, link: Link, stage: int) -> Situation:
    lower = config.model_copy(update={"engine": config.engine.model_copy(update={"zero_stage": stage})})
    return subject.situation(lower, gpus, device, link)


def as_json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, default=float)
