"""A set on disk is the set that was written, or is refused."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from jpo_dist.digests import DIGESTS, Damaged
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.folder import ITEMS, read_set, split_names, write_set
from tests.support.drawn import content, edges

PEAR, BRICK = Item.of("Name a fruit.", "A pear."), Item.of("Name a fruit.", "A brick.")
BLUE, RED = Item.of("Name a color.", "Blue."), Item.of("Name a color.", "Red.")


@settings(max_examples=25, deadline=None)
@given(edges)
def test_a_folder_gives_back_what_was_written(tmp_path_factory, comparisons):
    folder = tmp_path_factory.mktemp("set")
    built = ComparisonSet.build(comparisons)
    write_set(built, folder, {"rows": 7})
    again = read_set(folder)
    assert again.items.equals(built.items)
    assert again.comparisons.equals(built.comparisons)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report == {
        "fingerprint": again.fingerprint, "items": built.num_items, "comparisons": len(comparisons), "rows": 7,
    }  # fmt: skip


def test_a_subset_survives_writing(tmp_path):
    part = ComparisonSet.build([Comparison(PEAR, BRICK), Comparison(BLUE, RED)]).subset(np.array([False, True]))
    write_set(part, tmp_path)
    assert read_set(tmp_path).fingerprint == part.fingerprint
    assert content(read_set(tmp_path)) == [Comparison(BLUE, RED)]


def many() -> ComparisonSet:
    return ComparisonSet.build(
        [Comparison(Item.of(f"Say {n}.", f"{n}!"), Item.of(f"Say {n}.", f"{n + 1}?")) for n in range(200)]
    )


def damaged_at(file: Path, at: int, bit: int) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])


def test_no_flipped_bit_is_read_as_other_data(tmp_path):
    """Of 300 such sets 136 were read as other data."""
    built, drawn = many(), random.Random(0)
    write_set(built, tmp_path)
    for name in ("items.parquet", "comparisons.parquet"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(40):
            damaged_at(tmp_path / name, drawn.randrange(len(whole)), 1 << drawn.randrange(8))
            with pytest.raises(Damaged, match=rf"{tmp_path}/{name} is damaged .*; rebuild it"):
                read_set(tmp_path)
            (tmp_path / name).write_bytes(whole)
    assert read_set(tmp_path).fingerprint == built.fingerprint


@pytest.mark.parametrize("name", ["items.parquet", "comparisons.parquet", DIGESTS])
def test_a_part_that_is_cut_or_missing_is_named(tmp_path, name):
    write_set(many(), tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Damaged, match=name):
        read_set(tmp_path)
    (tmp_path / name).unlink()
    if name != DIGESTS:  # without it the set is one of an older version
        with pytest.raises(ValueError, match=name):
            read_set(tmp_path)


def test_a_set_of_an_older_version_is_read_and_its_texts_are_held_against_their_ids(tmp_path):
    built = many()
    write_set(built, tmp_path)
    (tmp_path / DIGESTS).unlink()
    assert read_set(tmp_path).fingerprint == built.fingerprint
    texts = built.items["response"].to_pylist()
    texts[7] = "another"
    other = built.items.set_column(2, "response", pa.array(texts))
    pq.write_table(other, tmp_path / ITEMS)
    with pytest.raises(Damaged, match="the id of item 7 is not that of its text"):
        read_set(tmp_path)
    (tmp_path / "comparisons.parquet").write_bytes(b"PAR1 no more")
    for reads in (read_set, split_names):
        (tmp_path / ITEMS).unlink(missing_ok=True)
        pq.write_table(built.items, tmp_path / ITEMS)
        with pytest.raises(Damaged, match=r"comparisons\.parquet cannot be read as Parquet"):
            reads(tmp_path)


@pytest.mark.parametrize("row", [2, -1])
def test_a_comparison_of_an_item_that_is_not_there_is_refused(tmp_path, row):
    built = ComparisonSet.build([Comparison(PEAR, BRICK)])
    write_set(built, tmp_path)
    broken = built.comparisons.set_column(0, "winner", pa.array([row], pa.int64()))
    pq.write_table(broken, tmp_path / "comparisons.parquet")
    with pytest.raises(ValueError, match="rebuild it"):
        read_set(tmp_path)


def test_reading_a_folder_without_a_set_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_set(tmp_path)
