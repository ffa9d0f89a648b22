"""Models from disk: where the weights are, in what dtype, with which adapter. Only importer of peft."""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import peft
import torch
from filelock import FileLock
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.pytorch_utils import Conv1D

from jpo_dist.config import LoraConfig, ModelConfig
from jpo_dist.model.attention import NO_ATTENTION_FUNCTION, SEGMENTS
from jpo_dist.paths import cache_folder, resolve

logger = logging.getLogger(__name__)


def device() -> torch.device:
    """This process's accelerator, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu")


def torch_dtype(name: str) -> torch.dtype:
    """`auto` is bfloat16 where products of bfloat16 run in hardware, float32 elsewhere."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if in_hardware else torch.float32


def model_folder(config: ModelConfig) -> str:
    """A folder or hub id that transformers loads: `package:` resolved, a GGUF file converted once into the cache."""
    where = resolve(config.path)
    if where.startswith(("/", ".")) and not Path(where).is_dir():  # transformers would take it for a hub id
        raise FileNotFoundError(f"{where}: no such model folder; correct the path, or train and export it first")
    _refuse_adapter(Path(where))
    if config.gguf_file is None:
        _refuse_run(config.path, Path(where))
        return where
    source = Path(where) / config.gguf_file
    if not source.is_file():
        raise FileNotFoundError(f"model.gguf_file ({config.gguf_file}) is not in model.path ({where}); check both")
    stat = source.stat()
    contents = _contents(source, stat.st_size, stat.st_mtime_ns)
    key = hashlib.sha256(f"{contents} {torch_dtype(config.dtype)}".encode()).hexdigest()[:16]
    folder = cache_folder("models") / f"{source.stem}-{key}"
    with FileLock(f"{folder}.lock"):  # the ranks of one host: the first converts, the others wait and find it
        if not folder.is_dir():
            _convert_gguf(source, folder, torch_dtype(config.dtype))
    return str(folder)


def _refuse_adapter(folder: Path) -> None:
    """An adapter is no model: transformers would only miss a `model_type` in it, or a file of weights."""
    if (folder / "adapter_config.json").is_file():
        raise ValueError(
            f"{folder} holds an adapter, not a model; name a folder with the adapter merged in. For a run of "
            "jpo, `jpo export` with its config and model.lora.merge_on_export=true writes RUN.DIR/export-merged; any "
            "other is merged by peft's merge_and_unload() and save_pretrained()."
        )


def _refuse_run(given: str, folder: Path) -> None:
    """A run folder is no model: transformers would name every type that it knows before it says so."""
    if folder.is_dir() and not (folder / "config.json").exists():
        for inside in ("export", "export-merged"):
            if (folder / inside / "config.json").is_file():
                raise ValueError(f"model.path ({given}) holds no model; did you mean {Path(given, inside)}?")


@contextmanager
def reading(config: ModelConfig) -> Iterator[None]:
    """A name that leads nowhere is wrong input: one sentence of ours for a page of transformers' tracebacks."""
    try:
        yield
    except OSError as error:
        # Ours says it already (the hub's are of classes of their own); the system's is a disk that fails, say.
        if type(error) is FileNotFoundError or error.errno is not None:
            raise
        seen = Path(resolve(config.path)).is_dir()
        where = "" if seen else "no folder seen from here, and not to be read from the hub: "
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(f"model.path ({config.path}): {where}{reason}; correct the path") from None


