"""The share of a model's answers that meet the constraints of their instructions."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.config.run import JpoConfig, model_at
from jpo_dist.config.sections import ModelConfig
from jpo_dist.evaluate.constraints import Constraint, check, passes
from jpo_dist.files import text_of
from jpo_dist.generate.local import Said, generate
from jpo_dist.paths import resolve
from jpo_dist.statistics.intervals import share_interval

SHOWN = 20
"""Instructions whose answers are shown beside those of the reference."""
UNREADABLE = "evaluate.instructions ({file}), line {number}: {rule}"


class Task(NamedTuple):
    """An instruction, and what a program can check in the answer."""

    instruction: str
    constraints: tuple[Constraint, ...]


def read_tasks(file: str) -> list[Task]:
    """The tasks of a file with one JSON object a line: {"instruction": text, "constraints": [...]}.

    Raises ValueError, which names the file and the line.
    """
    if not Path(resolve(file)).is_file():
        raise ValueError(f"evaluate.instructions ({file}) is no file; correct the path")
    tasks = []
    for number, line in enumerate(text_of(Path(resolve(file))).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row["instruction"], str) or not row["instruction"].strip():
                raise TypeError  # null would be asked as "None"
            tasks.append(Task(row["instruction"], tuple(Constraint.of(value) for value in row["constraints"])))
        except (TypeError, KeyError, AttributeError):
            rule = 'needs {"instruction": text, "constraints": [{"kind": ...}, ...]}'
            raise ValueError(UNREADABLE.format(file=file, number=number, rule=rule)) from None
        except ValueError as error:  # no JSON, or a constraint that is none
            raise ValueError(UNREADABLE.format(file=file, number=number, rule=error)) from None
    if not tasks:
        raise ValueError(f"evaluate.instructions ({file}) is empty; leave the setting out, or name a file with some")
    return tasks


def policy_model(model: ModelConfig, folder: str) -> ModelConfig:
    """The model section of a policy in `folder`, which is loaded as the model it began from was.

    Raises ValueError for a hub id where model.trust_remote_code is on.
    """
    if model.trust_remote_code and folder != model.path and not Path(folder).is_dir():
        raise ValueError(
            f"evaluate.policy ({folder}) is not here, and model.trust_remote_code would run whatever code comes with "
            "it; download it, and name the folder"
        )
    return model_at(model, folder)


def pass_rate(config: JpoConfig, folder: str, tasks: list[Task], max_new_tokens: int) -> dict[str, Any]:
    """What `rates_of` says of the answers that the policy in `folder` gives to the tasks."""
    model = policy_model(config.model, folder)
    data = config.data
    how = {"args": data.template_args, "follow": data.on_template_difference == "follow"}
    return rates_of(tasks, generate(model, [task.instruction for task in tasks], data.template, max_new_tokens, **how))


def rates_of(tasks: Sequence[Task], answers: Sequence[Said]) -> dict[str, Any]:
    """Share of answers that meet all constraints of their instruction, and the answers. `by_kind`: of the constraints
    of each kind, the share that is met, whatever becomes of others to the same answer.

    An answer that was cut off meets none, as in the sample data: it is not what the model would say.
    """
    by_kind: dict[str, list[bool]] = defaultdict(list)
    checked = []
    for task, answer in zip(tasks, answers, strict=True):
        passed = answer.finished and passes(task.constraints, answer.text)
        row = {"instruction": task.instruction, "answer": answer.text, "finished": answer.finished}
        checked.append({**row, "passed": passed})
        for constraint in task.constraints:
            by_kind[constraint.kind].append(answer.finished and check(constraint, answer.text))
    verdicts = np.array([row["passed"] for row in checked], dtype=float)
    return {
        "rate": [float(verdicts.mean()), *share_interval(verdicts)],
        "answers": len(checked),
        "finished": float(np.mean([row["finished"] for row in checked])),
        "by_kind": {kind: float(np.mean(v)) for kind, v in sorted(by_kind.items())},
        "checked": checked,
    }


def side_by_side(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """Up to SHOWN instructions with both answers, from two results of `pass_rate` of which the shorter one counts:
    first those whose answer meets its constraints only now, then those whose answer has changed, then the others."""
    pairs = list(zip(before["checked"], after["checked"], strict=False))
    pairs.sort(key=lambda pair: (pair[0]["passed"] or not pair[1]["passed"], pair[0]["answer"] == pair[1]["answer"]))
    return [
        {
            "instruction": new["instruction"],
            "answer before": old["answer"],
            "answer after": new["answer"],
            "met before": "yes" if old["passed"] else "no",
            "met after": "yes" if new["passed"] else "no",
        }
        for old, new in pairs[:SHOWN]
    ]
