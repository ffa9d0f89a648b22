"""From a config to everything a step uses: data, plan, reference, policy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from jpo_dist.batches.plan import Plan, make_plan
from jpo_dist.batches.prepare import Prepared, prepare
from jpo_dist.config import JpoConfig
from jpo_dist.data import read
from jpo_dist.data.locate import validation_of
from jpo_dist.distributed import ranks
from jpo_dist.model.engine import Engine, deepspeed_config, partitioned
from jpo_dist.model.load import attention_share, device, load_model, load_tokenizer, torch_dtype
from jpo_dist.model.scorer import Scorer
from jpo_dist.objective.reference import Reference, cached, live, switched_off
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.split import split_by_instruction


@dataclass(frozen=True)
class Setup:
    """All that the steps use, ready."""

    config: JpoConfig
    dataset: Prepared
    held_out: Prepared | None
    plan: Plan
    policy: Engine
    reference: Reference
    tokenizer: Any
    device: torch.device
    data_notes: list[str]
    """What was read, held out, skipped and cut, for people."""


def set_up(config: JpoConfig) -> Setup:
    """The reference comes before the policy: a cached one has done its work and is gone when the policy loads."""
    tokenizer = load_tokenizer(config.model)
    dataset, held_out, notes = load_data(config, tokenizer)
    require_comparisons(dataset, notes)
    share = attention_share(config.model)
    lengths_N, num_ranks = dataset.tokens.lengths_N, ranks.num_ranks()
    common = (dataset.shared_C, share, dataset.trunks_N2)
    plan = make_plan(dataset.comparisons, lengths_N, config.train, num_ranks, *common)
    known = [dataset] if held_out is None else [dataset, held_out]
    torch.manual_seed(config.train.seed)
    early: dict[str, Callable[[], Reference]] = {"live": lambda: live(config), "cached": lambda: cached(config, *known)}
    reference = early[config.reference.mode]() if config.reference.mode in early else None
    policy = build_policy(config)
    reference = reference or switched_off(policy, config)
    return Setup(config, dataset, held_out, plan, policy, reference, tokenizer, device(), notes)


def require_comparisons(dataset: Prepared, notes: list[str]) -> None:
    """Raises ValueError with what became of all of them."""
    if not len(dataset.comparisons):
        gone = "; ".join(note.removeprefix("data.train: ") for note in notes if note.startswith("data.train: "))
        raise ValueError(
            f"data.train has no comparisons left to train on ({gone}); for over-long ones raise data.max_length, or "
            "set data.over_long=truncate"
        )


def build_policy(config: JpoConfig) -> Engine:
    dtype = torch_dtype(config.model.dtype)
    settings = deepspeed_config(config.engine, config.optim, dtype, trains=True)
    scorer = Scorer(load_model(config.model, partitioned=partitioned(settings))).to(device())
    return Engine(scorer, config.engine, config.optim, dtype)


def load_data(config: JpoConfig, tokenizer: Any) -> tuple[Prepared, Prepared | None, list[str]]:
    """Training and held-out comparisons, tokenized, and notes on what was read and left out."""
    comparisons, report = read.read(config.data.train, on_bad_row=config.data.on_bad_row)
    notes = [f"data.train: {line}" for line in report.lines()]
    held: ComparisonSet | None = None
    validation = config.data.validation or validation_of(config.data.train)
    if validation is not None:
        held, held_report = read.read(validation, on_bad_row=config.data.on_bad_row)
        notes += [f"data.validation: {line}" for line in held_report.lines()]
    elif config.data.validation_fraction:
        split = split_by_instruction(comparisons, config.data.validation_fraction, config.train.seed)
        comparisons, held = split.train, split.held_out
        notes.append(
            f"held out {len(held)} comparisons by instruction, {len(comparisons)} are left to train on; "
            f"{split.num_crossing} join an instruction of each side and are in neither"
        )
    prepared = prepare(tokenizer, comparisons, config.data, config.train)
    held_out = prepare(tokenizer, held, config.data, config.train) if held is not None and len(held) else None
    for name, part in (("data.train", prepared), ("held out", held_out)):
        if part and (part.skipped["tie"] or part.skipped["over-long"] or part.tokens.truncated):
            skipped = f"{part.skipped['tie']} ties and {part.skipped['over-long']} over-long comparisons skipped"
            notes.append(f"{name}: {skipped}, {part.tokens.truncated} items cut")
    if held_out is None or not len(held_out.comparisons):
        what = "nothing is held out" if held_out is None else "nothing that is held out is left after that"
        notes.append(f"{what}, so there are no eval/ metrics; set data.validation to see whether the run learns")
        return prepared, None, notes
    return prepared, held_out, notes