@lru_cache(maxsize=8)
def _contents(source: Path, size: int, changed: int) -> str:
    """SHA-256 of a file, read once by a process that asks several times. Name and size alone would let another
    fine-tune of the same model find this one's weights."""
    with source.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _convert_gguf(source: Path, folder: Path, dtype: torch.dtype) -> None:
    logger.info("converting %s to %s, once", source.name, folder)
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        plain = GgufConfig(dequantize=True)  # otherwise the weights stay packed, and a packed model cannot be saved
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=dtype, quantization_config=plain
        )
        model.save_pretrained(aside)
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(aside)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def attention_share(config: ModelConfig) -> float:
    """What attention adds to the cost of a token, for each token of its item, as a share of the cost of its products.

    Products cost 2 P a token and causal attention 2 L D for each token before it (half of them, twice): L D / P, with P
    the parameters that take part in products (not the embedding table), L layers and D the model's width. Read off the
    model's configuration; no weights are loaded.
    """
    settings = AutoConfig.from_pretrained(
        model_folder(config), revision=config.revision, trust_remote_code=config.trust_remote_code
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(settings, trust_remote_code=config.trust_remote_code)
    text = settings.get_text_config()
    in_products = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    if text.tie_word_embeddings:
        in_products += model.get_input_embeddings().weight.numel()  # the table is the head as well
    return float(text.num_hidden_layers * text.hidden_size / in_products)


def load_tokenizer(config: ModelConfig) -> Any:
    with reading(config):
        return AutoTokenizer.from_pretrained(
            model_folder(config), revision=config.revision, trust_remote_code=config.trust_remote_code
        )


def load_model(config: ModelConfig, *, partitioned: Any = None, trainable: bool = True) -> nn.Module:
    """Weights with packed attention, no dropout, and adapters where they are asked for.

    `partitioned` is a context in which loaded weights are split over the ranks as they arrive (ZeRO-3): the whole
    model then never exists in one process. A reference is always loaded from its path, since a partitioned model
    cannot be copied.
    """
    try:
        with reading(config), partitioned or nullcontext():
            model = AutoModelForCausalLM.from_pretrained(
                model_folder(config),
                revision=config.revision,
                trust_remote_code=config.trust_remote_code,
                dtype=torch_dtype(config.dtype),
                attn_implementation=SEGMENTS,
            )
    except KeyError as error:
        if SEGMENTS not in str(error):
            raise
        raise ValueError(f"model.path ({config.path}): {NO_ATTENTION_FUNCTION}") from None
    model.config.use_cache = False
    if config.gradient_checkpointing and trainable:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.lora.rank and trainable:
        model = add_adapter(model, config.lora)
    return silence(model)


def silence(model: nn.Module) -> nn.Module:
    """Scores must be repeatable: with dropout even step 0 would see policy and reference differ.

    Everything is in evaluation mode, since model types draw in ways of their own while they train (PhiMoE its experts);
    but for what is checkpointed, which it is in training mode only. Dropout is zero all the same, also where it is a
    number and no module (OPT, Seed-OSS).
    """
    for module in model.eval().modules():
        for name, value in vars(module).items():
            if isinstance(value, float) and ("drop" in name or (name == "p" and isinstance(module, nn.Dropout))):
                setattr(module, name, 0.0)
        module.training = getattr(module, "gradient_checkpointing", False) is True
    return model


def add_adapter(model: nn.Module, config: LoraConfig) -> nn.Module:
    """LoRA layers in the dtype of the base, which ZeRO-3 needs; B starts at zero, so step 0 equals the base."""
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


def _refuse_head(model: Any, targets: list[str] | str) -> None:
    """By the rule of peft: a name, or the end of one after a dot."""
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    named = [] if isinstance(targets, str) else [t for t in targets if head == t or head.endswith(f".{t}")]
    if named:
        raise ValueError(
            f"model.lora.target_modules ({', '.join(targets)}) has {named[0]}, the head: scores are computed from its "
            "weight in blocks, where an adapter would never take part; leave it out"
        )


def _no_such_layers(model: Any, targets: list[str] | str, error: ValueError) -> str:
    """peft knows neither the setting nor, in its words, what the model has instead."""
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


def base_config(model: Any) -> Any:
    """The transformers config under an adapter or without one."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).config


def merge_adapter(config: ModelConfig, adapter_folder: Path, target: Path) -> None:
    """Write `base` with the adapter's update added to its weights: an ordinary folder that needs no peft."""
    base = AutoModelForCausalLM.from_pretrained(
        model_folder(config), revision=config.revision, trust_remote_code=config.trust_remote_code, dtype="auto"
    )
    merged = peft.PeftModel.from_pretrained(base, adapter_folder).merge_and_unload()
    merged.save_pretrained(target)
