"""Ratings and rankings become comparisons, candidates stay apart, and the counts add up."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jpo_dist.data.read import read, read_candidates, scan
from jpo_dist.data.read_report import ReadReport
from jpo_dist.records.comparisons import Item
from jpo_dist.records.folder import write_set
from jpo_dist.records.unbuilt import comparisons_of
from tests.support.rows import write_rows

pytestmark = pytest.mark.slow


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
    assert found == [(Item.of("a", "x"), Item.of("b", "y"), "c.jsonl:1", (), None)]
    assert report.skipped == {"missing field": 1}
    with pytest.raises(ValueError, match=r"without a verdict.*jpo judge"):
        read(file, on_bad_row="skip")
    labelled = write_rows(tmp_path / "l.jsonl", [{"prompt": "a", "chosen": "x", "rejected": "y"}])
    pair = (Item.of("a", "x"), Item.of("a", "y"), "l.jsonl:1", (), None)
    assert read_candidates(labelled, on_bad_row="error")[0] == [pair]


def test_candidates_keep_the_columns_that_are_named_and_nothing_else_of_who_judged(tmp_path: Path):
    row = {"prompt": "a", "chosen": "x", "rejected": "y", "country": "DE", "topic": "tea", "annotator": "p1"}
    file = write_rows(tmp_path / "c.jsonl", [row, {**row, "country": None}, {**row, "country": ["DE"]}])
    found, report = read_candidates(file, on_bad_row="skip", groups=["topic", "country"])
    assert [groups for *_, groups, _ in found] == [(("topic", "tea"), ("country", "DE")), (("topic", "tea"),)]
    assert report.skipped == {"not one value": 1}
    whole, _ = read(file, on_bad_row="skip", groups=["topic", "country", "annotator"])
    write_set(whole, tmp_path / "set")
    again, _ = read_candidates(str(tmp_path / "set"), on_bad_row="error", groups=["country"])
    assert [groups for *_, groups, _ in again] == [(("country", "DE"),), ()]
    with pytest.raises(ValueError, match="age"):
        read_candidates(file, on_bad_row="skip", groups=["age"])


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
    "answers": {"instruction": values, "answer": values, "finished": st.booleans()},
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
    "answers": {"instruction": "good", "answer": "row", "finished": True},
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
