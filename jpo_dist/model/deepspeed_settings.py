"""What DeepSpeed is told, built in one place from typed fields: it accepts unknown top-level keys in silence."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jpo_dist.config.engine import EngineConfig, OffloadConfig
from jpo_dist.config.sections import OptimConfig
from jpo_dist.model.device import accelerator

UNUSED = ("mlflow", "boto3")
"""What DeepSpeed's autotuning and accelerate's questions about SageMaker would import into every rank: two seconds and
45 MiB."""


@contextmanager
def ready_to_import() -> Iterator[None]:
    """Around the import of DeepSpeed: what it computes on and compiles with, and without what is UNUSED.

    DeepSpeed compiles with the first ninja on the PATH, and two versions of ninja do not believe each other's logs:
    with the system's in one process and this environment's in the next, each start would compile for half a minute
    again.
    """
    if os.environ.get("DS_ACCELERATOR") == "cuda" and not torch.cuda.is_available():
        raise ValueError("DS_ACCELERATOR (cuda) asks for a GPU, and torch sees none here; unset it")
    os.environ.setdefault("DS_ACCELERATOR", accelerator())
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type]  # None: an import fails as if it was not installed
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def deepspeed_config(engine: EngineConfig, dtype: torch.dtype, optim: OptimConfig | None = None) -> dict[str, Any]:
    """DeepSpeed's settings for a policy that `optim` trains, or (None) for a frozen reference."""
    trains = optim is not None
    stage = engine.zero_stage if trains or engine.zero_stage == 3 else 0
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": torch.cuda.is_available() and stage > 0,
        "reduce_bucket_size": engine.reduce_bucket_size,
    }
    if stage == 3:
        zero |= {
            "stage3_param_persistence_threshold": engine.param_persistence_threshold,
            "stage3_max_live_parameters": engine.max_live_parameters,
            "stage3_prefetch_bucket_size": engine.prefetch_bucket_size,
            "stage3_max_reuse_distance": engine.max_reuse_distance,
            "sub_group_size": engine.sub_group_size,
            "offload_param": _offload(engine.offload_params),
        }
    if stage > 0 and trains:
        zero["offload_optimizer"] = _offload(engine.offload_optimizer)
    wide = trains and engine.grad_accum_dtype == "float32"
    return {
        # Batches are ours (batches/plan.py): DeepSpeed only needs numbers that agree with each other.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": (optim.grad_clip or 0.0) if optim else 0.0,  # 0: none
        "bf16": {"enabled": dtype == torch.bfloat16},
        "data_types": {"grad_accum_dtype": "fp32" if wide else None},
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
        "checkpoint": {"tag_validation": "Fail"},
    }


def _offload(config: OffloadConfig) -> dict[str, Any] | None:
    if config.device == "none":
        return None
    path = {"nvme_path": config.nvme_path} if config.nvme_path else {}
    return {"device": config.device, "pin_memory": config.pin_memory, **path}


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, vectors (norms, biases) do not. Never an empty group: torch 2.13 fails on one."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    if not weight_decay:
        return [{"params": trainable, "weight_decay": 0.0}]
    is_matrix = [len(getattr(p, "ds_shape", p.shape)) > 1 for p in trainable]
    groups = [
        {"params": [p for p, m in zip(trainable, is_matrix, strict=True) if m], "weight_decay": weight_decay},
        {"params": [p for p, m in zip(trainable, is_matrix, strict=True) if not m], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
