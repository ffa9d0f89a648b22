"""What a model has learned: held-out comparisons, and instructions whose answers a program can check."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jpo_dist.batches.limits import require_fits
from jpo_dist.batches.load import load_data
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.run import JpoConfig, reference_model
from jpo_dist.config.sections import ModelConfig
from jpo_dist.distributed import ranks
from jpo_dist.evaluate.extremes import extremes
from jpo_dist.evaluate.pass_rate import SHOWN, Task, pass_rate, policy_model, read_tasks, side_by_side
from jpo_dist.evaluate.strata import strata_of
from jpo_dist.files import write_json
from jpo_dist.model.build import load_frozen
from jpo_dist.model.engine import connect
from jpo_dist.model.files import model_folder, weights_mark
from jpo_dist.model.load import load_tokenizer
from jpo_dist.model.unloaded.limits import limits_of_run
from jpo_dist.objective import metrics
from jpo_dist.objective.held_out import evaluation_plan, score_comparisons
from jpo_dist.objective.reference import own_reference
from jpo_dist.run_dir import EVALUATION
from jpo_dist.statistics.intervals import bootstrap_interval, share_interval

INTERVALS = ("loss", "rewards/accuracies", "rewards/margins", "margin/instruction", "margin/response")


def evaluate_policy(
    config: JpoConfig, policy_folder: str, instructions: str | None, max_new_tokens: int, timeout_s: float = 600.0
) -> dict[str, Any]:
    """Score held-out comparisons with the policy and its reference; generate and check answers when asked to.

    All ranks call it. Writes `<run.dir>/evaluation.json`: {"policy", "comparisons": {protocol: {metric: [mean, low,
    high]}}, "pass_rate": {...}, "answers": [...]}, intervals by bootstrap (95 %), what strata.strata_of says,
    `extremes`, and digests of policy, reference and comparisons. Raises ValueError without held-out comparisons, and
    for instructions that cannot be read, before anything is scored; for margins that are not finite; and where the
    policy is written anew meanwhile.
    """
    tasks = read_tasks(instructions) if instructions is not None else []
    connect(timeout_s)
    config = of_comparisons(config)
    tokenizer = load_tokenizer(config.model)
    _, held_out, notes = load_data(config, tokenizer)
    if held_out is None:
        said = "; ".join(note for note in notes if note.startswith("held out: "))
        raise ValueError(
            "nothing is held out: set data.validation, or data.validation_fraction above 0"
            + (f", to comparisons of which some are left ({said})" if said else "")
        )
    model = policy_model(config.model, policy_folder)
    limits = limits_of_run(config, ("evaluate.policy", model))
    require_fits(limits, tokenizer, [held_out.tokens], f"data.max_length ({config.data.max_length})")
    reference = own_reference(config, held_out)
    mark = partial(weights_mark, model) if ranks.rank() == 0 else str
    weights = ranks.run_without_timeout("reading what is evaluated", mark)
    policy = load_frozen(model, config.engine)
    plan = evaluation_plan(held_out, config.train, config.reference.tokens_per_pass, ranks.num_ranks())
    _, rows_CK = score_comparisons(policy, reference, held_out, plan, config.objective)
    margins_C = metrics.column(rows_CK, "rewards/margins")
    require_finite(margins_C, "comparisons", f"evaluate.policy ({policy_folder}) or its reference")
    result: dict[str, Any] = {"policy": policy_folder, "comparisons": with_intervals(rows_CK, held_out)}
    with ranks.together("strata"):
        if ranks.rank() == 0:
            _require_same(model, weights)
            result |= inputs_of(config, weights, held_out)
            result |= strata_of(margins_C, held_out) | {"extremes": extremes(margins_C, held_out)}
    target = Path(config.run.dir) / EVALUATION
    if ranks.rank() == 0:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, result)  # now: the answers take long, and may fail
    if tasks:
        work = partial(_answers, config, model, weights, tasks, max_new_tokens) if ranks.rank() == 0 else dict
        result |= ranks.run_without_timeout("generating answers", work)
        if ranks.rank() == 0:
            write_json(target, result)
    ranks.barrier()
    return result


def _require_same(model: ModelConfig, weights: str) -> None:
    """Raises ValueError where the weights of the policy are no longer those that were read: the figures would pass for
    those of an export that came since."""
    if weights_mark(model) != weights:
        raise ValueError(f"evaluate.policy ({model.path}) was written anew while it was evaluated; evaluate it again")


def _answers(
    config: JpoConfig, model: ModelConfig, weights: str, tasks: list[Task], max_new_tokens: int
) -> dict[str, Any]:
    """The pass-rate of the policy, and answers to the first instructions beside what the reference says, or with
    reference.mode=none the model that training began from."""
    after = pass_rate(config, model.path, tasks, max_new_tokens)
    _require_same(model, weights)
    before = pass_rate(config, model_folder(reference_model(config)), tasks[:SHOWN], max_new_tokens)
    return {"pass_rate": after, "answers": side_by_side(before, after)}


def of_comparisons(config: JpoConfig) -> JpoConfig:
    """`config` with a loss of comparisons: a policy that learned from single items is held to DPO's or JPO's."""
    if config.objective.loss != "kto":
        return config
    return config.model_copy(update={"objective": config.objective.model_copy(update={"loss": "sigmoid"})})


def reference_facts(config: JpoConfig) -> dict[str, Any]:
    """Mode, path and digest of the reference; neither of the two with reference.mode=none."""
    if config.reference.mode == "none":
        return {"mode": "none", "path": None, "digest": None}
    model = reference_model(config)
    return {"mode": config.reference.mode, "path": model.path, "digest": weights_mark(model)}


def require_finite(values_N: np.ndarray, what: str, models: str) -> None:
    """Raises ValueError where a score, (N,), is not finite: it would count as lost, or as no score."""
    bad = int((~np.isfinite(values_N)).sum())
    if bad:
        raise ValueError(
            f"{bad} of {len(values_N)} {what} have log-probs that are not finite under {models}: weights may be "
            "damaged, or a training diverged; name another model, or another step of it"
        )


def inputs_of(config: JpoConfig, weights: str, held_out: Prepared) -> dict[str, Any]:
    """Digests of what an evaluation depends on."""
    return {
        "policy_digest": weights,
        "reference": reference_facts(config),
        "fingerprint": held_out.comparisons.fingerprint,
    }


def with_intervals(rows_CK: np.ndarray, held_out: Prepared) -> dict[str, dict[str, Any]]:
    """{"all" | "conditional" | "joint": {metric: [mean, low, high], "comparisons": count, "ties": count if there are}}.

    A metric that knows a winner is over the comparisons that are no ties, and left out where there is none.
    """
    is_joint_C = held_out.comparisons.is_joint_C
    parts = {"all": np.ones(len(rows_CK), bool), "conditional": ~is_joint_C, "joint": is_joint_C}
    result: dict[str, dict[str, Any]] = {}
    for name, chosen in parts.items():
        if not chosen.any():
            continue
        columns = {metric: metrics.counted(rows_CK[chosen], metric) for metric in INTERVALS}
        of = {metric: share_interval if metric == "rewards/accuracies" else bootstrap_interval for metric in columns}
        summary = {metric: [float(v.mean()), *of[metric](v)] for metric, v in columns.items() if len(v)}
        result[name] = {**summary, "comparisons": int(chosen.sum())}
        ties = int(metrics.ties(rows_CK[chosen]).sum())
        if ties:  # used by the loss: its mean is over them too, the other means are not
            result[name]["ties"] = ties
    return result
