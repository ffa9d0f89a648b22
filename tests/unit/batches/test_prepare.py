"""What both items of a comparison begin with, and tokens that a host makes once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.batches import prepare as module
from jpo_dist.batches.prepare import prepare, tokens_of
from jpo_dist.batches.shared_prefix import shared_prefixes
from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.config.sections import DataConfig, TrainConfig
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from tests.support.tiny import byte_tokenizer, comparisons

PLAIN = DataConfig(train="unused", template="### {instruction}\n>")


@st.composite
def token_sets(draw: st.DrawFn) -> tuple[TokenizedItems, np.ndarray, np.ndarray]:
    """Few different ids, so that prefixes of every length are shared; instructions that are empty or everything."""
    ids = draw(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=2, max_size=6))
    boundaries = [draw(st.integers(0, len(i))) for i in ids]
    rows = st.integers(0, len(ids) - 1)
    pairs = draw(st.lists(st.tuples(rows, rows), min_size=1, max_size=12))
    offsets = np.cumsum([0, *(len(i) for i in ids)])
    tokens = TokenizedItems(np.array([i for item in ids for i in item], np.int32), offsets, np.array(boundaries))
    return tokens, *(np.array(rows) for rows in zip(*pairs, strict=True))


@settings(deadline=None)
@given(token_sets())
def test_shared_prefixes_equal_a_plain_loop(case: tuple[TokenizedItems, np.ndarray, np.ndarray]) -> None:
    tokens, winners, losers = case
    expected = []
    for w, v in zip(winners, losers, strict=True):
        first = tokens.ids(w)[: tokens.instruction_lengths_N[w]].tolist()
        second = tokens.ids(v)[: tokens.instruction_lengths_N[v]].tolist()
        same = [a == b for a, b in zip(first, second, strict=False)]
        expected.append(same.index(False) if False in same else len(same))
    assert shared_prefixes(tokens, winners, losers).tolist() == expected


def test_many_comparisons_are_looked_at_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = prepare(byte_tokenizer(), comparisons(12), PLAIN, TrainConfig())
    monkeypatch.setattr("jpo_dist.batches.shared_prefix._AT_A_TIME", 5)
    again = shared_prefixes(ready.tokens, ready.comparisons.winners_C, ready.comparisons.losers_C)
    assert again.tolist() == ready.shared_C.tolist()
    assert ready.shared_C.min() >= len("<s>### ") - 2, "BOS and the template's head are common to all"


def test_equal_instructions_share_all_of_it_and_nothing_of_the_response() -> None:
    made = ComparisonSet.build([Comparison(Item.of("say", "yes please"), Item.of("say", "yes"))])
    ready = prepare(byte_tokenizer(), made, PLAIN, TrainConfig())
    assert ready.shared_C.tolist() == [ready.tokens.instruction_lengths_N[0]]
    assert prepare(byte_tokenizer(), made, PLAIN, TrainConfig(score_shared_prefix=True)).shared_C.tolist() == [0]


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
