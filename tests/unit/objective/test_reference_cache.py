"""Log-probs beside the tokens of several sets: found by the ids of an item, whichever set it is in."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.config.sections import ModelConfig
from jpo_dist.objective.reference_cache import Tables, cache_path
from jpo_dist.paths import NoCache
from jpo_dist.records.columns import pages


def tokens(*items: list[int]) -> TokenizedItems:
    """Items by their ids, an instruction of one token each."""
    offsets = np.cumsum([0, *map(len, items)])
    ids = [one for item in items for one in item]
    return TokenizedItems(np.array(ids, np.int32), offsets, np.ones(len(items), np.int64))


def key(ids: list[int]) -> str:
    return hashlib.sha256(np.array(ids, "<i4").tobytes()).hexdigest()[:32]


@pytest.mark.parametrize("in_memory", [pages.IN_MEMORY, 8], ids=["in memory", "mapped"])
def test_an_item_of_two_sets_is_missing_once_and_filled_in_both(
    monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(pages, "IN_MEMORY", in_memory)
    tables = Tables([tokens([1, 2, 3], [4, 5], [1, 2, 3]), tokens([6, 7], [4, 5])])
    assert isinstance(tables.logps_T[0], np.memmap) == (in_memory == 8)
    assert (tables.missing().tolist(), tables.unique) == ([0, 1, 3], 3)
    assert [tables.key(n) for n in range(5)] == [key(ids) for ids in ([1, 2, 3], [4, 5], [1, 2, 3], [6, 7], [4, 5])]
    places = [(found is tables.sets[1], row) for found, row in map(tables.place, range(5))]
    assert places == [(False, 0), (False, 1), (False, 2), (True, 0), (True, 1)]
    tables.fill([(key([1, 2, 3]), np.array([0, -1, -2.5])), (key([9]), np.zeros(1)), (key([4, 5]), np.array([0, -3]))])
    assert tables.missing().tolist() == [3]
    assert tables.logps_T[0].tolist() == [0, -1, -2.5, 0, -3, 0, -1, -2.5]
    assert tables.logps_T[1].tolist() == [0, 0, 0, -3]
    assert tables.fits(key([6, 7]), np.array([0, -1.0]))
    assert not tables.fits(key([6, 7]), np.array([0, 1.0]))
    assert not tables.fits(key([6, 7]), np.zeros(3))
    assert tables.fits(key([9]), np.zeros(7)), "an item of other sets"


def test_keys_that_end_in_a_zero_are_told_apart() -> None:
    """numpy cuts zeros off the end of bytes."""
    (ends_so,) = [ids for ids in ([n] for n in range(2000)) if key(ids).endswith("00")][:1]
    tables = Tables([tokens([1], ends_so)])
    assert tables.key(1) == key(ends_so)
    assert tables.numbers_of(key(ends_so)).tolist() == [1]
    assert tables.numbers_of(key(ends_so)[:-2] + "01").tolist() == []


def test_no_sets_and_empty_ones_miss_nothing() -> None:
    assert Tables([]).missing().tolist() == []
    assert Tables([tokens()]).missing().tolist() == []


def test_a_place_that_holds_no_caches_is_named_by_its_key(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(NoCache, match=rf"^reference\.cache_dir \({place}\) cannot hold caches \(File exists\); name"):
        cache_path(ModelConfig(path="unused"), str(place))
