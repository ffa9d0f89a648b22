"""Data that measure judges: real columns, invented texts, verdicts by hand."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import bad
from tests.support.said import said

BIRD, USER = "Name a bird.", [("user", "Name a bird.")]


def pandalm(*votes: Any, **more: Any) -> dict[str, Any]:
    people = dict(zip(("annotator1", "annotator2", "annotator3"), votes, strict=True))
    row = {"idx": 0, "motivation_app": "Grammarly", "cmp_key": "m_n", "instruction": "Name one.", "input": "Birds"}
    return {**row, "response1": "A", "response2": "B", **people, **more}


@pytest.mark.parametrize(
    ("votes", "says"),
    [
        ((1, 1, 2), "A > B"),
        ((1, 2, 1), "A > B"),
        ((2, 0, 2), "B > A"),
        ((0, 0, 1), "A = B"),
        ((0, 1, 2), "A = B"),
        ((2, None, None), "B > A"),
    ],
)
def test_of_three_annotators_of_pandalm_most_decide(tmp_path: Path, votes: Any, says: str) -> None:
    found = said(tmp_path, [pandalm(*votes)])
    assert (found.comparisons, found.report.layouts) == ([says], {"pandalm": 1})
    assert found.instructions == [[("user", "Name one.\nBirds")]]
    assert not found.report.tables[0].unread


def test_a_vote_of_pandalm_that_is_none_is_bad() -> None:
    assert bad(pandalm(1, 3, 1)) == ("annotator2", "not 1, 2 or 0")
    assert bad(pandalm(None, None, None)) == ("annotator1", "no vote")


def test_the_higher_of_two_scores_of_judgelm_wins_and_minus_one_is_no_verdict(tmp_path: Path) -> None:
    row = {"question_id": 0, "question_body": BIRD, "answer1_body": "A", "answer2_body": "B", "answer1_model_id": "m",
           "answer2_model_id": "n", "answer1_metadata": {"decoding_method": "s"}, "answer2_metadata": {}, "text": "8 7",
           "review_id": "r", "reviewer_id": "gpt-4", "metadata": {}, "reference": {"text": "A wren."}}  # fmt: skip
    rows = [{**row, "score": score} for score in ([8.0, 7.0], [1, 10], [5.0, 5.0], [-1, -1])]
    found = said(tmp_path, rows)
    assert (found.comparisons, found.instructions) == (["A > B", "B > A", "A = B"], [USER])
    assert (found.report.skipped, found.report.bad_rows) == ({"no verdict": 1}, ())
    assert (found.report.layouts, found.report.tables[0].unread) == ({"judgelm": 1}, {})
    assert bad({**row, "score": [{"logprobs": -1.0}, {"logprobs": -2.0}]}) == ("score.0", "not a number")
    assert bad({**row, "score": [1.0]}) == ("score.1", "missing field")


def test_auto_j_counts_from_0_and_2_is_a_tie(tmp_path: Path) -> None:
    row = {"scenario": "open_question", "prompt": BIRD, "response 1": "A", "response 2": "B"}
    found = said(tmp_path, [{**row, "label": label} for label in (0, 1, 2)])
    assert (found.comparisons, found.report.layouts) == (["A > B", "B > A", "A = B"], {"auto-j": 1})
    assert (found.instructions, found.report.tables[0].note) == ([USER], "")


@pytest.mark.parametrize(
    ("normal", "expert", "says"),
    [
        (["A-is-clearly-better", "A-is-slightly-better"], ["Tie", "B-is-slightly-better"], "A > B"),
        (["A-is-clearly-better", "Tie"], ["B-is-clearly-better", "B-is-slightly-better"], "B > A"),
        (["A-is-clearly-better", "A-is-slightly-better"], ["B-is-clearly-better", "B-is-slightly-better"], "A = B"),
        ([], ["B-is-clearly-better"], "B > A"),
    ],
)
def test_of_four_votes_of_multipref_most_decide(tmp_path: Path, normal: Any, expert: Any, says: str) -> None:
    votes = [
        [{"evaluator": "p", "overall_pref": one, "helpful_pref": "Tie"} for one in each] for each in (normal, expert)
    ]
    row = {"comparison_id": "c", "prompt_id": "p", "text": BIRD, "model_a": "m", "model_b": "n", "completion_a": "A",
           "completion_b": "B", "normal_worker_annotations": votes[0], "expert_worker_annotations": votes[1],
           "subject_of_study": None, "highest_level_degree": None}  # fmt: skip
    found = said(tmp_path, [row])
    assert (found.comparisons, found.instructions, found.report.layouts) == ([says], [USER], {"multipref": 1})
    wrong = {**row, "normal_worker_annotations": [{"overall_pref": "A"}]}
    assert bad(wrong)[0] == "normal_worker_annotations[0].overall_pref"


def test_the_human_label_of_preference_dissection_decides(tmp_path: Path) -> None:
    row = {"query": BIRD, "scenario_auto-j": "s", "scenario_group": "g", "gpt-4-turbo_reference": "A bird is a wren.",
           "response_1": {"content": "A", "model_name": "m", "num_words": 1}, "response_2": {"content": "B"},
           "preference_labels": {"gpt-4-turbo": "response_1", "human": "response_2"}}  # fmt: skip
    found = said(tmp_path, [row])
    assert (found.comparisons, found.instructions) == (["B > A"], [USER])
    assert found.report.layouts == {"preference-dissection": 1}
