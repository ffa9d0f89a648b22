"""What lies beside the weights of a model: its configuration, tokenizer, processors, templates, licence and code."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model*", "*.tiktoken", "special_tokens_map.json",
    "added_tokens.json", "vocab.*", "merges.txt", "spiece.model", "sentencepiece*.model", "tekken.json",
    "chat_template.*", "additional_chat_templates/*",
)  # fmt: skip
BESIDE = (*TOKENIZER, "*processor*.json", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
"""What an adapter has beside its weights, where its base has it."""
OF_MODEL = ("config.json", "generation_config.json")
CODE = "*.py"
"""Copied where config.json says that it is code of the model."""


def copy_side_files(source: Path, target: Path, tokenizer: Any, *, adapter: bool = False) -> None:
    """Copy what lies beside the weights in `source` to `target`, byte for byte; a copy can be written to and deleted.

    transformers would write other files: its own version's names of settings, and tokenizer classes that earlier
    versions do not know. `tokenizer` writes its own only where the source has none. `adapter`: not what makes a folder
    a model.
    """
    wanted = BESIDE if adapter else (*BESIDE, *OF_MODEL, *([CODE] if _has_code(source) else []))
    found = sorted({file for pattern in wanted for file in source.glob(pattern) if file.is_file()})
    for file in found:
        copy = target / file.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, copy)  # contents alone: the source may be read-only
    if not any(file.match(pattern) for file in found for pattern in TOKENIZER):
        tokenizer.save_pretrained(target)


def say_dtype(folder: Path, dtype: torch.dtype) -> None:
    """Write in config.json that the weights are of `dtype`, under the names of the setting that are there."""
    file = folder / "config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    for part in (settings, *(value for value in settings.values() if isinstance(value, dict))):
        for name in {"dtype", "torch_dtype"} & part.keys():
            part[name] = str(dtype).removeprefix("torch.")
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _has_code(source: Path) -> bool:
    config = source / "config.json"
    return config.is_file() and "auto_map" in json.loads(config.read_text(encoding="utf-8"))
