"""LoRA adapters on a policy: put on, read back, switched off for the reference, merged. The only importer of peft."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import peft
import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from jpo_dist.batches.foreign.model_files import A_PICKLE
from jpo_dist.config.sections import LoraConfig, ModelConfig
from jpo_dist.model.files import pretrained


def add_adapter(model: nn.Module, config: LoraConfig) -> nn.Module:
    """`model` with LoRA layers in the dtype of the base, which ZeRO-3 needs. B starts at zero, so step 0 equals the
    base.

    Raises ValueError where target_modules names the head or no layer at all.
    """
    _refuse_head(model, config.target_modules)
    dtype = next(model.parameters()).dtype
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=config.target_modules, task_type="CAUSAL_LM"
    )
    try:
        adapted = peft.get_peft_model(model, settings, autocast_adapter_dtype=False)
    except ValueError as error:
        raise ValueError(_no_such_layers(model, config.target_modules, error)) from None
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return adapted


def is_adapter(folder: str | Path) -> bool:
    """Whether `folder` holds an adapter, such as the export of a run with LoRA."""
    return (Path(folder) / "adapter_config.json").is_file()


def read_adapter(model: nn.Module, folder: str | Path) -> nn.Module:
    """`model` with the adapter in `folder` on it, in the dtype of the base. Raises ValueError where it does not fit."""
    try:
        adapted = peft.PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
    except UnpicklingError:
        raise ValueError(f"{folder} {A_PICKLE}") from None
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{folder}: this adapter is not one of model.path: {reason} Name the model it began from"
        ) from None
    return adapted.to(next(model.parameters()).dtype)


def _refuse_head(model: Any, targets: list[str] | str) -> None:
    """Raises ValueError where a target is the head. peft's rule for a target: a layer's name, or its end after a
    dot."""
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    named = [] if isinstance(targets, str) else [t for t in targets if head == t or head.endswith(f".{t}")]
    if named:
        raise ValueError(
            f"model.lora.target_modules ({', '.join(targets)}) has {named[0]}, the head: scores are computed from its "
            "weight in blocks, where an adapter would never take part; leave it out"
        )


def _no_such_layers(model: Any, targets: list[str] | str, error: ValueError) -> str:
    """The error to show: peft's names neither the setting nor what layers the model has instead."""
    named = targets if isinstance(targets, str) else ", ".join(targets)
    head = model.get_output_embeddings()
    # By their kind, not by their weights: those of ZeRO-3 have no shape here.
    layers = [name for name, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
    there = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return f"model.lora.target_modules ({named}): {reason}; its layers are {there}; or say all-linear"


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """The base model for the length of the block."""
    with model.disable_adapter():
        yield


def merged(config: ModelConfig, folder: Path, dtype: torch.dtype | None = None) -> Any:
    """The model of `config` with the update of the adapter in `folder` added to its weights: it needs no peft.

    `dtype`: that of the sums; None: the model's own.
    """
    base = pretrained(AutoModelForCausalLM, config, dtype=dtype or "auto")
    return peft.PeftModel.from_pretrained(base, folder).merge_and_unload()
