"""Set-up: from a config to everything a step uses: data, plan, reference, policy."""

from dataclasses import dataclass
from typing import Any

import torch

from jpo_dist.batches.load import load_data, require_comparisons
from jpo_dist.batches.plan import Plan, make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.run import JpoConfig
from jpo_dist.distributed import ranks
from jpo_dist.model.blend import require_alike
from jpo_dist.model.build import build_policy
from jpo_dist.model.device import device
from jpo_dist.model.engine import Engine
from jpo_dist.model.load import attention_share, load_tokenizer
from jpo_dist.objective.reference import Live, Reference, own_reference, switched_off


@dataclass(frozen=True)
class Setup:
    """Holds all that the steps use."""

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
    """Load data, plan, reference and policy. All ranks call it.

    The reference comes before the policy: a cached one has done its work and is gone when the policy loads. Raises
    ValueError for data or a model that do not fit the config.
    """
    tokenizer = load_tokenizer(config.model)
    dataset, held_out, notes = load_data(config, tokenizer)
    require_comparisons(dataset, notes)
    plan = make_plan(dataset, config.train, ranks.num_ranks(), attention_share(config.model))
    known = [dataset] if held_out is None else [dataset, held_out]
    torch.manual_seed(config.train.seed)
    early = None if config.reference.mode == "adapter_off" else own_reference(config, *known)
    policy = build_policy(config.model, config.engine, config.optim)
    reference = early or switched_off(policy, config.reference.tokens_per_pass)
    if isinstance(reference, Live) and reference.settings.refresh_every:
        require_alike(reference.module, policy.module, f"reference.refresh_every ({reference.settings.refresh_every})")
    return Setup(config, dataset, held_out, plan, policy, reference, tokenizer, device(), notes)
