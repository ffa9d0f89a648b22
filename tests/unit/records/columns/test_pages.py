"""Tables that go to disk when they are large say the same as tables in memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from jpo_dist.records.columns import pages
from jpo_dist.records.columns.pages import (
    Gather,
    Picked,
    Spool,
    chunks,
    end_to_end,
    kept_rows,
    let_go,
    map_table,
    save_array,
    stretches,
    write_table,
)
from jpo_dist.records.comparisons import ComparisonSet
from tests.support.drawn import content, edges

SCHEMA = pa.schema({"n": pa.int64(), "text": pa.list_(pa.string())})


def batch(start: int, count: int) -> pa.RecordBatch:
    rows = range(start, start + count)
    return pa.RecordBatch.from_pydict({"n": rows, "text": [[str(n)] * (n % 3) for n in rows]}, SCHEMA)


@pytest.fixture(params=[0, 100, 1 << 20], ids=["on disk", "partly", "in memory"])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(pages, "IN_MEMORY", request.param)
    return request.param


def test_a_spool_keeps_order_and_goes_on_after_it_was_looked_at(limit: int):
    spool = Spool(SCHEMA)
    for start in range(0, 50, 10):
        spool.add(batch(start, 10))
        assert spool.table().to_pylist() == batch(0, start + 10).to_pylist()
        assert len(spool) == start + 10
        let_go()


def test_rows_are_gathered_across_chunks_in_any_order(limit: int):
    table = pa.Table.from_batches([batch(0, 3), batch(3, 1), batch(4, 6)])
    rows = np.array([9, 0, 3, 3, 8, 1])
    assert Gather(table).of(rows).to_pylist() == table.take(rows).to_pylist()
    picked = Picked(table, rows)
    assert picked.whole.to_pylist() == table.take(rows).to_pylist()
    assert picked["n"].to_pylist() == rows.tolist()
    assert picked.take(pa.array([5, 0]))["n"].to_pylist() == [1, 9]
    assert [len(part) for part in picked.to_batches(4)] == [4, 2]
    assert picked.select(["n"]).to_pylist() == [{"n": n} for n in rows.tolist()], "what it lacks, a table does"


def test_rows_that_are_kept_are_those_of_a_filter(limit: int):
    table = pa.Table.from_batches([batch(0, 3), batch(3, 1), batch(4, 6)])
    for keep in (np.arange(10) % 3 > 0, np.zeros(10, dtype=bool), np.ones(10, dtype=bool)):
        found = kept_rows(table, keep)
        assert found.equals(table.filter(pa.array(keep)))
        assert found.schema == SCHEMA


def test_a_table_on_disk_is_the_table(tmp_path, limit: int):
    table = pa.Table.from_batches([batch(0, 3), batch(3, 30)])
    write_table(table, tmp_path / "t.arrow")
    found = map_table(tmp_path / "t.arrow")
    assert found.equals(table)
    assert pa.Table.from_batches(chunks(found, 2)).equals(table)


def test_arrays_end_to_end(limit: int):
    pieces = [np.arange(n) for n in (0, 100, 3, 50)]
    assert end_to_end(iter(pieces), "i4").tolist() == np.concatenate(pieces).tolist()
    assert end_to_end(iter([]), "i4").tolist() == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edges)
def test_a_set_on_disk_is_the_set(monkeypatch: pytest.MonkeyPatch, comparisons):
    plain = ComparisonSet.build(comparisons)
    monkeypatch.setattr(pages, "IN_MEMORY", 0)
    spilled = ComparisonSet.build(comparisons)
    monkeypatch.undo()
    assert content(spilled) == comparisons
    assert spilled.fingerprint == plain.fingerprint


def test_an_array_is_saved_as_numpy_saves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jpo_dist.records.columns.pages.IN_MEMORY", 64)
    for array in (np.arange(100, dtype="i4"), np.arange(0, dtype="i8"), np.arange(33) ** 2):
        np.save(tmp_path / "theirs.npy", array)
        save_array(array, tmp_path / "ours.npy")
        assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()
        assert np.array_equal(np.concatenate([array[:0], *stretches(array)]), array)


def test_zeros_to_write_into_are_mapped_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "IN_MEMORY", 64)
    for length in (0, 16, 17, 5000):
        array = pages.blank(length, "f4")
        assert isinstance(array, np.memmap) == (length > 16)
        assert array.dtype == np.float32
        assert not array.any()
        array[:] = np.arange(length)
        pages.let_go()
        assert array.tolist() == list(range(length)), "what was written stays"
    pages.give_back()
