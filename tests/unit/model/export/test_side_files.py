"""What is copied beside the weights of a model, and what is not."""

import json
import os
from pathlib import Path

import pytest
import torch

from jpo_dist.model.export.side_files import copy_side_files, say_dtype
from tests.support.tiny import byte_tokenizer

COPIED = [
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "video_preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "tokenizer.model.v3",
    "spiece.model", "tekken.json", "qwen.tiktoken", "chat_template.jinja", "chat_template.json", "LICENSE",
    "LICENSE.txt", "NOTICE", "USE_POLICY.md",
]  # fmt: skip
LEFT = [
    "README.md", "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "trainer_state.json",
    "training_args.bin", "optimizer.pt", "train.json", "data.jsonl", ".gitattributes", "consolidated.safetensors",
    "tf_model.h5", "modeling_own.py", "params.json",
]  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "additional_chat_templates").mkdir(parents=True)
    (folder / "original").mkdir()
    for name in (*COPIED, *LEFT, "additional_chat_templates/tools.jinja", "original/params.json"):
        (folder / name).write_text("{}", encoding="utf-8")
    (tmp_path / "export").mkdir()
    return folder


def copied(source: Path, adapter: bool = False) -> set[str]:
    target = source.with_name("export")
    copy_side_files(source, target, byte_tokenizer(), adapter=adapter)
    return {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}


def test_what_is_of_the_model_is_copied_and_nothing_else(source: Path) -> None:
    assert copied(source) == {*COPIED, "additional_chat_templates/tools.jinja"}


def test_an_adapter_has_no_configuration_of_a_model(source: Path) -> None:
    found = copied(source, adapter=True)
    assert found == {*COPIED, "additional_chat_templates/tools.jinja"} - {"config.json", "generation_config.json"}


def test_code_is_copied_where_it_is_the_models(source: Path) -> None:
    (source / "config.json").write_text('{"auto_map": {"AutoConfig": "modeling_own.C"}}', encoding="utf-8")
    assert "modeling_own.py" in copied(source)


def test_copies_of_a_read_only_folder_can_be_changed_and_links_are_followed(source: Path) -> None:
    """As a hub's cache has them."""
    (source / "blob").write_text("contents", encoding="utf-8")
    (source / "LICENSE").unlink()
    (source / "LICENSE").symlink_to(source / "blob")
    (source / "config.json").chmod(0o400)
    copied(source)
    target = source.with_name("export")
    assert not (target / "LICENSE").is_symlink()
    assert (target / "LICENSE").read_text(encoding="utf-8") == "contents"
    assert os.stat(target / "config.json").st_mode & 0o200


def test_a_source_without_a_tokenizer_gets_the_one_that_trained(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "export").mkdir()
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= copied(tmp_path / "source")


def test_another_dtype_is_said_under_the_names_that_are_there(tmp_path: Path) -> None:
    nested = {"text_config": {"dtype": "bfloat16", "a": 1}, "torch_dtype": "bfloat16", "b": [2]}
    (tmp_path / "config.json").write_text(json.dumps(nested), encoding="utf-8")
    say_dtype(tmp_path, torch.float32)
    found = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert found == {"text_config": {"dtype": "float32", "a": 1}, "torch_dtype": "float32", "b": [2]}
