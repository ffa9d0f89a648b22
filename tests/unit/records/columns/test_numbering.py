"""Numbers for keys and texts, against a dictionary."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.records.columns import numbering as numbering_room
from jpo_dist.records.columns.numbering import Numbering, TextNumbering, as_keys, first_places, numbered, renumbered

calls = st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=6)


@given(calls)
def test_keys_get_the_numbers_that_a_dictionary_would_give(parts):
    found, known, numbering = [], {}, Numbering()
    for count, part in enumerate(parts, 1):
        # Equal low halves: keys that are looked for in the same place of the table are still told apart.
        found += numbering.of(as_keys([bytes(8) + bytes([n] * 8) for n in part])).tolist()
        assert len(numbering) == len({n for seen in parts[:count] for n in seen})
    assert found == [known.setdefault(n, len(known)) for part in parts for n in part]


@pytest.mark.parametrize("at_once", [100, 1 << 18])
def test_many_keys_keep_their_numbers_while_the_table_grows(monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(numbering_room, "PLACED_AT_ONCE", at_once)
    random, numbering, known = np.random.default_rng(0), Numbering(), {}
    for _ in range(20):
        keys = random.integers(0, 3000, 1500)
        digests = [int(k).to_bytes(8, "little") + bytes(8) for k in keys]
        assert numbering.of(as_keys(digests)).tolist() == [known.setdefault(k, len(known)) for k in keys.tolist()]
    assert numbering.keys_N2[:, 0].tolist() == list(known)


@settings(max_examples=40)
@given(st.lists(st.lists(st.text(max_size=2), max_size=6), max_size=4))
def test_texts_of_several_chunks_are_numbered_as_one_column(chunks):
    known: dict[str, int] = {}
    expected = [known.setdefault(text, len(known)) for chunk in chunks for text in chunk]
    column = pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string())
    assert numbered(column).tolist() == expected
    numbering = TextNumbering()
    assert [n for chunk in column.chunks for n in numbering.of(chunk).tolist()] == expected
    assert len(numbering) == len(known)


@given(st.lists(st.integers(-5, 5)) | st.lists(st.integers(0, 9)) | st.lists(st.integers(0, 100)))
def test_codes_in_order_of_first_appearance(codes):
    known: dict[int, int] = {}
    places = {code: codes.index(code) for code in codes}
    assert renumbered(np.array(codes, int)).tolist() == [known.setdefault(code, len(known)) for code in codes]
    values, first = first_places(np.array(codes, int))
    assert (values.tolist(), first.tolist()) == (list(known), [places[code] for code in known])
