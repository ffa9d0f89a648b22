"""Model folders in the forms that people have: sharded, pickled, without a prefix, with tied keys, of other dtypes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import nn

from tests.support.families import (
    EXPERTS,
    FAMILIES,
    gemma3_with_vision,
    gemma4_with_scales,
    llama4_with_vision,
    qwen3_5_with_vision,
)
from tests.support.tiny import CHAT_TEMPLATE, byte_tokenizer

Weights = dict[str, torch.Tensor]
HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"
OLD_BUFFER = "model.layers.0.self_attn.rotary_emb.inv_freq"
"""What transformers wrote before version 4.32, and reads no more."""

NOT_OF_A_MODEL = {"README.md", "trainer_state.json", "data.json"}
"""What lies beside a model and is not of it."""


def save_model(folder: Path, config: Callable[[], Any], form: str = "plain") -> None:
    """A random model of `config()` with everything that may lie beside it, in one of FORMS."""
    torch.manual_seed(0)
    made = config()
    whole = type(made).__name__.replace("Config", "ForConditionalGeneration")
    kind = getattr(hf, whole, None) or hf.AutoModelForCausalLM._model_mapping[type(made)]
    model = kind(made)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith(("bias", "layer_scalar")):  # zeros or ones at the start: a forgotten one would not be seen
                tensor.uniform_(0.5, 2)
    model.save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    _beside(folder)
    FORMS[form](folder, model)


def weights_of(folder: Path) -> Weights:
    """Every weight in a folder, by key, in whatever files."""
    pickled = (torch.load(file, weights_only=True) for file in sorted(folder.glob("*.bin")))
    held = [*(load_file(file) for file in sorted(folder.glob("*.safetensors"))), *pickled]
    return {key: tensor for part in held for key, tensor in part.items()}


def _beside(folder: Path) -> None:
    """Files as other programs write them, config.json with names that transformers 5 would not write."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"transformers_version": "4.40.0", "torch_dtype": config.pop("dtype"), "of_another_program": [1]}
    files = {
        "config.json": config,
        "generation_config.json": {"temperature": 0.7, "do_sample": True, "of_another_program": 1},
        "preprocessor_config.json": {"image_processor_type": "Gemma3ImageProcessor"},
        "processor_config.json": {"processor_class": "Gemma3Processor"},
        "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "</s>"},
    }
    for name, contents in files.items():
        (folder / name).write_text(json.dumps(contents), encoding="utf-8")
    for name in ("LICENSE", *NOT_OF_A_MODEL):
        (folder / name).write_text(f"{name} of the source", encoding="utf-8")


def _write(folder: Path, weights: Weights) -> None:
    save_file({key: tensor.clone().contiguous() for key, tensor in weights.items()}, folder / "model.safetensors")


def _of(change: Callable[[Weights], Weights]) -> Callable[[Path, nn.Module], None]:
    return lambda folder, _: _write(folder, change(load_file(folder / "model.safetensors")))


def _in(dtype: torch.dtype) -> Callable[[Path, nn.Module], None]:
    def rewrite(folder: Path, _: nn.Module) -> None:
        _write(folder, {key: tensor.to(dtype) for key, tensor in load_file(folder / "model.safetensors").items()})
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["torch_dtype"] = str(dtype).removeprefix("torch.")
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")

    return rewrite


def _sharded(folder: Path, model: Any) -> None:
    beside = {file: file.read_bytes() for file in folder.glob("*.json")}
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    for file, contents in beside.items():
        file.write_bytes(contents)


def _pickled(folder: Path, _: nn.Module) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _pickled_in_two(folder: Path, _: nn.Module) -> None:
    weights = load_file(folder / "model.safetensors")
    names = [f"pytorch_model-0000{part}-of-00002.bin" for part in (1, 2)]
    halves = [dict(list(weights.items())[part::2]) for part in range(2)]
    for name, half in zip(names, halves, strict=True):
        torch.save(half, folder / name)
    places = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    index = {"metadata": {"total_size": sum(t.nbytes for t in weights.values())}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").unlink()


def _read_only(folder: Path, _: nn.Module) -> None:
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)


def _without_prefix(weights: Weights) -> Weights:
    """As AutoModel saves a base model; its head must be tied."""
    return {key.removeprefix("model.").removeprefix("transformer."): tensor for key, tensor in weights.items()}


FORMS: dict[str, Callable[[Path, nn.Module], None]] = {
    "plain": lambda folder, model: None,
    "sharded": _sharded,
    "pickled": _pickled,
    "pickled in two": _pickled_in_two,
    "without prefix": _of(_without_prefix),
    "tied, both keys": _of(lambda weights: weights | {HEAD: weights[TABLE]}),
    "tied, the head's key alone": _of(lambda w: {(HEAD if key == TABLE else key): tensor for key, tensor in w.items()}),
    "with an old buffer": _of(lambda weights: weights | {OLD_BUFFER: torch.arange(4.0)}),
    "bfloat16": _in(torch.bfloat16),
    "float16": _in(torch.float16),
    "read-only": _read_only,
}


class Case(NamedTuple):
    """A source, and the dtype in which it is trained."""

    config: Callable[[], Any]
    form: str = "plain"
    dtype: Literal["float32", "bfloat16"] = "float32"


LLAMA, TIED, GPT2 = (FAMILIES[name] for name in ("llama", "llama, tied head", "gpt2"))
CASES: dict[str, Case] = {
    **{name: Case(make) for name, make in (FAMILIES | EXPERTS).items()},
    "gemma4, layer scales": Case(gemma4_with_scales),
    "gemma3 with vision": Case(gemma3_with_vision),
    "gpt2 without prefix": Case(GPT2, "without prefix"),
    "tied, without prefix": Case(TIED, "without prefix"),
    **{form: Case(TIED, form) for form in ("tied, both keys", "tied, the head's key alone")},
    **{f: Case(LLAMA, f) for f in ("sharded", "pickled", "pickled in two", "with an old buffer", "read-only")},
    "bfloat16 in float32": Case(LLAMA, "bfloat16"),
    "float16 in float32": Case(LLAMA, "float16"),
    "float32 in bfloat16": Case(LLAMA, "plain", "bfloat16"),
    "float16 in bfloat16": Case(LLAMA, "float16", "bfloat16"),
}
"""Families and forms of sources."""
TEXT_ALONE = {"llama4 with vision": Case(llama4_with_vision), "qwen3.5 with vision": Case(qwen3_5_with_vision)}
"""Sources of which transformers makes a model of text alone. Packed scoring refuses their attention."""
