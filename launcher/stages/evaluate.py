"""Evaluating as the driver sees it."""

from pathlib import Path
from typing import Any

from jpo_dist.run_dir import EVALUATION, EXPORT
from launcher.config.kinds import RunConfig
from launcher.config.load import parse
from launcher.stages.ranked import run_ranked


def evaluate(config: RunConfig) -> Path:
    """Write `<run.dir>/evaluation.json`. Returns its path."""
    run_ranked(evaluate_worker, config)
    return Path(config.run.dir) / EVALUATION


def evaluate_worker(payload: dict[str, Any]) -> None:
    """Evaluate on one rank."""
    from jpo_dist.evaluate.evaluation import evaluate_policy

    config = parse(payload["config"])
    choice = config.evaluate
    policy = choice.policy or str(Path(config.run.dir) / EXPORT)
    evaluate_policy(config, policy, choice.instructions, choice.max_new_tokens, config.cluster.collective_timeout_s)
