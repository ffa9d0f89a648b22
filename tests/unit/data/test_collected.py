"""Ratings, thumbs, rankings, judged and scored pairs, transcripts: what a row says, and counts that add up."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jpo_dist.data.config import SourceConfig
from jpo_dist.data.layouts import LAYOUTS, Names, Reading, layout_of, read_row
from jpo_dist.data.read import read, read_candidates, read_source, scan
from jpo_dist.data.read_report import BadRowError, ReadReport
from jpo_dist.data.row_values import BadField
from jpo_dist.records.comparisons import Comparison, Item, Message, Rating
from jpo_dist.records.unbuilt import comparisons_of

HERE = Names("a.jsonl:7", "a")


def reading(row: dict[str, Any], names: Names = HERE) -> Reading:
    layout = layout_of(row)
    assert layout is not None
    return read_row(layout, row, names)


def rated(row: dict[str, Any]) -> list[tuple[str, str, float]]:
    return [(r.item.instruction[-1].content, r.item.response, r.score) for r in reading(row).ratings]


def bad(row: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(BadField) as caught:
        reading(row)
    return caught.value.field, caught.value.reason


def write_rows(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_no_two_layouts_ask_for_the_same_columns():
    assert len({frozenset(layout.columns) for layout in LAYOUTS}) == len(LAYOUTS)


def test_a_layout_with_more_columns_is_found_before_one_with_fewer():
    for at, layout in enumerate(LAYOUTS):
        assert layout_of(layout.columns) is layout, f"{LAYOUTS[at]} is overlooked"


# ---- judged and scored pairs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feedback", "winner", "tie"), [(0, "A pear.", False), (1, "Blue.", False), (2, "A pear.", True)]
)
def test_the_papers_verdicts_joint_and_conditional(feedback: int, winner: str, tie: bool):
    joint = {"instruction_0": "Fruit?", "response_0": "A pear.", "instruction_1": "Color?", "response_1": "Blue."}
    found = reading(joint | {"feedback": feedback}).comparison
    assert found is not None
    assert (found.winner.response, found.tie, found.protocol) == (winner, tie, "joint")
    same = {"instruction": "Say.", "response_0": "A pear.", "response_1": "Blue.", "feedback": feedback}
    found = reading(same).comparison
    assert found is not None
    assert (found.winner.response, found.tie, found.protocol) == (winner, tie, "conditional")


@pytest.mark.parametrize("feedback", [3, -1, None, "0", True, 0.5])
def test_a_verdict_is_0_1_or_2(feedback: Any):
    row = {"instruction": "Say.", "response_0": "a", "response_1": "b", "feedback": feedback}
    assert bad(row) == ("feedback", "not 0, 1 or 2")


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def test_scored_pairs_give_a_comparison_and_two_ratings():
    row = {
        "prompt": "2+2?", "chosen": turns("2+2?", "4"), "rejected": turns("2+2?", "5"),
        "score_chosen": 8.5, "score_rejected": 3,
    }  # fmt: skip
    found = reading(row)
    good, poor = Item.of("2+2?", "4"), Item.of("2+2?", "5")
    assert found.comparison == Comparison(good, poor, source="a.jsonl:7")
    assert found.ratings == (Rating(good, 8.5, "a", "a.jsonl:7"), Rating(poor, 3.0, "a", "a.jsonl:7"))
    tied = reading(row | {"score_rejected": 8.5}).comparison
    assert tied is not None
    assert tied.tie
    assert bad(row | {"score_rejected": 9}) == ("score_chosen", "less than score_rejected")
    del row["prompt"]
    assert reading(row).comparison == found.comparison


def test_confidence_and_weight_travel_and_are_checked():
    row = {"prompt": "2+2?", "chosen": "4", "rejected": "5", "weight": 2, "confidence": 0.75}
    found = reading(row).comparison
    assert found is not None
    assert (found.weight, found.confidence) == (2.0, 0.75)
    for value in (0, 1.5, "high", True, float("nan")):
        assert bad(row | {"confidence": value})[0] == "confidence"


# ---- transcripts -----------------------------------------------------------------------------------------------------


def test_hh_transcripts_keep_turns_and_a_joint_pair_whole():
    chosen = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Name a fruit:\n\nHuman-made ones too.\n\nAssistant: A pear."
    rejected = "\n\nHuman: Name a color.\n\nAssistant: Rope."
    found = reading({"chosen": chosen, "rejected": rejected}).comparison
    assert found is not None
    assert found.winner == Item(
        (
            Message("user", "Hi"),
            Message("assistant", "Hello."),
            Message("user", "Name a fruit:\n\nHuman-made ones too."),
        ),
        "A pear.",
    )
    assert found.loser == Item.of("Name a color.", "Rope.")
    assert found.protocol == "joint"


def test_hh_transcripts_with_a_common_beginning_are_conditional_and_not_cut_there():
    before = "\n\nHuman: Name a fruit.\n\nAssistant:"
    found = reading({"chosen": f"{before} A pear.", "rejected": f"{before} A brick."}).comparison
    assert found is not None
    assert (found.winner, found.loser) == (Item.of("Name a fruit.", "A pear."), Item.of("Name a fruit.", "A brick."))


def test_a_transcript_without_a_last_answer_is_bad():
    good = "\n\nHuman: a\n\nAssistant: b"
    assert bad({"chosen": good, "rejected": f"{good}\n\nHuman: c"}) == ("rejected[2].role", "last turn not assistant")
    assert bad({"chosen": good, "rejected": "\n\nHuman: a\n\nAssistant: "}) == ("rejected[1]", "empty")


# ---- responses -------------------------------------------------------------------------------------------------------


def test_one_rated_response_a_row():
    assert rated({"prompt": "2+2?", "completion": "4", "score": 5}) == [("2+2?", "4", 5.0)]
    assert rated({"instruction": "2+2?", "response": "4", "score": -0.5}) == [("2+2?", "4", -0.5)]
    helpsteer = {"prompt": "2+2?", "response": "4", "helpfulness": 3, "correctness": 4, "verbosity": 1}
    assert rated(helpsteer) == [("2+2?", "4", 3.0)]
    assert bad({"prompt": "2+2?", "completion": "4", "score": None}) == ("score", "not a number")
    assert bad({"prompt": "2+2?", "completion": "4", "score": float("inf")}) == ("score", "not finite")


def test_thumbs():
    assert [rated({"prompt": "a", "completion": "b", "label": v})[0][2] for v in (True, False, 1, 0)] == [1, 0, 1, 0]
    assert bad({"prompt": "a", "completion": "b", "label": "yes"}) == ("label", "not true or false")
    chat = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}
    assert reading(chat | {"label": True}).ratings[0].item == Item.of("a", "b")


def test_several_responses_with_scores_in_a_row():
    flat = {"prompt": "2+2?", "responses": ["4", "5"], "scores": [1.0, 0.25]}
    assert rated(flat) == [("2+2?", "4", 1.0), ("2+2?", "5", 0.25)]
    assert bad(flat | {"scores": [1.0]}) == ("scores", "not as many as responses")
    ultra = {"instruction": "2+2?", "completions": [
        {"model": "m", "response": "4", "overall_score": 10, "fine-grained_score": 4.5},
        {"model": "n", "response": "5", "overall_score": 2},
    ]}  # fmt: skip
    assert rated(ultra) == [("2+2?", "4", 4.5), ("2+2?", "5", 2.0)]
    named = reading(ultra, HERE._replace(score=("overall_score",)))
    assert [r.score for r in named.ratings] == [10.0, 2.0]


def test_one_bad_response_does_not_hide_the_others():
    found = reading({"prompt": "2+2?", "responses": ["4", "", "5"], "scores": [1, 2, "x"]})
    assert [r.item.response for r in found.ratings] == ["4"]
    assert [(b.field, b.reason) for b in found.bad] == [("responses[1]", "empty"), ("scores[2]", "not a number")]


def test_a_ranking_is_a_scale_of_its_own():
    found = reading({"prompt": "2+2?", "responses": ["4", "four", "5"]})
    assert [(r.item.response, r.score, r.scale) for r in found.ratings] == [
        ("4", 0.0, "a.jsonl:7"), ("four", -1.0, "a.jsonl:7"), ("5", -2.0, "a.jsonl:7"),
    ]  # fmt: skip


def test_a_ranking_compiles_to_all_its_pairs_best_first(tmp_path: Path):
    built, report = read(
        write_rows(tmp_path / "r.jsonl", [{"prompt": "2+2?", "responses": ["4", "four", "5"]}]), on_bad_row="error"
    )
    found = {(c.winner.response, c.loser.response) for c in comparisons_of(built)}
    assert found == {("4", "four"), ("4", "5"), ("four", "5")}
    assert (report.rows, report.responses, report.items, report.comparisons) == (1, 3, 3, 3)


def test_ratings_compile_to_pairs_within_an_instruction_and_equal_scores_to_ties(tmp_path: Path):
    rows = [
        {"prompt": "2+2?", "completion": "4", "score": 5},
        {"prompt": "2+2?", "completion": "5", "score": 1},
        {"prompt": "Name a fruit.", "completion": "A pear.", "score": 5},
        {"prompt": "2+2?", "completion": "four", "score": 5},
        {"prompt": "2+2?", "completion": "5", "score": 3},
    ]
    built, report = read(write_rows(tmp_path / "r.jsonl", rows), on_bad_row="error")
    found = {(c.winner.response, c.loser.response, c.tie, c.origin, c.pairing) for c in comparisons_of(built)}
    decided = [(w, "5", False, "scored", "conditional") for w in ("4", "four")]
    assert found - set(decided) in (
        {("4", "four", True, "scored", "conditional")},
        {("four", "4", True, "scored", "conditional")},
    )
    assert (report.responses, report.items, report.duplicates, report.ties, report.comparisons) == (5, 4, 1, 1, 2)
    five = next(r for r in built.items.to_pylist() if r["response"] == "5")
    assert five["score"] == 2.0, "the mean of 1 and 3"


def test_ratings_of_different_instructions_only_say_what_to_do(tmp_path: Path):
    rows = [{"prompt": p, "completion": "x", "score": 1} for p in "ab"]
    file = write_rows(tmp_path / "r.jsonl", rows)
    with pytest.raises(ValueError, match="pairing policy: jpo data build"):
        read(file, on_bad_row="error")
    built, report = scan(file, on_bad_row="error")
    assert (len(built), report.items, report.responses) == (0, 2, 2)


# ---- sources with settings -------------------------------------------------------------------------------------------


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


def test_numbers_in_csv_and_lists_in_parquet(tmp_path: Path):
    (tmp_path / "a.csv").write_text("prompt,completion,label\n2+2?,4,true\n2+2?,5,False\n2+2?,6,maybe\n")
    built, report = read(str(tmp_path / "a.csv"), on_bad_row="skip")
    assert [(c.winner.response, c.loser.response) for c in comparisons_of(built)] == [("4", "5")]
    assert report.skipped == {"not true or false": 1}
    table = pa.table({"prompt": ["2+2?"], "responses": [["4", "5"]], "scores": [[2, 1]], "extra": [object.__name__]})
    pq.write_table(table, tmp_path / "b.parquet")
    assert len(read(str(tmp_path / "b.parquet"), on_bad_row="error")[0]) == 1


def test_candidates_read_without_a_verdict_and_any_verdict_is_put_aside(tmp_path: Path):
    bare = {"instruction_0": "a", "response_0": "x", "instruction_1": "b", "response_1": "y"}
    file = write_rows(tmp_path / "c.jsonl", [bare, {"instruction_0": "a", "response_0": "x"}])
    found, report = read_candidates(file, on_bad_row="skip")
    assert found == [(Item.of("a", "x"), Item.of("b", "y"), "c.jsonl:1")]
    assert report.skipped == {"missing field": 1}
    with pytest.raises(ValueError, match=r"without a verdict.*jpo judge"):
        read(file, on_bad_row="skip")
    labelled = write_rows(tmp_path / "l.jsonl", [{"prompt": "a", "chosen": "x", "rejected": "y"}])
    assert read_candidates(labelled, on_bad_row="error")[0] == [(Item.of("a", "x"), Item.of("a", "y"), "l.jsonl:1")]


# ---- everything adds up ----------------------------------------------------------------------------------------------

texts = st.one_of(
    st.sampled_from(["a", "b", "", " ", "x\0y", "\ud800", "__import__('os').system('false')"]), st.text(max_size=5)
)
values = st.one_of(
    texts, st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.just([]), st.just({"role": "user"})
)
lists = st.one_of(values, st.lists(values, max_size=4))
objects = st.fixed_dictionaries({"response": values, "overall_score": values})
verdicts = st.one_of(st.integers(0, 3), values)
ROWS = {
    "thumbs": {"prompt": values, "completion": values, "label": values},
    "rating": {"prompt": values, "completion": values, "score": values},
    "unscored": {"prompt": values, "completion": values},
    "several": {"prompt": values, "responses": lists, "scores": lists},
    "ranking": {"prompt": values, "responses": lists},
    "objects": {"instruction": values, "completions": st.lists(objects, max_size=4)},
    "judged": {"instruction": values, "response_0": values, "response_1": values, "feedback": verdicts},
    "scored-pair": dict.fromkeys(("prompt", "chosen", "rejected", "score_chosen", "score_rejected"), values),
    "implicit": {"chosen": st.one_of(values, st.just("\n\nHuman: a\n\nAssistant: b")), "rejected": values},
}  # fmt: skip
GOOD = {
    "thumbs": {"prompt": "good", "completion": "row", "label": True},
    "rating": {"prompt": "good", "completion": "row", "score": 1},
    "unscored": {"prompt": "good", "completion": "row"},
    "several": {"prompt": "good", "responses": ["row"], "scores": [1]},
    "ranking": {"prompt": "good", "responses": ["row"]},
    "objects": {"instruction": "good", "completions": [{"response": "row", "overall_score": 1}]},
    "judged": {"instruction": "good", "response_0": "row", "response_1": "other", "feedback": 0},
    "scored-pair": {"prompt": "good", "chosen": "row", "rejected": "other", "score_chosen": 2, "score_rejected": 1},
    "implicit": {"chosen": "good row", "rejected": "good other"},
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_counts_add_up_and_a_bad_row_never_hides_a_good_one(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
):
    rows = data.draw(st.lists(st.one_of(st.fixed_dictionaries(ROWS[kind]), st.just({}), st.just(7)), max_size=8))
    at = data.draw(st.integers(0, len(rows)))
    rows.insert(at, GOOD[kind])
    rows = [GOOD[kind], *rows]  # the layout is found
    folder = tmp_path_factory.mktemp("rows")
    (folder / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    built, report = scan(str(folder / "r.jsonl"), on_bad_row="skip")
    adds_up(report, len(rows))
    assert any("row" in item.response for item in built.all_items())


def adds_up(report: ReadReport, rows: int) -> None:
    assert report.rows == rows
    skipped = sum(report.skipped.values())
    if report.responses:
        assert report.responses == report.items + report.duplicates + skipped
    else:
        assert report.rows == report.comparisons + report.ties + skipped
