"""What a model has learned: held-out comparisons, and instructions whose answers a program can check."""

import json
import os
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.batches.prepare import Prepared
from jpo_dist.config import JpoConfig
from jpo_dist.distributed import ranks
from jpo_dist.evaluate.constraints import Constraint, passes
from jpo_dist.generate.local import generate
from jpo_dist.model.engine import connect
from jpo_dist.model.load import load_tokenizer
from jpo_dist.objective import metrics
from jpo_dist.objective.held_out import score_comparisons
from jpo_dist.objective.reference import cached, live, load_frozen, reference_model
from jpo_dist.paths import resolve
from jpo_dist.train.setup import load_data

UNREADABLE = "evaluate.instructions ({file}), line {number}: {rule}"
INTERVALS = ("loss", "rewards/accuracies", "rewards/margins", "margin/instruction", "margin/response")


class Task(NamedTuple):
    """An instruction, and what a program can check in the answer."""

    instruction: str
    constraints: tuple[Constraint, ...]


def evaluate_policy(
    config: JpoConfig, policy_folder: str, instructions: str | None, max_new_tokens: int, timeout_s: float = 600.0
) -> dict[str, Any]:
    """Score held-out comparisons with the policy and its reference; generate and check answers when asked to.

    All ranks call it. Writes `<run.dir>/evaluation.json`: {"policy", "comparisons": {protocol: {metric: [mean, low,
    high]}}, "pass_rate": {...}}, intervals by bootstrap (95 %). Raises ValueError without held-out comparisons, and for
    instructions that cannot be read, before anything is scored.
    """
    tasks = read_tasks(instructions) if instructions is not None else []
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
    target = Path(config.run.dir) / "evaluation.json"
    if ranks.rank() == 0:
        _write(target, result)  # now: the answers take long, and may fail
    if tasks:
        work = partial(pass_rate, config, policy_folder, tasks, max_new_tokens) if ranks.rank() == 0 else dict
        rates: dict[str, Any] = ranks.unhurried("generating answers", work)
        if ranks.rank() == 0:
            result["pass_rate"] = rates
            _write(target, result)
    ranks.barrier()
    return result


def _write(target: Path, result: dict[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".tmp")
    aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, target)


def _with_policy(config: JpoConfig, folder: str) -> JpoConfig:
    """`config` with `folder` in the reference's place: a policy that is not trained loads as a reference does."""
    if config.model.trust_remote_code and folder != config.model.path and not Path(folder).is_dir():
        raise ValueError(
            f"evaluate.policy ({folder}) is not here, and model.trust_remote_code would run whatever code comes with "
            "it; download it, and name the folder"
        )
    its_own = config.reference.model_copy(update={"path": folder, "revision": None})
    return config.model_copy(update={"reference": its_own})


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


def read_tasks(file: str) -> list[Task]:
    """One JSON object a line: {"instruction": text, "constraints": [...]}. Raises ValueError naming file and line."""
    if not Path(resolve(file)).is_file():
        raise ValueError(f"evaluate.instructions ({file}) is no file; correct the path")
    tasks = []
    for number, line in enumerate(Path(resolve(file)).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            tasks.append(Task(str(row["instruction"]), tuple(Constraint.of(value) for value in row["constraints"])))
        except (TypeError, KeyError, AttributeError):
            rule = 'needs {"instruction": text, "constraints": [{"kind": ...}, ...]}'
            raise ValueError(UNREADABLE.format(file=file, number=number, rule=rule)) from None
        except ValueError as error:  # no JSON, or a constraint that is none
            raise ValueError(UNREADABLE.format(file=file, number=number, rule=error)) from None
    if not tasks:
        raise ValueError(f"evaluate.instructions ({file}) is empty; leave the setting out, or name a file with some")
    return tasks


def pass_rate(config: JpoConfig, folder: str, tasks: list[Task], max_new_tokens: int) -> dict[str, Any]:
    """Share of generated answers that meet their instruction's constraints: overall, by kind, and the answers.

    An answer that is cut off at `max_new_tokens` fails, as in the sample data: it is not what the model would say.
    """
    model = reference_model(_with_policy(config, folder))
    answers = generate(model, [task.instruction for task in tasks], config.data.template, max_new_tokens)
    by_kind: dict[str, list[bool]] = defaultdict(list)
    checked = []
    for task, answer in zip(tasks, answers, strict=True):
        passed = answer.finished and passes(task.constraints, answer.text)
        row = {"instruction": task.instruction, "answer": answer.text, "finished": answer.finished}
        checked.append({**row, "passed": passed})
        for constraint in task.constraints:
            by_kind[constraint.kind].append(passed)
    verdicts = np.array([row["passed"] for row in checked], dtype=float)
    return {
        "rate": [float(verdicts.mean()), *metrics.bootstrap_interval(verdicts)],
        "answers": len(checked),
        "finished": float(np.mean([row["finished"] for row in checked])),
        "by_kind": {kind: float(np.mean(v)) for kind, v in sorted(by_kind.items())},
        "checked": checked,
    }
