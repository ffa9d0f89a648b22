"""What both items of a comparison begin with, against a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.batches.prepare import prepare
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
    monkeypatch.setattr("jpo_dist.batches.shared_prefix.AT_A_TIME", 5)
    again = shared_prefixes(ready.tokens, ready.comparisons.winners_C, ready.comparisons.losers_C)
    assert again.tolist() == ready.shared_C.tolist()
    assert ready.shared_C.min() >= len("<s>### ") - 2, "BOS and the template's head are common to all"


def test_equal_instructions_share_all_of_it_and_nothing_of_the_response() -> None:
    made = ComparisonSet.build([Comparison(Item.of("say", "yes please"), Item.of("say", "yes"))])
    ready = prepare(byte_tokenizer(), made, PLAIN, TrainConfig())
    assert ready.shared_C.tolist() == [ready.tokens.instruction_lengths_N[0]]
    assert prepare(byte_tokenizer(), made, PLAIN, TrainConfig(score_shared_prefix=True)).shared_C.tolist() == [0]
