"""Set-up: from a config to everything a step uses: data, plan, reference, policy."""

from dataclasses import dataclass
from typing import Any

import torch

from jpo_dist.batches.limits import doubts, require_fits
from jpo_dist.batches.load import load_data, require_comparisons
from jpo_dist.batches.plan import Plan, make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sft import AnyConfig, not_read
from jpo_dist.distributed import ranks
from jpo_dist.model.blend import require_alike
from jpo_dist.model.build import build_policy
from jpo_dist.model.device import device
from jpo_dist.model.engine import Engine
from jpo_dist.model.load import attention_share, load_tokenizer
from jpo_dist.model.unloaded.limits import limits_of_run
from jpo_dist.objective.criterion import criterion_of
from jpo_dist.objective.reference import Live, Reference, absent, own_reference, switched_off

MANY_EPOCHS = 20
"""More rounds through the data than this learn them by heart."""


@dataclass(frozen=True)
class Setup:
    """Holds all that the steps use."""

    config: AnyConfig
    dataset: Prepared
    held_out: Prepared | None
    plan: Plan
    policy: Engine
    reference: Reference
    tokenizer: Any
    device: torch.device
    data_notes: list[str]
    """What was read, held out, skipped and cut, for people."""

    @property
    def tokens_per_pass(self) -> int:
        """Most tokens of a rank in one forward without gradient."""
        return pass_of(self.config)


def pass_of(config: AnyConfig) -> int:
    """`Setup.tokens_per_pass` of a config: with a reference, what is set for it."""
    return config.reference.tokens_per_pass if isinstance(config, JpoConfig) else config.train.tokens_per_micro_step


def early_reference(config: AnyConfig, known: list[Prepared]) -> Reference | None:
    """The reference of a run, or its absence; None where it is the policy with its adapter off."""
    if not isinstance(config, JpoConfig):
        return absent
    return None if config.reference.mode == "adapter_off" else own_reference(config, *known)


def remarks(config: AnyConfig, num_steps: int, epochs: float) -> list[str]:
    """Settings that fit each other and hardly what was meant, one line each."""
    found, warmup = not_read(config), config.optim.warmup_steps
    if warmup >= num_steps:
        found.append(
            f"optim.warmup_steps ({warmup}) is no less than the run's {num_steps} steps: optim.lr is reached last"
        )
    if epochs > MANY_EPOCHS:
        found.append(
            f"the run goes through its data {epochs:.0f} times: train.max_steps ({num_steps}) is much for so few"
        )
    return found


def set_up(config: AnyConfig) -> Setup:
    """Load data, plan, reference and policy. All ranks call it.

    The reference comes before the policy: a cached one has done its work and is gone when the policy loads. Raises
    ValueError for data or a model that do not fit the config.
    """
    tokenizer, limits = load_tokenizer(config.model), limits_of_run(config)
    dataset, held_out, notes = load_data(config, tokenizer)
    require_comparisons(dataset, notes)
    known = [dataset] if held_out is None else [dataset, held_out]
    require_fits(limits, tokenizer, [part.tokens for part in known], f"data.max_length ({config.data.max_length})")
    plan = make_plan(dataset, config.train, ranks.num_ranks(), attention_share(config.model))
    notes += [note for one in limits for note in doubts(one, tokenizer)]
    notes += remarks(config, plan.num_steps, plan.num_steps / plan.steps_per_epoch)
    criterion_of(config.objective).require(plan, dataset, held_out)
    torch.manual_seed(config.train.seed)
    early = early_reference(config, known)
    policy = build_policy(config.model, config.engine, config.optim)
    reference = early or switched_off(policy, pass_of(config))
    if isinstance(reference, Live) and reference.settings.refresh_every:
        require_alike(reference.module, policy.module, f"reference.refresh_every ({reference.settings.refresh_every})")
    return Setup(config, dataset, held_out, plan, policy, reference, tokenizer, device(), notes)
