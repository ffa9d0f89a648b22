"""The identity of a run: comparisons, order, weights it began from, objective. A commit goes on with no other run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jpo_dist.checkpoint.commit import Commit
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.run import reference_model
from jpo_dist.config.sections import ReferenceConfig
from jpo_dist.config.sft import AnyConfig, SftConfig
from jpo_dist.files import read_json
from jpo_dist.model.device import torch_dtype
from jpo_dist.model.files import weights_mark
from jpo_dist.records.comparisons import digest
from jpo_dist.records.contents import Contents, contents_of
from jpo_dist.records.examples import Examples
from jpo_dist.run_dir import PLAN
from jpo_dist.train.setup import Setup

READ, ORDER = "contents of data.train", "order of data.train"
WEIGHTS_OF_MODEL, WEIGHTS_OF_REFERENCE = "model.path", "reference.path"
DECAY = "optim.weight_decay"
"""Whether it is 0 decides the groups of parameters that the optimizer's state is by; its value may change."""
CONTENTS, WITH_NAMES = "contents:", "tokens:"
"""Begin the identities that cover what was read, whatever the files are named; and earlier ones, which cover the names
of the files too. Still earlier ones covered the number of tokens only, and began with nothing."""


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
    seen: dict[str, Any] = field(default_factory=dict)
    """What goes into that, by key, as `seen_by` has it: it tells what is not equal. Earlier commits have none."""
    method: dict[str, Any] = field(default_factory=dict)
    """What else makes it another run, by key, as `method_of` has it. Commits of earlier versions have none."""
    optim: dict[str, Any] = field(default_factory=dict)
    """How the last step minimized the loss, by key, as `optim_of` has it: it may change on the way, not at the end.
    Commits of earlier versions have none."""
    best: dict[str, Any] = field(default_factory=dict)
    """Metric, value, step, and evaluations since, of the best evaluation so far (train/best.py); {}: there is none."""
    stopped: bool = False
    """Whether the run ended here, by train.stop_when."""


def began(setup: Setup, method: dict[str, Any]) -> TrainState:
    """The state of a run before its first step. `method` is `method_of(config)`."""
    contents = contents_of(setup.dataset.comparisons)
    plan = CONTENTS + _plan_digest(setup, contents.in_order)
    return TrainState(plan=plan, seen=_seen(setup, contents), method=method, optim=optim_of(setup.config))


def _plan_digest(setup: Setup, read: str) -> str:
    """Equal for runs that see the same comparisons (`read` is a digest of them), as the same tokens, in the same
    order."""
    train = setup.config.train
    order = [setup.plan.comparisons_per_step, train.shuffle, train.sample_by, train.seed, setup.plan.num_steps]
    return digest([read, setup.dataset.tokens.contents(), order])


def _seen(setup: Setup, contents: Contents) -> dict[str, Any]:
    """What makes the identity, by key: settings that it follows from, and what was read in figures and digests."""
    config, comparisons = setup.config, setup.dataset.comparisons
    names = ("train", "validation")
    settings = {f"data.{key}": value for key, value in config.data.model_dump(mode="json").items() if key not in names}
    settings["data.validation"] = "not set" if config.data.validation is None else "set"
    counted = "items_per_step" if isinstance(comparisons, Examples) else "comparisons_per_step"
    of_train = (counted, "max_steps", "epochs", "shuffle", "sample_by", "seed")
    settings |= {f"train.{key}": getattr(config.train, key) for key in of_train}
    tokens = setup.dataset.tokens
    count = f"{len(comparisons)} {comparisons.COUNTED} of {comparisons.num_items} items"
    made: dict[str, Any] = json.loads(json.dumps(settings))
    return made | {
        "number of steps": setup.plan.num_steps,
        READ: f"{count}, digest {contents.any_order}",
        ORDER: f"digest {contents.in_order[:16]}",
        "tokens": f"{int(tokens.lengths_N.sum())} by template and tokenizer, digest {tokens.contents()[:16]}",
    }


