"""Checkers as judges: the higher score wins, ties are kept, and what cannot be used is named."""

import json

import pytest

from jpo_dist.data.checker import JudgeError
from jpo_dist.judge.config import JudgeConfig
from jpo_dist.judge.judging import judge, write
from jpo_dist.judge.verdict import Candidate, in_shown_order
from jpo_dist.records.comparisons import Comparison, Item
from jpo_dist.records.folder import read_set
from jpo_dist.records.groups import grouping
from jpo_dist.statistics.intervals import wilson

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


def test_what_a_candidates_columns_say_stays_with_its_verdict(tmp_path):
    r = [Item.of("i", text) for text in ("aaaa", "bb", "ccc", "?")]
    pairs = [(r[0], r[1], "DE"), (r[0], r[2], "DE"), (r[0], r[3], "FR"), (r[1], r[2], None)]
    candidates = [Candidate(a, b, f"f:{n}", (("country", c),) if c else ()) for n, (a, b, c) in enumerate(pairs)]
    judged, report = judge(candidates, checker("by_length", 1.0), tmp_path)
    write(judged, report, tmp_path)
    assert grouping(read_set(tmp_path), "country").told() == "country: DE 2, no value 1"
    lines = [json.loads(line) for line in (tmp_path / "judged.jsonl").read_text().splitlines()]
    assert [line.get("groups") for line in lines] == [{"country": "DE"}, {"country": "DE"}, {"country": "FR"}, None]
    found = report["groups"]["country"]
    assert [(row["value"], row["decided"], row["tie"], row["unparsable"]) for row in found["values"]] == [
        ("DE", 1, 1, 0), ("FR", 0, 0, 1),
    ]  # fmt: skip
    assert [row["tie_share"] for row in found["values"]] == [wilson(1, 2), None]
    assert (found["no_value"], found["more_values"]) == (1, 0)
    bare, without = judge([c._replace(groups=()) for c in candidates], checker("by_length", 1.0), tmp_path / "bare")
    assert "groups" not in without
    assert [one.comparison and one.comparison.winner for one in bare] == [
        one.comparison and one.comparison.winner for one in judged
    ]


def test_the_annotator_is_no_group_of_what_will_be_judged():
    with pytest.raises(ValueError, match=r"groups\n.* \(annotator\): it will be who judges now"):
        JudgeConfig.model_validate({**checker("by_length").model_dump(), "groups": ["annotator"]})


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


def test_the_splits_of_candidates_are_those_of_their_verdicts(tmp_path):
    words = ("train", "train", "validation", "test", "test")
    pairs = [(Item.of(f"i{n}", "aaaa"), Item.of(f"i{n}", ("bb", "?")[n == 4])) for n in range(5)]
    candidates = [Candidate(*pair, f"f:{n}", split=words[n]) for n, pair in enumerate(pairs)]
    judged, report = judge(candidates, checker("by_length"), tmp_path)
    write(judged, report, tmp_path)
    assert read_set(tmp_path).comparisons["split"].to_pylist() == [*words[:4]]
    assert report["splits"] == {"train": 2, "validation": 1, "test": 1}, "verdicts: one has none"
    lines = [json.loads(line) for line in (tmp_path / "judged.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines] == [*words]
    bare, without = judge([c._replace(split=None) for c in candidates], checker("by_length"), tmp_path / "bare")
    write(bare, without, tmp_path / "bare")
    assert "splits" not in without
    assert "split" not in json.loads((tmp_path / "bare" / "judged.jsonl").read_text().splitlines()[0])
    assert read_set(tmp_path / "bare").comparisons["split"].null_count == 4
