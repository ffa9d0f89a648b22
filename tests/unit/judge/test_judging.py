"""Checkers as judges: the higher score wins, ties are kept, and what cannot be used is named."""

import json

import pytest

from jpo_dist.data.checker import JudgeError
from jpo_dist.judge.config import JudgeConfig
from jpo_dist.judge.judging import judge, write
from jpo_dist.judge.verdict import Candidate, in_shown_order
from jpo_dist.records.comparisons import Comparison, Item
from jpo_dist.records.folder import read_set

PEAR, MUD = Item.of("Name a fruit.", "A pear."), Item.of("Name a fruit.", "Mud.")


def by_length(item: Item) -> float | None:
    return None if "?" in item.response else float(len(item.response))


def broken(item: Item) -> float:
    raise ZeroDivisionError("oh")


def infinite(item: Item) -> float:
    return float("inf")


def checker(function, band=0.0):
    settings = {"function": f"tests.unit.judge.test_judging:{function}", "tie_band": band}
    return JudgeConfig.model_validate({"candidates": "c", "output": "o", "kind": "checker", "checker": settings})


def test_a_checker_decides_ties_and_cannot_tell(tmp_path):
    r = [Item.of("i", text) for text in ("aaaa", "bb", "ccc", "?")]
    candidates = [Candidate(r[1], r[0], "f:1"), Candidate(r[0], r[2], "f:2"), Candidate(r[0], r[3], "f:3")]
    judged, report = judge(candidates, checker("by_length", 1.0), tmp_path)
    assert [one.outcome for one in judged] == ["decided", "tie", "unparsable"]
    assert judged[0].comparison == Comparison(
        r[0], r[1], source="f:1", origin="judged", annotator="tests.unit.judge.test_judging:by_length"
    )
    assert judged[1].comparison is not None
    assert (judged[1].comparison.tie, judged[1].comparison.winner) == (True, in_shown_order(r[0], r[2])[0])
    write(judged, report, tmp_path)
    built = read_set(tmp_path)
    assert built.is_tie_C.tolist() == [False, True]
    assert built.comparisons["origin"].to_pylist() == ["judged", "judged"]
    lines = [json.loads(line) for line in (tmp_path / "judged.jsonl").read_text().splitlines()]
    assert [line["winner"] for line in lines] == [r[0].id, None, None]


@pytest.mark.parametrize(
    ("function", "message"),
    [("broken", "ZeroDivisionError: oh"), ("infinite", "returned inf"), ("missing", "correct the name")],
)
def test_a_checker_that_cannot_be_used(tmp_path, function, message):
    with pytest.raises(JudgeError, match=message):
        judge([Candidate(PEAR, MUD, "f:1")], checker(function), tmp_path)


def test_an_item_is_not_compared_with_itself(tmp_path):
    with pytest.raises(ValueError, match="f:7: both items"):
        judge([Candidate(PEAR, PEAR, "f:7")], checker("by_length"), tmp_path)