def check_plan(state: TrainState, now: TrainState, setup: Setup) -> None:
    """Raises ResumeError, with key and both values, where the commit of `state` was written by another run than the one
    that begins as `now`, or cannot tell."""
    run_dir, other = setup.config.run.dir, other_place(setup.config)
    where = f"run.dir ({run_dir}) holds a run at step {state.step}"
    if not state.plan.startswith((CONTENTS, WITH_NAMES)):
        raise ResumeError(
            f"{where} whose commits do not say which tokens it saw: an earlier version wrote them; finish it with that "
            f"version, or {other}"
        )
    if state.plan.startswith(CONTENTS):
        if state.plan != now.plan:
            told = differences(state.seen, now.seen)
            raise ResumeError(f"{where}, which began otherwise: {told}; set it back, or {other}")
    elif state.plan != WITH_NAMES + _plan_digest(setup, setup.dataset.comparisons.fingerprint):
        noted, facts = read_json(Path(run_dir) / PLAN), plan_facts(setup)
        told = differences(noted, {key: value for key, value in facts.items() if key in noted})
        raise ResumeError(
            f"{where} over other data, other names of their files, another template, seed, batch or number of steps "
            f"({told}; an earlier version wrote it, and noted no more); set it back, or {other}"
        )


def plan_facts(setup: Setup) -> dict[str, Any]:
    """What plan.json says of what was read, by its own keys."""
    comparisons = setup.dataset.comparisons
    return {
        "num_steps": setup.plan.num_steps,
        comparisons.COUNTED: len(comparisons),
        "items": comparisons.num_items,
        "tokens": int(setup.dataset.tokens.lengths_N.sum()),
        "dataset": comparisons.fingerprint,
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Each key whose value is another now, with both values, in one line."""
    changed = {key: f"{key}: {_shown(before.get(key))} then, {_shown(now[key])} now" for key in now}
    changed = {key: words for key, words in changed.items() if before.get(key) != now[key]}
    if READ in changed:
        changed.pop(ORDER, None)  # it follows
    return "; ".join(changed.values()) or "nothing of what is noted"


def _shown(value: Any) -> str:
    """A value as YAML has it, on one line and not too long."""
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."


def start_of(config: AnyConfig) -> dict[str, Any]:
    """Settings by key that say what the weights of a commit are changes of.

    DeepSpeed would load an adapter into any base that it fits.
    """
    lora = config.model.lora
    return {
        WEIGHTS_OF_MODEL: weights_mark(config.model),
        "model.dtype": str(torch_dtype(config.model.dtype)).removeprefix("torch."),
        **(_flat("model.lora", lora, but="merge_on_export") if lora.rank else {"model.lora.rank": 0}),
        DECAY: "above 0" if config.optim.weight_decay else "0",
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


def optim_of(config: AnyConfig) -> dict[str, Any]:
    """How the loss is minimized, by key. It may change while steps are left."""
    made: dict[str, Any] = json.loads(json.dumps(_flat("optim", config.optim)))
    return made


def check_end(state: TrainState, num_steps: int, config: AnyConfig) -> None:
    """Raises ResumeError where the run of `state` is at its end, after `num_steps` steps or before, and was trained by
    another optim than `config` has: no step is left that could use it, and the old weights would pass for new ones."""
    changed = changed_optim(state, config)
    if changed and (state.stopped or state.step == num_steps):
        raise ResumeError(
            f"the run in run.dir ({config.run.dir}) is at its end, no step after step {state.step} is left that could "
            f"be trained otherwise: {changed}; set it back, or {other_place(config)}"
        )


def changed_optim(state: TrainState, config: AnyConfig) -> str:
    """Each setting of optim that the last step was trained by and that is another now, with both values; "" without
    one. Nothing is known of settings that an earlier version did not note."""
    changed = {key: value for key, value in optim_of(config).items() if state.optim.get(key, value) != value}
    return differences(state.optim, changed) if changed else ""


def other_place(config: AnyConfig) -> str:
    """What a person does who wants another run than the one that is there. It may have come from the store."""
    store = config.checkpoint.storage
    return "use another run.dir" + (f" and another checkpoint.storage (now {store})" if store else "")


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
    changes = {key: (before[key], now) for key, now in method.items() if before.get(key, now) != now}
    if changes.get(WEIGHTS_OF_REFERENCE) == changes.get(WEIGHTS_OF_MODEL, ()):
        del changes[WEIGHTS_OF_REFERENCE]  # one folder, said once
    changed = [_change(key, *values) for key, values in changes.items()]
    if changed:
        raise ResumeError(
            f"the commit of step {resumed.step} in run.dir ({config.run.dir}) was written with "
            f"{'; and with '.join(changed)}; set it back, or {other_place(config)}"
        )


def _change(key: str, before: Any, now: Any) -> str:
    if key in (WEIGHTS_OF_MODEL, WEIGHTS_OF_REFERENCE):
        return f"other weights than those of {key} now (digest {before}, now {now})"
    return f"{key}={before}, now it is {now}"
