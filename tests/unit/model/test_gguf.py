"""What transformers 5 writes, for transformers 4: settings and tokenizer under the names of both."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jpo_dist.model.gguf import convert_apart, convert_gguf, readable_by_transformers_4


def changed(folder: Path, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    (folder / name).write_text(json.dumps(settings), encoding="utf-8")
    readable_by_transformers_4(folder)
    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def test_the_base_of_the_rotary_embedding_has_its_old_name_too(tmp_path: Path) -> None:
    """Without it transformers 4 takes 10,000 and loads another model, without an error."""
    rope = {"rope_theta": 100000.0, "rope_type": "default"}
    found = changed(tmp_path, "config.json", {"dtype": "bfloat16", "rope_parameters": rope})
    assert found == {"dtype": "bfloat16", "torch_dtype": "bfloat16", "rope_parameters": rope, "rope_theta": 100000.0}


def test_a_scaled_rotary_embedding_has_its_old_name_too(tmp_path: Path) -> None:
    rope = {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0, "partial_rotary_factor": 0.5}
    found = changed(tmp_path, "config.json", {"rope_parameters": rope})
    assert found["rope_scaling"] == {"rope_type": "llama3", "factor": 8.0, "partial_rotary_factor": 0.5}
    assert (found["rope_theta"], found["partial_rotary_factor"]) == (5e5, 0.5)


def test_two_kinds_of_layers_have_their_old_names_too(tmp_path: Path) -> None:
    rope = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    found = changed(tmp_path, "config.json", {"rope_parameters": rope})
    assert (found["rope_theta"], found["rope_local_base_freq"]) == (1e6, 1e4)
    assert "rope_scaling" not in found


def test_old_names_that_are_there_stay(tmp_path: Path) -> None:
    settings = {
        "rope_theta": 7.0,
        "torch_dtype": "float16",
        "rope_parameters": {"rope_theta": 8.0},
        "dtype": "bfloat16",
    }
    assert changed(tmp_path, "config.json", settings) == settings


def test_a_tokenizer_has_a_class_that_both_know(tmp_path: Path) -> None:
    written = {"backend": "tokenizers", "is_local": True, "tokenizer_class": "TokenizersBackend", "eos_token": "é"}
    found = changed(tmp_path, "tokenizer_config.json", {**written, "extra_special_tokens": ["<a>"]})
    assert found == {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "é", "additional_special_tokens": ["<a>"]
    }  # fmt: skip
    own = {"tokenizer_class": "GPT2Tokenizer", "extra_special_tokens": {"image": "<i>"}}
    assert changed(tmp_path, "tokenizer_config.json", own) == own


@pytest.mark.slow
@pytest.mark.parametrize("convert", [convert_gguf, convert_apart])
@pytest.mark.parametrize("held", [b"", b"GGUF\x03\x00\x00\x00garbage", b"\x00" * 5000, b"{}", b"GGUF" + b"\xff" * 400])
def test_a_file_that_is_no_gguf_or_a_damaged_one_is_named(
    held: bytes, convert: Callable[[Path, Path, torch.dtype], None], tmp_path: Path
) -> None:
    """Also by the process that converts beside ranks; nothing half made is left."""
    source = tmp_path / "damaged.gguf"
    source.write_bytes(held)
    with pytest.raises(ValueError, match=r"model\.gguf_file \(.*damaged\.gguf\): transformers cannot read it: .*fetch"):
        convert(source, tmp_path / "model", torch.float32)
    assert [file.name for file in tmp_path.iterdir()] == ["damaged.gguf"]
