"""A layout in YAML: what it reads, and what is said of one that can mean nothing."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import parse_as
from jpo_dist.data.config import BuildConfig, SourceConfig
from jpo_dist.data.read import read_source
from jpo_dist.data.read_report import BadRowError
from tests.support.rows import write_rows
from tests.support.said import compared, turns_of

VOTE = {"question": {"full_text": "Name a bird."}, "answer_0": "A", "answer_1": "B", "label": "A", "w": 2.0}
PAIR = {"instruction": "question.full_text", "a": "answer_0", "b": "answer_1"}


def prefer(**said: Any) -> dict[str, Any]:
    return {**PAIR, "prefer": said}


@pytest.mark.parametrize(
    ("layout", "changes", "says"),
    [
        (prefer(column="label", a=["A"], b=["B"], tie=["T", "bad"]), [{"label": x} for x in ("A", "B", "T", "bad")],
         ["A > B", "B > A", "A = B", "A = B"]),
        (prefer(column="label", a=1, b=2), [{"label": 1}, {"label": 2}], ["A > B", "B > A"]),
        (prefer(column="label", a=[True], b=[False]), [{"label": True}, {"label": False}], ["A > B", "B > A"]),
        (prefer(column="v.n", negative="b"), [{"v": {"n": n}} for n in (-1, 0, 2)], ["B > A", "A = B", "A > B"]),
        (prefer(column="v", negative="a", tie_within=1), [{"v": n} for n in (-2, -1, 2)], ["A > B", "A = B", "B > A"]),
        (prefer(scores=["s.0", "s.1"]), [{"s": [1, 0]}, {"s": [0, 1]}, {"s": [1, 1]}], ["A > B", "B > A", "A = B"]),
        (prefer(scores=["x", "y"], better="lower", tie_within=0.5), [{"x": 1, "y": 3}, {"x": 1, "y": 1.5}],
         ["A > B", "A = B"]),
        ({**PAIR, "prefer": "a"}, [{}], ["A > B"]),
        ({**PAIR, "prefer": {"always": "b"}}, [{}], ["B > A"]),
    ],
)  # fmt: skip
def test_which_side_is_better(tmp_path: Path, layout: Any, changes: list[Any], says: list[str]):
    assert compared(tmp_path, [{**VOTE, **change} for change in changes], layout=layout) == says


def test_a_csv_file_has_numbers_where_the_layout_has_them(tmp_path: Path):
    (tmp_path / "v.csv").write_text("q,x,y,label\nName a bird.,1,2,1\n")
    layout = {"instruction": "q", "a": "x", "b": "y", "prefer": {"column": "label", "a": [1], "b": [0]}}
    found = read_source(SourceConfig.model_validate({"path": str(tmp_path / "v.csv"), "layout": layout}), "error")
    assert [(c.winner.response, c.loser.response) for c in found.comparisons] == [("1", "2")]


def test_instructions_of_several_parts_with_system_and_weight(tmp_path: Path):
    row = {
        "s": "Be brief.",
        "q": "Name one.",
        "more": "Birds",
        "x": "A",
        "y": "B",
        "w": 3,
        "sure": 0.5,
        "info": {"p": "?"},
    }
    layout = {"instruction": ["q", "more"], "system": "s", "a": "x", "b": "y", "prefer": "a", "weight": "w",
              "confidence": "sure"}  # fmt: skip
    source = {"path": write_rows(tmp_path / "a.jsonl", [row, {**row, "more": None, "w": None, "s": ""}])}
    found = read_source(SourceConfig.model_validate({**source, "layout": layout}), "error").comparisons
    assert turns_of([c.winner for c in found]) == [
        [("system", "Be brief."), ("user", "Name one.\nBirds")], [("user", "Name one.")],
    ]  # fmt: skip
    assert [(c.weight, c.confidence) for c in found] == [(3.0, 0.5), (1.0, 0.5)]
    words = {"instruction": "About {info.p} and {q}", "a": "x", "b": "y", "prefer": "a"}
    found = read_source(SourceConfig.model_validate({**source, "layout": words}), "error").comparisons
    assert found[0].winner.instruction[0].content == "About ? and Name one."


def test_joint_pairs_and_whole_conversations(tmp_path: Path):
    row = {"p": "Bird?", "q": "Fish?", "x": "A", "y": "B"}
    joint = {"instruction_a": "p", "instruction_b": "q", "a": "x", "b": "y", "prefer": "b"}
    source = SourceConfig.model_validate({"path": write_rows(tmp_path / "a.jsonl", [row]), "layout": joint})
    (found,) = read_source(source, "error").comparisons
    assert (found.protocol, found.winner.response) == ("joint", "B")
    chats = {name: [{"from": "human", "value": "Bird?"}, {"from": "gpt", "value": name}] for name in ("A", "B")}
    assert compared(tmp_path, [chats], layout={"a": "A", "b": "B", "prefer": "a"}) == ["A > B"]


@pytest.mark.parametrize(
    ("row", "layout", "scores"),
    [
        ({"q": "Bird?", "r": "A", "s": {"x": 1, "y": 3}},
         {"instruction": "q", "response": "r", "score": ["s.x", "s.y"]}, {"A": 2.0}),
        ({"q": "Bird?", "r": "A", "s": 3}, {"instruction": "q", "response": "r", "score": "s", "better": "lower"},
         {"A": -3.0}),
        ({"q": "Bird?", "r": "A", "s": "up"},
         {"instruction": "q", "response": "r", "liked": {"column": "s", "up": ["up"], "down": ["down"]}}, {"A": 1.0}),
        ({"c": [{"role": "user", "content": "Bird?"}, {"role": "assistant", "content": "A"}], "s": False},
         {"conversation": "c", "liked": {"column": "s"}}, {"A": 0.0}),
        ({"q": "Bird?", "r": ["A", "B"], "s": [1, 2]}, {"instruction": "q", "responses": "r", "scores": "s"},
         {"A": 1.0, "B": 2.0}),
        ({"q": "Bird?", "r": [{"t": "A", "s": {"n": 1}}]},
         {"instruction": "q", "responses": "r", "text": "t", "score": "s.n"}, {"A": 1.0}),
        ({"q": "Bird?", "r": [{"t": "A", "k": 2}, {"t": "B", "k": 1}]},
         {"instruction": "q", "responses": "r", "text": "t", "rank": "k"}, {"A": -1.0, "B": 0.0}),
        ({"q": "Bird?", "r": ["A", "B"]}, {"instruction": "q", "responses": "r"}, {"A": 0.0, "B": -1.0}),
    ],
)  # fmt: skip
def test_ratings_thumbs_and_rankings(tmp_path: Path, row: Any, layout: Any, scores: dict[str, float]):
    source = {"path": write_rows(tmp_path / "a.jsonl", [row]), "layout": layout}
    found = read_source(SourceConfig.model_validate(source), "error")
    assert {rating.item.response: rating.score for rating in found.ratings} == scores
    assert found.tally.responses == len(scores)
    assert found.tally.layouts == {"your own": 1}


def test_a_column_with_dots_in_its_name_and_structs_of_a_parquet_file(tmp_path: Path):
    rows = [{"q.text": "Bird?", "v": {"a": "A", "b": "B"}, "label.best": 1, "extra": "x"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    layout = {"instruction": "q.text", "a": "v.a", "b": "v.b", "prefer": {"column": "label.best", "a": [0], "b": [1]}}
    source = SourceConfig.model_validate({"path": str(tmp_path / "a.parquet"), "layout": layout})
    assert [c.winner.response for c in read_source(source, "error").comparisons] == ["B"]


def test_a_row_that_lacks_something_is_bad_and_a_name_that_no_row_has_is_refused(tmp_path: Path):
    rows = [VOTE, {**VOTE, "question": {}}, {name: VOTE[name] for name in ("question", "answer_0", "label")}]
    source = {"path": write_rows(tmp_path / "a.jsonl", rows), "layout": prefer(column="label", a=["A"], b=["B"])}
    found = read_source(SourceConfig.model_validate(source), "skip")
    assert [(b.line, b.field, b.reason) for b in found.tally.bad_rows] == [
        (2, "question.full_text", "missing field"), (3, "answer_1", "missing field"),
    ]  # fmt: skip
    with pytest.raises(BadRowError, match=r"line 2: question\.full_text: missing field"):
        read_source(SourceConfig.model_validate(source), "error")
    slip = SourceConfig.model_validate({**source, "layout": {**PAIR, "a": "anwser_0", "prefer": "a"}})
    with pytest.raises(ValueError, match=r"layout\.a \(anwser_0\) is in none of its rows .* mean answer_0\?"):
        read_source(slip, "skip")


def test_pairs_without_a_verdict_are_for_a_judge(tmp_path: Path):
    source = {"path": write_rows(tmp_path / "a.jsonl", [VOTE]), "layout": PAIR}
    with pytest.raises(ValueError, match="pairs without a verdict"):
        read_source(SourceConfig.model_validate(source), "error")


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ({}, r"sources\.0\.layout \(nothing\) is not one kind of row; set a and b"),
        ({**PAIR, "response": "r"}, r"sources\.0\.layout \(a, response\) is not one kind"),
        ({"instruction": "q", "a": "x"}, r"sources\.0\.layout\.b: not set, and a \(x\) is one of two; set both"),
        ({"response": "r"}, r"layout\.instruction: not set; name what the response answers"),
        ({"instruction": "q", "conversation": "c"}, r"layout\.instruction \(q\): the conversation has it"),
        ({"instruction": "q", "response": "r", "prefer": "a"}, r"layout\.prefer says nothing of rows with response"),
        ({**PAIR, "score": "s"}, r"layout\.score says nothing of rows with a and b; it goes with response or"),
        ({**PAIR, "instruction_a": "q"}, r"layout\.instruction_a \(q\): set both of them, or instruction alone"),
        ({"a": "x", "b": "y", "system": "s"}, r"layout\.system \(s\): whole conversations have their own"),
        ({"instruction": "q", "responses": "r", "scores": "s", "rank": "k"}, r"layout\.rank: scores says it already"),
        ({**PAIR, "a": "answers."}, r"layout\.a \(answers\.\) is no path into a row; write names with a dot"),
        ({**PAIR, "instruction": "words {"}, r"layout\.instruction \(words \{\) is no path"),
        ({**PAIR, "prefr": "a"}, r"layout\.prefr is not a setting; did you mean"),
        ({**PAIR, "prefer": "c"}, r"layout\.prefer\.always \('c'\): input should be 'a' or 'b'"),
        (prefer(), r"layout\.prefer \(nothing\) says it in 0 ways; set one of column, scores and always"),
        (prefer(column="l"), r"layout\.prefer\.column \(l\) needs values for a and b, or negative"),
        (prefer(column="l", a=1), r"layout\.prefer\.b: no value of l means it; add those that do"),
        (prefer(column="l", a=1, b=1), r"layout\.prefer\.column \(l\): 1 means two sides"),
        (prefer(scores=["s"]), r"layout\.prefer\.scores \(\['s'\]\) are those of a and of b; name two"),
        (prefer(always="a", b=[1]), r"layout\.prefer\.column: not set, and a, b, tie and negative"),
        ({"instruction": "q", "response": "r", "liked": {"column": "l", "up": [1]}}, r"layout\.liked\.down: no value"),
        ("shpp", r"sources\.0\.layout \('shpp'\): input should be 'auto', .*'shp'"),
        (3, r"sources\.0\.layout \(3\): input should be 'auto'"),
    ],
)  # fmt: skip
def test_what_can_mean_nothing_is_refused_by_key_value_rule_and_fix(layout: Any, told: str):
    with pytest.raises(ConfigError, match=told) as caught:
        parse_as(BuildConfig, {"sources": [{"path": "a.jsonl", "layout": layout}], "output": "o"}, "b.yaml")
    assert "branch-" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("more", [{"columns": {"prompt": "q"}}, {"score": "s"}])
def test_a_layout_of_ones_own_leaves_nothing_to_columns_and_score(more: Any):
    with pytest.raises(ValueError, match=r"a layout of your own says where it is; leave (columns|score) out"):
        SourceConfig.model_validate({"path": "a.jsonl", "layout": {**PAIR, "prefer": "a"}, **more})
