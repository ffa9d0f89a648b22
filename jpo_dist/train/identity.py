"""The identity of a run: comparisons, order, weights it began from, objective. A commit goes on with no other run."""

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from jpo_dist.checkpoint.commit import Commit
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.run import reference_model
from jpo_dist.config.sections import ReferenceConfig
from jpo_dist.config.sft import AnyConfig, SftConfig
from jpo_dist.model.files import weights_mark
from jpo_dist.records.comparisons import digest
from jpo_dist.train.setup import Setup

WEIGHTS_OF_MODEL, WEIGHTS_OF_REFERENCE = "model.path", "reference.path"
IDENTITY = "tokens:"
"""Begins the identities that cover the tokens themselves; earlier ones covered their number, and began with nothing."""


class ResumeError(ValueError):
    """The run folder holds a run that this configuration does not continue."""


@dataclass(frozen=True)
class TrainState:
    """What a resumed run needs beside weights and optimizer. `step` steps are done; the next is `plan.step(step)`."""

    step: int = 0
    nonfinite_steps: int = 0
    nonfinite_in_a_row: int = 0
    plan: str = ""
    """Identity of the comparisons and their order: not equal, and the run is another one."""
    method: dict[str, Any] = field(default_factory=dict)
    """What else makes it another run, by key, as `method_of` has it. Commits of earlier versions have none."""


def plan_identity(setup: Setup) -> str:
    """Equal for runs that see the same comparisons, as the same tokens, in the same order."""
    train = setup.config.train
    order = [setup.plan.comparisons_per_step, train.shuffle, train.sample_by, train.seed, setup.plan.num_steps]
    return IDENTITY + digest([setup.dataset.comparisons.fingerprint, setup.dataset.tokens.contents(), order])


def start_of(config: AnyConfig) -> dict[str, Any]:
    """Settings by key that say what the weights of a commit are changes of.

    DeepSpeed would load an adapter into any base that it fits.
    """
    return {
        WEIGHTS_OF_MODEL: weights_mark(config.model),
        **_flat("model.lora", config.model.lora, but="merge_on_export"),
    }


def method_of(config: AnyConfig) -> dict[str, Any]:
    """`start_of`, and what the loss measures by and against. How it is minimized (optim) may change on the way."""
    if isinstance(config, SftConfig):
        learned = _flat("sft", config.sft)
    else:
        has_one = config.reference.mode != "none"
        reference = {WEIGHTS_OF_REFERENCE: weights_mark(reference_model(config)) if has_one else "none"}
        learned = reference | _refreshes(config.reference) | _flat("objective", config.objective)
    made: dict[str, Any] = json.loads(json.dumps(start_of(config) | learned))
    return made


def _refreshes(reference: ReferenceConfig) -> dict[str, Any]:
    return {f"reference.{key}": getattr(reference, key) for key in ("refresh_every", "refresh_share")}


def _flat(name: str, section: BaseModel, but: str = "") -> dict[str, Any]:
    return {f"{name}.{key}": value for key, value in section.model_dump(mode="json").items() if key != but}


def check_method(resumed: Commit | None, method: dict[str, Any], config: AnyConfig) -> None:
    """Raises ResumeError where `method` is not what the run of `resumed` began with.

    A commit of an earlier version lacks settings that came later: it was written with their defaults.
    """
    if resumed is None:
        return
    before = resumed.facts["state"].get("method", {})
    if before.keys() >= {"objective.loss"}:
        before = _flat("objective", ObjectiveConfig()) | _refreshes(ReferenceConfig()) | before
    for key, now in method.items():
        if key not in before or before[key] == now:
            continue
        where = f"the commit of step {resumed.step} in run.dir ({config.run.dir}) was written with"
        if key in (WEIGHTS_OF_MODEL, WEIGHTS_OF_REFERENCE):
            raise ResumeError(f"{where} other weights than those of {key} now; set it back, or use another run.dir")
        raise ResumeError(f"{where} {key}={before[key]}, now it is {now}; set it back, or use another run.dir")
