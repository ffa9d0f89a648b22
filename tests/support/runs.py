"""Configs and short trainings for tests: what a rank does, as functions that `run_ranks` can call."""

from pathlib import Path
from typing import Any

import torch

from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sft import AnyConfig, SftConfig
from tests.support.tiny import PLAIN


def config_for(folder: str, data_file: str, run_dir: Path | str, **sections: Any) -> JpoConfig:
    """A float32 run without MLflow on tiny data; `sections` override or add settings by section."""
    values: dict[str, Any] = {
        "model": {"path": folder, "dtype": "float32"},
        "data": {"train": data_file, "template": PLAIN, "validation_fraction": 0},
        "optim": {"lr": 1e-3, "grad_clip": 1e9, "schedule": "constant"},
        "train": {"comparisons_per_step": 6, "tokens_per_micro_step": 4096},
        # Thresholds so low that ZeRO-3 really partitions and gathers a tiny model.
        "engine": {"zero_stage": 3, "param_persistence_threshold": 0, "max_live_parameters": 5000,
                   "max_reuse_distance": 1, "prefetch_bucket_size": 1000},
        "tracking": {"uri": "none"},
        "run": {"dir": str(run_dir)},
    }  # fmt: skip
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return JpoConfig.model_validate(values)


def sft_config_for(folder: str, data_file: str, run_dir: Path | str, **sections: Any) -> SftConfig:
    """The same run, as one of SFT."""
    values = config_for(folder, data_file, run_dir, **{k: v for k, v in sections.items() if k not in ("sft", "data")})
    whole = values.model_dump(include=set(SftConfig.model_fields) - {"data"})
    data = {"train": data_file, "template": PLAIN, "validation_fraction": 0} | sections.get("data", {})
    return SftConfig.model_validate(whole | {"data": data, "sft": sections.get("sft", {})})


def item_trajectories(configs: list[AnyConfig], steps: int) -> list[dict[str, Any]]:
    """Under each config, one after another: metrics and gradient norms of the first steps, the held-out metrics, and
    the weights after them."""
    from jpo_dist.model.engine import connect
    from jpo_dist.objective.criterion import criterion_of
    from jpo_dist.train.loop import evaluate, take_step
    from jpo_dist.train.setup import set_up

    torch.set_num_threads(1)
    connect(200)
    found = []
    for config in configs:
        setup = set_up(config)
        rows: list[dict[str, float]] = []
        for step in list(setup.plan.steps())[:steps]:
            outcome, meter = take_step(setup, step)
            means = criterion_of(config.objective).means(meter.table()[1], "")
            rows.append({**means, "grad_norm": outcome.grad_norm, "micro_steps": len(step.micro_steps)})
        weights = {name: tensor.float().numpy() for name, tensor in setup.policy.whole_parameters()}
        found.append({"steps": rows, "eval": evaluate(setup), "weights": weights})
    return found


def trajectory(config: JpoConfig, steps: int) -> dict[str, Any]:
    """Losses, margins and gradient norms of the first steps, and the weights after them (rank 0's view)."""
    from jpo_dist.model.engine import connect
    from jpo_dist.objective import metrics
    from jpo_dist.train.loop import take_step
    from jpo_dist.train.setup import set_up

    torch.set_num_threads(1)
    connect(200)
    setup = set_up(config)
    rows: list[Any] = []
    for step in list(setup.plan.steps())[:steps]:
        outcome, meter = take_step(setup, step)
        comparisons_C, rows_CK = meter.table()
        rows.append(
            {
                "loss": metrics.column(rows_CK, "loss").tolist(),
                "margins": metrics.column(rows_CK, "rewards/margins").tolist(),
                "comparisons": comparisons_C.tolist(),
                "grad_norm": outcome.grad_norm,
                "applied": outcome.applied,
                "micro_steps": len(step.micro_steps),
            }
        )
    weights = {name: tensor.float().numpy() for name, tensor in setup.policy.whole_parameters()}
    return {"steps": rows, "weights": weights}
