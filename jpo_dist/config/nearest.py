"""What an unknown key may have been meant to be: no guess is better than a wrong one."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

CLOSE = 0.7
"""How alike a name must be that was mistyped, by difflib's ratio: `bta` and `beta` are 0.86, `lr` and `dir` 0.8."""

OTHERS = {
    "learning_rate": "optim.lr", "lr_scheduler_type": "optim.schedule", "scheduler": "optim.schedule",
    "warmup_ratio": "optim.warmup_steps", "warmup": "optim.warmup_steps", "max_grad_norm": "optim.grad_clip",
    "gradient_clipping": "optim.grad_clip", "clip_grad_norm": "optim.grad_clip",
    "adam_beta1": "optim.betas", "adam_beta2": "optim.betas", "adam_epsilon": "optim.eps",
    "batch_size": "train.comparisons_per_step", "train_batch_size": "train.comparisons_per_step",
    "per_device_train_batch_size": "train.comparisons_per_step", "micro_batch_size": "train.tokens_per_micro_step",
    "gradient_accumulation_steps": "train.tokens_per_micro_step", "num_train_epochs": "train.epochs",
    "num_epochs": "train.epochs", "n_epochs": "train.epochs", "eval_steps": "train.eval_every",
    "eval_interval": "train.eval_every", "save_steps": "checkpoint.every", "save_interval": "checkpoint.every",
    "save_total_limit": "checkpoint.keep", "resume_from_checkpoint": "checkpoint.resume",
    "loss_type": "objective.loss", "loss_fn": "objective.loss", "lambda": "objective.instruction_weight",
    "rpo_alpha": "objective.sft_weight", "simpo_gamma": "objective.gamma", "gamma_beta_ratio": "objective.gamma",
    "model_name_or_path": "model.path", "model_name": "model.path", "base_model": "model.path",
    "torch_dtype": "model.dtype", "bf16": "model.dtype", "fp16": "model.dtype", "precision": "model.dtype",
    "ref_model": "reference.path", "ref_model_name_or_path": "reference.path",
    "precompute_ref_log_probs": "reference.mode", "sync_ref_model": "reference.refresh_every",
    "ref_model_sync_steps": "reference.refresh_every", "ref_model_mixup_alpha": "reference.refresh_share",
    "peft_config": "model.lora.rank", "lora_r": "model.lora.rank",
    "r": "model.lora.rank", "lora_alpha": "model.lora.alpha",
    "lora_target_modules": "model.lora.target_modules", "dataset": "data.train", "dataset_name": "data.train",
    "train_file": "data.train", "train_dataset": "data.train", "eval_dataset": "data.validation",
    "max_prompt_length": "data.max_instruction_length", "max_seq_length": "data.max_length",
    "padding_free": "train.tokens_per_micro_step", "packing": "train.tokens_per_micro_step",
    "sequence_len": "data.max_length", "max_model_len": "data.max_length", "chat_template": "data.template",
    "chat_template_kwargs": "data.template_args", "output_dir": "run.dir", "run_name": "run.name",
    "logging_dir": "run.dir", "report_to": "tracking.uri", "tracking_uri": "tracking.uri",
    "experiment_name": "tracking.experiment", "num_gpus": "cluster.workers", "nproc_per_node": "cluster.workers",
    "num_workers": "cluster.workers", "deepspeed": "engine.zero_stage",
    "zero_optimization": "engine.zero_stage", "stage": "engine.zero_stage",
}  # fmt: skip
"""What other trainers (TRL, transformers, axolotl, DeepSpeed) call a setting."""


def nearest(location: Sequence[str], known: Iterable[str]) -> str:
    """What to write instead of the key at `location`, in a few words for a sentence.

    `known`: every dotted key, entries of lists without their number.
    """
    keys = sorted(known)
    plain = [part for part in location if not part.isdigit()]
    section, name = "".join(f"{part}." for part in plain[:-1]), plain[-1]
    # What may stand there, as a person writes it: in an entry of a list with its number.
    written = "".join(f"{part}." for part in location[:-1])
    names = sorted({key.removeprefix(section).partition(".")[0] for key in keys if key.startswith(section)})
    here = {one: written + one for one in names}
    found = _of_others(name, keys) or _elsewhere(name, keys) or _mistyped(name, here)
    if found:
        return f"did you mean {' or '.join(found)}?"
    return f"known there: {', '.join(here.values() or keys)}"


def _of_others(name: str, keys: Sequence[str]) -> list[str]:
    key = OTHERS.get(name, "")
    return [key] if key in keys else []


def _mistyped(name: str, here: Mapping[str, str]) -> list[str]:
    return [here[one] for one in difflib.get_close_matches(name, sorted(here), n=1, cutoff=CLOSE)]


def _elsewhere(name: str, keys: Sequence[str]) -> list[str]:
    """Keys of any section with this very name; three at most, since more are no answer."""
    same = [key for key in keys if key.rpartition(".")[2] == name]
    return same if len(same) <= 3 else []
