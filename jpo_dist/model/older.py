"""A folder that transformers 5 wrote, readable by transformers 4 as well.

For models that no one saved before us, such as those from a GGUF file. transformers 4 does not look for the settings of
version 5: it would take 10,000 for the base of the rotary embedding, whatever the model's, and load without an error.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FULL, SLIDING = "full_attention", "sliding_attention"


def readable_by_transformers_4(folder: Path) -> None:
    """Add to config.json and tokenizer_config.json what version 4 reads; version 5 reads the same as before."""
    _change(folder / "config.json", _with_older_names)
    _change(folder / "tokenizer_config.json", _with_older_class)


def _change(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    if file.is_file():
        settings = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(change(settings), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_older_names(settings: dict[str, Any]) -> dict[str, Any]:
    rope = settings.get("rope_parameters") or {}
    whole = rope.get(FULL) or rope
    older: dict[str, Any] = {}
    if "dtype" in settings:
        older["torch_dtype"] = settings["dtype"]
    if "rope_theta" in whole:
        older["rope_theta"] = whole["rope_theta"]
    if "rope_theta" in rope.get(SLIDING, {}):
        older["rope_local_base_freq"] = rope[SLIDING]["rope_theta"]
    if "partial_rotary_factor" in whole:
        older["partial_rotary_factor"] = whole["partial_rotary_factor"]
    if FULL not in rope and whole.get("rope_type", "default") != "default":
        older["rope_scaling"] = {name: value for name, value in whole.items() if name != "rope_theta"}
    return older | settings


def _with_older_class(settings: dict[str, Any]) -> dict[str, Any]:
    changed = {
        name: value for name, value in settings.items() if name not in ("backend", "is_local", "local_files_only")
    }
    if changed.get("tokenizer_class") == "TokenizersBackend":
        changed["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(changed.get("extra_special_tokens"), list):  # version 4 has names for them there
        changed["additional_special_tokens"] = changed.pop("extra_special_tokens")
    return changed
