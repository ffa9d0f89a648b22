"""A set on disk is the set that was written, or is refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.folder import read_set, write_set
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
