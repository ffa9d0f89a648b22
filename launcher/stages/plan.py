"""`jpo plan`: what a run will need and how long it will take, before any weight is loaded."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.batches.foreign.model_files import reason_of, understood, usable
from jpo_dist.batches.load import load_data, require_comparisons
from jpo_dist.batches.plan import make_plan
from jpo_dist.estimate.advice import Situation, advice, ranks_fed
from jpo_dist.estimate.hardware import STATED, Device, Link, device_of, link_of
from jpo_dist.estimate.situations import (
    EXTRAPOLATED,
    IN_A_NODE,
    Subject,
    brief,
    changes,
    extrapolated,
    model_facts,
    time_facts,
)
from jpo_dist.estimate.step_time import traffic
from jpo_dist.estimate.workload import guessed
from jpo_dist.model.device import torch_dtype
from jpo_dist.model.files import pretrained
from jpo_dist.model.load import load_tokenizer
from launcher.config.kinds import RunConfig


class Options(NamedTuple):
    """What the command line says beside the config."""

    device: str | None
    network: str | None
    model_config: Path | None
    lengths: str | None


class _Configured(NamedTuple):
    """A run as it is configured."""

    subject: Subject
    ranks: int
    on_gpu: bool
    device: Device
    link: Link
    situation: Situation


def _configured(config: RunConfig, options: Options) -> _Configured:
    ranks = ranks_of(config)
    on_gpu = (options.device or ("h100" if config.cluster.gpus_per_worker else "cpu")) != "cpu"
    subject = _subject(config, options, on_gpu)
    device = device_of(
        options.device or ("h100" if on_gpu else "cpu"), max(1, int(config.cluster.cpus_per_worker)), ranks
    )
    link = link_of(options.network or _usual_link(ranks, on_gpu))
    return _Configured(subject, ranks, on_gpu, device, link, subject.situation(config, ranks, device, link))


def plan(config: RunConfig, options: Options) -> dict[str, Any]:
    """Everything that the tables show, as plain numbers."""
    subject, ranks, on_gpu, device, link, now = _configured(config, options)
    others = {name: subject.situation(other, ranks, device, link) for name, other in changes(config).items()}
    if on_gpu and ranks > IN_A_NODE:
        others["one node"] = subject.situation(config, IN_A_NODE, device, link_of("nvlink"))
    shape = subject.shape(config)
    found = subject.loads(config, ranks)
    micro_steps, passes = len(found[0].tokens_MW), int(found[0].pass_M.max()) + 1
    return {
        "about": subject.about,
        "model": model_facts(shape, config),
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
            "reference_passes": passes if config.reference.has_forwards else 0,
        },
        "tokens": {**now.tokens._asdict(), "break_even": now.break_even},
        "ranks_fed": ranks_fed(now.tokens.per_step, now.break_even),
        "time": time_facts(now),
        "alternatives": {name: brief(other) for name, other in others.items()},
        "advice": advice(config, now, others),
        "extrapolation": [extrapolated(subject, config, gpus, device, name) for gpus in EXTRAPOLATED for name in STATED]
        if on_gpu
        else [],
    }


class InShort(NamedTuple):
    """A training as `plan` reckons it."""

    step_seconds: float
    """Of a step: a floor."""
    steps: int
    bytes: float
    """Of its commits and its export."""


def in_short(config: RunConfig) -> InShort:
    """How long a run trains, and what it leaves. Raises ValueError and OSError where that cannot be told."""
    subject, ranks, *_, now = _configured(config, Options(None, None, None, None))
    steps = make_plan(subject.dataset, config.train, ranks).num_steps
    weights = now.memory.weights if config.engine.zero_stage < 3 else now.memory.weights * ranks
    states = now.memory.optimizer if config.engine.zero_stage < 1 else now.memory.optimizer * ranks
    return InShort(now.time.seconds, steps, config.checkpoint.keep * states + weights)


def ranks_of(config: RunConfig) -> int:
    """Ranks of the run; of an elastic one, the most."""
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
        dataset = guessed(mean, spread, config.train, longest)
        about = [f"no data read: items of {mean:g} +- {spread:g} tokens are assumed (--lengths)"]
        return Subject(ranks_of(config), settings, dataset, dataset, on_gpu, about)
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
    return Subject(ranks_of(config), settings, prepared, held_out, on_gpu, notes)


def _settings(config: RunConfig, model_config: Path | None) -> Any:
    """The transformers configuration, from a file or from model.path."""
    from transformers import AutoConfig

    try:
        if model_config is None:
            return pretrained(AutoConfig, config.model)
        with understood("--model-config", str(model_config)):
            return usable(AutoConfig.from_pretrained(model_config, trust_remote_code=config.model.trust_remote_code))
    except (OSError, ValueError) as error:
        where = f"--model-config ({model_config})" if model_config else f"model.path ({config.model.path})"
        first = reason_of(error).removeprefix(f"{where}: ")
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


def as_json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, default=float)
