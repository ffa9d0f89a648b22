"""Tokens that a host makes once and its ranks map."""

from pathlib import Path

import numpy as np
import pytest

from jpo_dist.batches import prepare as module
from jpo_dist.batches.prepare import tokens_of
from jpo_dist.config.sections import DataConfig
from tests.support.tiny import byte_tokenizer, comparisons

PLAIN = DataConfig(train="unused", template="### {instruction}\n>")


def test_tokens_of_a_large_set_are_made_once_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPO_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "KEPT_FROM", 1)
    made, tokenizer = comparisons(12), byte_tokenizer()
    plain = tokens_of(tokenizer, made, PLAIN)
    monkeypatch.setattr(module, "tokenize", lambda *_: pytest.fail("encoded again"))
    mapped = tokens_of(tokenizer, made, PLAIN)
    assert isinstance(mapped.ids_T, np.memmap)
    for name in ("ids_T", "offsets", "instruction_lengths_N", "truncated"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(plain, name))


@pytest.mark.parametrize("other", ["template", "items", "tokenizer", "cut"])
def test_tokens_of_something_else_are_not_taken(other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPO_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "KEPT_FROM", 1)
    tokens_of(byte_tokenizer(), comparisons(12), PLAIN)
    changes = {"template": {"template": "{instruction}"}, "cut": {"over_long": "truncate", "max_length": 12,
               "max_instruction_length": 8}}  # fmt: skip
    settings = PLAIN.model_copy(update=changes.get(other, {}))
    made, tokenizer = comparisons(11 if other == "items" else 12), byte_tokenizer(with_bos=other != "tokenizer")
    found = tokens_of(tokenizer, made, settings)
    expected = module.tokenize(tokenizer, made.all_items(), settings)
    assert found.ids_T.tolist() == expected.ids_T.tolist()
    assert len(list((tmp_path / "tokens").glob("*/facts.json"))) == 2


def test_a_half_written_folder_is_not_taken_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPO_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "KEPT_FROM", 1)
    plain = tokens_of(byte_tokenizer(), comparisons(12), PLAIN)
    (folder,) = (path for path in (tmp_path / "tokens").iterdir() if path.is_dir())
    (folder / "facts.json").unlink()
    (folder / "ids.npy").write_bytes(b"half")
    assert tokens_of(byte_tokenizer(), comparisons(12), PLAIN).ids_T.tolist() == plain.ids_T.tolist()
