"""Exports of Argilla's two versions: who counts, means over people, suggestions where nobody answered."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import bad
from tests.support.said import said

BIRD = "Name a bird."
OLD = {"prompt": BIRD, "response1": "A", "response2": "B", "preference-suggestion": None, "external_id": None,
       "metadata": "{}"}  # fmt: skip
NEW = {"id": "i", "status": "completed", "_server_id": "s", "instruction": BIRD, "response1": "A", "response2": "B",
       "ranking.responses.users": ["u", "v"]}  # fmt: skip


def old(*answers: Any) -> dict[str, Any]:
    return {**OLD, "preference": [{"user_id": "u", "value": value, "status": status} for value, status in answers]}


def ranks(a: int, b: int) -> list[dict[str, Any]]:
    return [{"rank": a, "value": "response1"}, {"rank": b, "value": "response2"}]


@pytest.mark.parametrize(("a", "b", "says"), [(1, 2, "A > B"), (2, 1, "B > A"), (1, 1, "A = B")])
def test_a_ranking_of_the_first_version(tmp_path: Path, a: int, b: int, says: str):
    found = said(tmp_path, [old((ranks(a, b), "submitted"))])
    assert (found.comparisons, found.instructions) == ([says], [[("user", BIRD)]])
    of_lists = {"rank": [a, b], "value": ["response1", "response2"]}
    assert said(tmp_path, [old((of_lists, "submitted"))]).comparisons == [says]


def test_only_what_was_submitted_counts_and_people_are_averaged(tmp_path: Path):
    answers = [(ranks(1, 2), "submitted"), (ranks(1, 2), "submitted"), (ranks(2, 1), "submitted")]
    assert said(tmp_path, [old(*answers)]).comparisons == ["A > B"]
    assert said(tmp_path, [old(*answers[1:])]).comparisons == ["A = B"]
    assert said(tmp_path, [old((ranks(1, 2), "discarded"), (ranks(2, 1), "submitted"))]).comparisons == ["B > A"]
    nobody = said(tmp_path, [old((ranks(1, 2), "draft"))])
    assert (nobody.comparisons, nobody.scores) == ([], {"A": None, "B": None})
    proposed = {**old(), "preference-suggestion": ranks(2, 1)}
    assert said(tmp_path, [proposed]).comparisons == ["B > A"]


def test_a_ranking_of_the_second_version(tmp_path: Path):
    row = {**NEW, "response3": "C", "ranking.responses": [["response2", "response1", "response3"]],
           "ranking.responses.status": ["submitted"]}  # fmt: skip
    found = said(tmp_path, [row, {**row, "response3": None, "instruction": "Another?"}])
    assert sorted(found.comparisons) == ["A > C", "B > A", "B > A", "B > C"]
    assert bad({**row, "ranking.responses": [[1, 2]]})[1] == "not a place of a response"


def test_ratings_of_one_response_and_of_several(tmp_path: Path):
    rows = [{"instruction": BIRD, "response": text, "rating.responses": given,
             "rating.responses.status": ["submitted"] * len(given)}
            for text, given in (("A", [5, 4]), ("B", [1]), ("C", []))]  # fmt: skip
    found = said(tmp_path, rows)
    assert (found.comparisons, found.scores) == (["A > B"], {"A": 4.5, "B": 1.0, "C": None})
    row = {"instruction": BIRD, "generation-0": "A", "generation-1": "B", "generation-2": None,
           "generation-0-rating.responses": [2, 4], "generation-0-rating.responses.status": ["submitted", "draft"],
           "generation-1-rating.suggestion": 5, "generation-0-rationale.responses": ["why"]}  # fmt: skip
    several = said(tmp_path, [row])
    assert (several.comparisons, several.scores) == (["B > A"], {"A": 2.0, "B": 5.0})
