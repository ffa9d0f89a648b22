"""A source with settings of its own: renamed columns, named scores, a named layout."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jpo_dist.data.config import SourceConfig
from jpo_dist.data.read import read_source
from jpo_dist.data.read_report import BadRowError
from jpo_dist.records.comparisons import Item
from tests.support.rows import write_rows


def test_columns_can_be_renamed_and_scores_averaged(tmp_path: Path):
    rows = [
        {"question": "2+2?", "answer": "4", "helpful": 4, "right": 5},
        {"question": "2+2?", "answer": "5", "helpful": 4, "right": "?"},
    ]
    source = SourceConfig(
        path=write_rows(tmp_path / "r.jsonl", rows),
        columns={"prompt": "question", "completion": "answer"},
        score=["helpful", "right"],
    )
    found = read_source(source, "skip")
    assert [(r.item, r.score) for r in found.ratings] == [(Item.of("2+2?", "4"), 4.5)]
    assert (found.tally.responses, dict(found.tally.skipped)) == (2, {"not a number": 1})
    assert found.tally.bad_rows[0].field == "right"


HONESTY = [
    {"prompt": "2+2?", "completion": "4", "score": score, "honesty": honesty}
    for score, honesty in ((4.5, 1), (1, 5), (3, 3))
]


@pytest.mark.parametrize("layout", ["auto", "rating"])
@pytest.mark.parametrize(
    ("named", "key"),
    [
        ({"score": "honsety"}, r"score \(honsety\)"),
        ({"score": ["honesty", "honsety"]}, r"score \(honsety\)"),
        ({"columns": {"score": "honsety"}}, r"columns\.score \(honsety\)"),
        ({"columns": {"prompt": "honsety"}}, r"columns\.prompt \(honsety\)"),
        ({"columns": {"weight": "honsety"}}, r"columns\.weight \(honsety\)"),
    ],
)
def test_a_named_column_that_no_row_has_is_refused_and_no_other_is_taken(
    tmp_path: Path, layout: Any, named: dict[str, Any], key: str
):
    """`score` read in place of a misspelt `honesty` turned every preference round."""
    source = SourceConfig(path=write_rows(tmp_path / "r.jsonl", HONESTY), layout=layout, **named)
    with pytest.raises(
        ValueError,
        match=rf"r\.jsonl: {key} is in none .* mean honesty\? there are: completion, honesty, prompt, score$",
    ):
        read_source(source, "skip")


@pytest.mark.parametrize("own", ["score", "helpfulness", "label"])
@pytest.mark.parametrize("named", [{"score": "honesty"}, {"columns": {"score": "honesty"}}, {"score": ["honesty"] * 2}])
@pytest.mark.parametrize("lacking", [1, 2])
def test_a_row_without_the_named_score_is_bad_and_its_own_score_is_on_no_scale_of_this_source(
    tmp_path: Path, own: str, named: dict[str, Any], lacking: int
):
    """Also where most rows lack it, and where a layout could be found by what they have."""
    rows = [{**row, own: 1} for row in HONESTY]
    for row in rows[:lacking]:
        del row["honesty"]
    file = write_rows(tmp_path / "r.jsonl", rows)
    found = read_source(SourceConfig(path=file, **named), "skip")
    assert [r.score for r in found.ratings] == [5, 3][lacking - 1 :]
    assert (found.tally.responses, dict(found.tally.skipped)) == (3, {"missing field": lacking})
    with pytest.raises(BadRowError, match="line 1: honesty: missing field"):
        read_source(SourceConfig(path=file, **named), "error")


def test_a_row_without_a_renamed_column_does_not_take_its_own(tmp_path: Path):
    rows = [{"prompt": "Not this.", "chosen": "4", "rejected": "5", "weight": 9} for _ in range(3)]
    rows = [{**row, **more} for row, more in zip(rows, ({"q": "2+2?", "w": 2}, {"q": "2+2?"}, {"w": 2}), strict=True)]
    source = SourceConfig(path=write_rows(tmp_path / "r.jsonl", rows), columns={"prompt": "q", "weight": "w"})
    found = read_source(source, "skip")
    assert [(c.winner, c.weight) for c in found.comparisons] == [(Item.of("2+2?", "4"), 2.0)]
    assert [(b.field, b.reason) for b in found.tally.bad_rows] == [("w", "missing field"), ("q", "missing field")]


@pytest.mark.parametrize("responses", ["completions", "answers"])
def test_a_score_named_in_completions_is_a_key_of_each(tmp_path: Path, responses: str):
    good = [{"response": "4", "overall_score": 1, "honesty": 5}, {"response": "5", "overall_score": 9, "honesty": 2}]
    bad = [{"response": "6", "overall_score": 3}, {"response": "7", "honesty": 1}]
    rows = [{"instruction": "2+2?", responses: found, "score": 7} for found in (good, bad, ["8"])]
    file = write_rows(tmp_path / "r.jsonl", rows)
    columns = {} if responses == "completions" else {"completions": responses}
    found = read_source(SourceConfig(path=file, columns=columns, score="honesty"), "skip")
    assert [(r.item.response, r.score) for r in found.ratings] == [("4", 5), ("5", 2), ("7", 1)]
    assert [(b.line, b.field, b.reason) for b in found.tally.bad_rows] == [
        (2, "completions[0].honesty", "missing field"), (3, "completions[0]", "not an object"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"score \(honsety\) .*honesty\? there are: honesty, overall_score, response$"):
        read_source(SourceConfig(path=file, columns=columns, score="honsety"), "skip")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2+2?", "chosen": "4", "rejected": "5", "honesty": 1},
        {"prompt": "2+2?", "responses": ["4", "5"], "scores": [1, 2], "honesty": 1},
        {"prompt": "2+2?", "responses": ["4", "5"], "honesty": 1},
    ],
)
def test_a_score_that_the_layout_would_not_look_at_is_refused(tmp_path: Path, row: dict[str, Any]):
    source = SourceConfig(path=write_rows(tmp_path / "r.jsonl", [row]), score="honesty")
    with pytest.raises(ValueError, match=r"r\.jsonl: score \(honesty\) names .* this is prompt .*: leave score out"):
        read_source(source, "skip")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"columns": {"complet": "honesty"}},
            r"columns\.complet: .* mean completion\? known: .*, completion, .*, score,",
        ),
        ({"columns": {"xyz": "honesty"}}, r"columns\.xyz: no layout has such a column; known: "),
        ({"columns": {"score": "a"}, "score": "b"}, r"score \(b\) and columns\.score \(a\): leave one out"),
        ({"layout": "thumbs", "score": "honesty"}, r"score \(honesty\) is not read in layout thumbs"),
        ({"path": ""}, r"path \(''\): nothing is named"),
        ({"path": []}, r"path \(\[\]\): nothing is named"),
        ({"path": ["a.jsonl", ""]}, r"path \(\['a.jsonl', ''\]\): nothing is named"),
    ],
)
def test_settings_of_a_source_that_can_mean_nothing_are_refused(settings: dict[str, Any], told: str):
    with pytest.raises(ValidationError, match=told):
        SourceConfig.model_validate({"path": "a.jsonl", **settings})


def test_a_named_layout_is_read_where_columns_alone_would_say_another(tmp_path: Path):
    row = {"prompt": "2+2?", "chosen": "4", "rejected": "5", "completion": "six", "label": True}
    file = write_rows(tmp_path / "r.jsonl", [row])
    assert len(read_source(SourceConfig(path=file), "error").comparisons) == 1
    assert [r.item.response for r in read_source(SourceConfig(path=file, layout="thumbs"), "error").ratings] == ["six"]
