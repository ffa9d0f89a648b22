"""What a model has learned: held-out comparisons, and instructions whose answers a program can check."""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from jpo_dist import metrics, ranks
from jpo_dist.config import JpoConfig
from jpo_dist.engine import connect
from jpo_dist.generate import generate
from jpo_dist.held_out import score_comparisons
from jpo_dist.paths import resolve
from jpo_dist.policy import load_tokenizer, torch_dtype
from jpo_dist.prepare import Prepared
from jpo_dist.reference import cached, live, load_frozen
from jpo_dist.setup import load_data
from jpo_dist.verifiable import Constraint, passes

INTERVALS = ("loss", "rewards/accuracies", "rewards/margins", "margin/instruction", "margin/response")


def evaluate_policy(
    config: JpoConfig, policy_folder: str, instructions: str | None, max_new_tokens: int, timeout_s: float = 600.0
) -> dict[str, Any]:
    """Score held-out comparisons with the policy and its reference; generate and check answers when asked to.

    All ranks call it. Writes `<run.dir>/evaluation.json`: {"policy", "comparisons": {protocol: {metric: [mean, low,
    high]}}, "pass_rate": {...}}, intervals by bootstrap (95 %). Raises ValueError without held-out comparisons.
    """
    connect(timeout_s)
    _, held_out, notes = load_data(config, load_tokenizer(config.model))
    if held_out is None:
        said = "; ".join(note for note in notes if note.startswith("held out: "))
        raise ValueError(
            "nothing is held out: set data.validation, or data.validation_fraction above 0"
            + (f", to comparisons of which some are left ({said})" if said else "")
        )
    reference = cached(config, held_out) if config.reference.mode == "cached" else live(config)
    policy = load_frozen(_with_policy(config, policy_folder))
    _, rows_CK = score_comparisons(policy, reference, held_out, config)
    result: dict[str, Any] = {"policy": policy_folder, "comparisons": with_intervals(rows_CK, held_out)}
    if instructions is not None and ranks.rank() == 0:
        result["pass_rate"] = pass_rate(config, policy_folder, instructions, max_new_tokens)
    if ranks.rank() == 0:
        target = Path(config.run.dir) / "evaluation.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_suffix(".tmp")
        aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, target)
    ranks.barrier()
    return result


def _with_policy(config: JpoConfig, folder: str) -> JpoConfig:
    """`config` with `folder` in the reference's place: a policy that is not trained loads as a reference does."""
    return config.model_copy(update={"reference": config.reference.model_copy(update={"path": folder})})


def with_intervals(rows_CK: np.ndarray, held_out: Prepared) -> dict[str, dict[str, Any]]:
    """{"all" | "conditional" | "joint": {metric: [mean, low, high], "comparisons": count}}."""
    is_joint_C = held_out.comparisons.is_joint_C
    parts = {"all": np.ones(len(rows_CK), bool), "conditional": ~is_joint_C, "joint": is_joint_C}
    result: dict[str, dict[str, Any]] = {}
    for name, chosen in parts.items():
        if not chosen.any():
            continue
        columns = {metric: metrics.column(rows_CK[chosen], metric) for metric in INTERVALS}
        summary = {metric: [float(v.mean()), *metrics.bootstrap_interval(v)] for metric, v in columns.items()}
        result[name] = {**summary, "comparisons": int(chosen.sum())}
    return result


def pass_rate(config: JpoConfig, folder: str, instructions: str, max_new_tokens: int) -> dict[str, Any]:
    """Share of generated answers that meet their instruction's constraints: overall, by kind, and the answers.

    An answer that is cut off at `max_new_tokens` fails, as in the sample data: it is not what the model would say.
    """
    lines = Path(resolve(instructions)).read_text(encoding="utf-8").splitlines()
    tasks = [json.loads(line) for line in lines if line.strip()]
    texts = [task["instruction"] for task in tasks]
    answers = generate(folder, texts, config.data.template, max_new_tokens, torch_dtype(config.model.dtype))
    by_kind: dict[str, list[bool]] = defaultdict(list)
    checked = []
    for task, answer in zip(tasks, answers, strict=True):
        constraints = [Constraint.of(value) for value in task["constraints"]]
        passed = answer.finished and passes(constraints, answer.text)
        row = {"instruction": task["instruction"], "answer": answer.text, "finished": answer.finished}
        checked.append({**row, "passed": passed})
        for constraint in constraints:
            by_kind[constraint.kind].append(passed)
    verdicts = np.array([row["passed"] for row in checked], dtype=float)
    return {
        "rate": [float(verdicts.mean()), *metrics.bootstrap_interval(verdicts)],
        "answers": len(checked),
        "finished": float(np.mean([row["finished"] for row in checked])),
        "by_kind": {kind: float(np.mean(v)) for kind, v in sorted(by_kind.items())},
        "checked": checked,
    }
