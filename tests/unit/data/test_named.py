"""What layouts say of single items: a word and a score that mean the same in each."""

from collections import defaultdict
from pathlib import Path

import pytest

from jpo_dist.data.collected import Preferences
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.examples import named_in
from jpo_dist.data.layouts import LAYOUTS, Layout
from jpo_dist.data.locate import Table, open_place
from jpo_dist.data.read import collect
from tests.support.rows import write_rows

OF_RESPONSES = [layout for layout in LAYOUTS if layout.example and layout.kind == "responses"]


@pytest.mark.parametrize("layout", OF_RESPONSES, ids=lambda layout: layout.name)
def test_the_best_of_each_ranking_has_the_place_0(tmp_path: Path, layout: Layout) -> None:
    """What is imitated, desirable or gold goes by that."""
    file, part = write_rows(tmp_path / "a.jsonl", list(layout.example)), Preferences()
    [place] = open_place(file, [])
    assert isinstance(place, Table)
    assert collect(place, SourceConfig(path=file), "error", part) == layout.name
    rankings = defaultdict[str, list[float]](list)
    for one in named_in(part.said(), layout.name, file):
        if one.says == "ranked":
            rankings[one.scale].append(one.score)
    assert {max(places) for places in rankings.values()} <= {0.0}
    assert not rankings or min(min(places) for places in rankings.values()) < 0
