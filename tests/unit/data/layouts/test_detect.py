"""Which layout a row is of: every layout is found by its own columns and its own example, and by no other's."""

import csv
import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest

from jpo_dist.data.config import LayoutName
from jpo_dist.data.layouts import LAYOUTS, NAMES, ROWS_TO_DETECT, THUMBS, Layout, Names, layout_of, page, read_row
from jpo_dist.data.layouts.layout import WEIGHTS
from jpo_dist.data.messages import instruction
from tests.support.said import said, said_by

WITH_EXAMPLE = [layout for layout in LAYOUTS if layout.example]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.name}: {' '.join(layout.columns)}")
def test_a_layout_says_what_it_reads_and_what_carries_nothing(layout: Layout):
    found = layout_of(layout.columns)
    assert found is layout or (found and are_told_by_values(found, layout)), "one with fewer columns is found before it"
    assert set(layout.columns) | WEIGHTS <= layout.reads
    assert not layout.reads & layout.carries_nothing
    assert layout.numbers <= layout.reads | {"score", "label"}
    assert layout.means


@pytest.mark.parametrize("layout", WITH_EXAMPLE, ids=lambda layout: layout.name)
def test_its_example_is_of_it_and_is_read(tmp_path: Any, layout: Layout):
    assert layout_of(layout.example[0]) is layout
    assert set(layout.example[0]) <= layout.reads | layout.carries_nothing | {"prompt"}
    if layout.kind == "candidates":
        assert read_row(layout, layout.example[0], Names("a", "a", "a")).comparison
        return
    found = said(tmp_path, list(layout.example))
    assert found.report.layouts == {layout.name: 1}
    good = [comparison for comparison in found.comparisons if comparison.split(" > ")[-1] in ("A spoon.", "A brick.")]
    assert len(good) == len(found.comparisons) or layout.name in ("paper", "judged-joint")


FLAT = [
    layout
    for layout in WITH_EXAMPLE
    if layout.kind != "candidates"
    and not any(isinstance(value, dict | list) for row in layout.example for value in row.values())
]


@pytest.mark.parametrize("layout", FLAT, ids=lambda layout: layout.name)
def test_its_example_says_the_same_in_a_csv_file(tmp_path: Path, layout: Layout):
    """Labels of SHP, PKU-SafeRLHF and AlpacaFarm were text until the layout was known: refused as another coding."""
    found, wanted = said_by(as_csv(tmp_path / "a.csv", layout.example)), said(tmp_path, list(layout.example))
    assert found[:3] == wanted[:3]
    assert (found.report.layouts, found.report.tables[0].note) == (wanted.report.layouts, wanted.report.tables[0].note)


def as_csv(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


# Of these a list in a cell is a text, for which the report has a word, or the row is bad.
NOT_IN_CELLS = {
    "chosen-lists", "ultrainteract", "openai-preference", "nova", "paddle", "alpaca-list", "argilla-ranking",
    "argilla-rating", "argilla-generations", "oasst-trees",
}  # fmt: skip
NESTED = [
    layout
    for layout in WITH_EXAMPLE
    if layout.kind != "candidates" and layout not in FLAT and layout.name not in NOT_IN_CELLS
]
LISTS_OF_TEXTS = ("responses", "distilabel")


@pytest.mark.parametrize(
    ("layout", "how"),
    [(layout, json.dumps) for layout in NESTED] + [(one, str) for one in NESTED if one.name not in LISTS_OF_TEXTS],
    ids=lambda one: one.name if isinstance(one, Layout) else one.__name__,
)
def test_its_lists_and_objects_may_be_text(tmp_path: Path, layout: Layout, how: Callable[[Any], str]):
    """As cells of a CSV file hold them, written by pandas from Parquet: JSON, or as Python writes them."""
    rows = [
        {name: how(value) if isinstance(value, dict | list) else value for name, value in row.items()}
        for row in layout.example
    ]
    found, wanted = said_by(as_csv(tmp_path / "a.csv", rows)), said(tmp_path, list(layout.example))
    assert found[:3] == wanted[:3]
    assert found.report.tables[0].note == wanted.report.tables[0].note


EMPTY = [
    *sorted(instruction.NAMES), "chosen", "rejected", "reject", "completion", "completions", "response", "responses",
    "generations", "answer", "score", "scores", "label", "kto_tag", "winner", "preference", "status",
]  # fmt: skip
"""Columns that other rows of a table that was put together may have."""


@pytest.mark.parametrize("layout", [one for one in WITH_EXAMPLE if one.kind != "candidates"], ids=lambda one: one.name)
def test_columns_with_nothing_in_any_row_are_not_there(tmp_path: Path, layout: Layout):
    wanted = said(tmp_path, list(layout.example))
    for empty in (dict.fromkeys(EMPTY), dict.fromkeys(EMPTY[::2], "")):
        found = said(tmp_path, [{**empty, **row} for row in layout.example])
        assert found[:3] == wanted[:3]


def test_a_row_with_something_in_such_a_column_is_of_another_layout(tmp_path: Path):
    row = {"instruction": "Name a fruit.", "response": "A pear.", "rejected_response": "A brick.", "messages": None}
    chat = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    found = said(tmp_path, [row] * ROWS_TO_DETECT + [{**row, "messages": chat}], "skip")
    assert (found.report.comparisons, found.report.skipped) == (ROWS_TO_DETECT, {"another layout": 1})


def test_every_name_has_an_example_and_is_a_setting():
    assert {layout.name for layout in WITH_EXAMPLE} == set(NAMES)
    nameable = {layout.name for layout in LAYOUTS if layout.kind != "candidates"}
    assert set(get_args(LayoutName)) == nameable | {"auto"}
    assert {layout.name for layout in LAYOUTS if "not liked" in layout.means} == THUMBS


def test_no_two_layouts_ask_for_the_same_columns():
    for one, other in combinations(LAYOUTS, 2):
        assert set(one.columns) != set(other.columns) or one.fits, (one.name, other.name)


def are_told_by_values(one: Layout, other: Layout) -> bool:
    """Whether of two layouts with the same columns one looks at what stands in them."""
    return set(one.columns) == set(other.columns) and bool(one.fits or other.fits)


def test_layouts_are_listed_for_people():
    arena = "\n".join(page.lines(page.described("arena")[0]))
    assert "columns: conversation_a conversation_b winner" in arena
    assert "tie (bothbad) or both_bad: a tie" in arena
    assert [one.name for one in page.described()] == list(NAMES)
    assert page.described("shp")[0].as_dict()["columns"] == ["history human_ref_A human_ref_B labels"]
    with pytest.raises(ValueError, match=r"layout \(shpp\) is none of .*; did you mean shp\? name one"):
        page.described("shpp")
