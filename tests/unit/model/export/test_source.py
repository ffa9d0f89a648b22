"""What a folder's files hold: the files that transformers would load, read without their weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jpo_dist.model.export.source import Kind, Source


def test_the_file_that_transformers_would_load_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2, 3), "note": "text"}, tmp_path / "pytorch_model.bin")
    pickled = Source(tmp_path)
    assert pickled.files == {"pytorch_model.bin": {"a": Kind((2, 3), "F32")}}
    assert torch.equal(pickled.tensor("pytorch_model.bin", "a"), torch.ones(2, 3))
    save_file({"b": torch.ones(4, dtype=torch.bfloat16)}, tmp_path / "model.safetensors")
    save_file({"old": torch.ones(4)}, tmp_path / "consolidated.safetensors")
    assert Source(tmp_path).kinds == {"b": Kind((4,), "BF16")}


def test_config_may_name_the_file(tmp_path: Path) -> None:
    for name in ("model", "other"):
        save_file({name: torch.ones(1)}, tmp_path / f"{name}.safetensors")
    (tmp_path / "config.json").write_text('{"transformers_weights": "other.safetensors"}', encoding="utf-8")
    assert Source(tmp_path).kinds.keys() == {"other"}


def test_a_pickle_from_before_archives_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert Source(tmp_path).kinds == {"a": Kind((2,), "F32")}


def test_a_folder_without_its_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no weights that transformers loads: none of model\.safetensors"):
        Source(tmp_path)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    save_file({"a": torch.ones(1)}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(FileNotFoundError, match=r"index\.json names model-00002-of-00002\.safetensors, not there"):
        Source(tmp_path)
