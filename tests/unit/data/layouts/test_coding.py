"""Labels that may be coded otherwise than the layout of their columns: refused, or told of, and never guessed at."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.said import compared, said

BIRD = "Name a bird."
OUTPUTS = {"instruction": BIRD, "output_1": "A", "output_2": "B"}
JUDGED = {"instruction": BIRD, "response_0": "A", "response_1": "B"}
STEER2 = {"prompt": BIRD, "response_1": "A", "response_2": "B"}
AUTO_J = {"prompt": BIRD, "response 1": "A", "response 2": "B"}
THUMBS = {"prompt": BIRD, "completion": "A"}
WIDE = {"prompt": BIRD, "response_a": "A", "response_b": "B"}


def rows(row: dict[str, Any], column: str, values: list[Any]) -> list[dict[str, Any]]:
    return [{**row, column: value} for value in values]


@pytest.mark.parametrize(
    ("row", "column", "values", "fix"),
    [
        (OUTPUTS, "label", [0, 1, 1], "prefer: {column: label, a: […], b: […], tie: […]}"),
        (OUTPUTS, "label", ["output_1", "output_2"], "a: output_1, b: output_2"),
        (OUTPUTS, "preference", [0, 1] * 10, "layout: alpaca-farm there"),
        (JUDGED, "feedback", [1, 2] * 10, "a: response_0, b: response_1"),
        (JUDGED, "feedback", [1, 2, 3], "a: response_0, b: response_1"),
        (AUTO_J, "label", [1, 2] * 10, "a: response 1, b: response 2"),
        ({**JUDGED, "prompt": BIRD}, "better_response_id", [1, 2], "prefer: {column: better_response_id"),
        ({"history": BIRD, "human_ref_A": "A", "human_ref_B": "B"}, "labels", [1, 2], "a: human_ref_A"),
        (STEER2, "preference_strength", [1, 7], "from -3 to 3"),
        (STEER2, "preference_strength", [0, 1] * 10, "layout: helpsteer2-preference there"),
        (WIDE, "winner", ["A", "B"], "prefer: {column: winner"),
        (WIDE, "winner", [1, 2, 1], "prefer: {column: winner"),
        (WIDE, "winner", ["A", "B", "tie"], "prefer: {column: winner"),
        (OUTPUTS, "preference", [0, 3, 3], "prefer: {column: preference"),
        (THUMBS, "label", [1, 2], "response: completion, liked: {column: label, up: […], down: […]}"),
        (THUMBS, "label", [1, -1, -1], "liked: {column: label"),
    ],
)
@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_another_coding_is_refused_with_what_to_write(
    tmp_path: Path, row: Any, column: str, values: list[Any], fix: str, on_bad_row: str
) -> None:
    """Also where bad rows are skipped: of labels from 0, those that are 1 would be read, and the other way round."""
    row = {name: value for name, value in row.items() if name != "instruction" or "prompt" not in row}
    with pytest.raises(ValueError, match=f"its column {column} says ") as refused:
        said(tmp_path, rows(row, column, values), on_bad_row)
    assert fix in str(refused.value)
    assert "say what the values mean in a source of jpo data build, layout: {" in str(refused.value)


@pytest.mark.parametrize(
    ("row", "column", "values", "comparisons"),
    [
        (OUTPUTS, "label", [1, 1], ["A > B"] * 2),
        (OUTPUTS, "preference", [1, 0], ["A > B", "A = B"]),
        (JUDGED, "feedback", [1], ["B > A"]),
        (JUDGED, "feedback", [2, 1], ["A = B", "B > A"]),
        (STEER2, "preference_strength", [2], ["B > A"]),
    ],
)
def test_labels_that_two_codings_share_are_told_of(
    tmp_path: Path, row: Any, column: str, values: list[Any], comparisons: list[str]
) -> None:
    found = said(tmp_path, rows(row, column, values))
    assert found.comparisons == comparisons
    assert found.report.tables[0].note.startswith(f"{column} says {values[0] if len(set(values)) == 1 else ''}")
    assert "where it is coded otherwise, say so" in found.report.tables[0].note


@pytest.mark.parametrize(
    ("row", "column", "values"),
    [
        (OUTPUTS, "label", [2, 2]),
        (OUTPUTS, "label", [1, 2] * 20),
        (OUTPUTS, "preference", [1, 2, 0]),
        (OUTPUTS, "preference", [1.2, 1.4]),
        (JUDGED, "feedback", [0, 1, 2] * 10),
        (JUDGED, "feedback", [0, 2] * 10),
        (STEER2, "preference_strength", [-1, 3, 0]),
        (THUMBS, "label", [1, 1]),
        ({"history": BIRD, "human_ref_A": "A", "human_ref_B": "B"}, "labels", [1]),
    ],
)
def test_labels_of_the_layouts_own_coding_need_no_word(
    tmp_path: Path, row: Any, column: str, values: list[Any]
) -> None:
    assert said(tmp_path, rows(row, column, values)).report.tables[0].note == ""


def test_ties_and_a_row_of_no_coding_are_ties_and_a_bad_row(tmp_path: Path) -> None:
    found = said(tmp_path, rows(WIDE, "winner", ["tie", "tie", "?"]), "skip")
    assert (found.comparisons, sum(found.report.skipped.values())) == (["A = B"] * 2, 1)


def test_whoever_names_the_layout_has_decided(tmp_path: Path) -> None:
    ones = rows(OUTPUTS, "preference", [0, 1] * 10)
    assert compared(tmp_path, ones, layout="alpaca-farm") == ["A = B", "A > B"] * 10
    mine = {"instruction": "instruction", "a": "output_1", "b": "output_2"}
    own = {**mine, "prefer": {"column": "preference", "a": [0], "b": [1]}}
    assert compared(tmp_path, ones, layout=own) == ["A > B", "B > A"] * 10
