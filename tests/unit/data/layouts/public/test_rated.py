"""Public data sets of scores, ranks and thumbs: real columns, invented texts, comparisons by hand."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jpo_dist.config.sections import DataConfig
from jpo_dist.config.sft import SftDataConfig
from jpo_dist.data.examples import read_demonstrations, read_labelled
from jpo_dist.data.layouts import layout_of
from tests.support.rows import bad, reading, write_rows
from tests.support.said import said, said_by

BIRD = "Name a bird."
USER = [("user", BIRD)]


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def nectar(*ranks: float, prompt: str = f"\n\nHuman: {BIRD}\n\nAssistant: ") -> dict[str, Any]:
    answers = [{"answer": f"R{n}", "model": f"m{n}", "rank": rank} for n, rank in enumerate(ranks)]
    return {"prompt": prompt, "answers": answers, "turns": 1, "num_responses": len(ranks), "source": ["s"],
            "good_natured": True}  # fmt: skip


def test_nectar_the_lowest_rank_is_the_best_and_its_row_is_its_scale(tmp_path: Path):
    found = said(tmp_path, [nectar(3.0, 1.0, 2.0)])
    assert sorted(found.comparisons) == ["R1 > R0", "R1 > R2", "R2 > R0"]
    assert found.scores == {"R0": -2.0, "R1": 0.0, "R2": -1.0}
    assert found.instructions == [USER]
    assert said(tmp_path, [nectar(1.0, 1.0)]).comparisons == ["R0 = R1"]
    several = nectar(1.0, 2.0, prompt="\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Name a bird.\n\nAssistant: ")
    assert said(tmp_path, [several]).instructions == [[("user", "Hi"), ("assistant", "Hello."), ("user", BIRD)]]
    row = reading(nectar(1.0, 2.0))
    assert {rating.scale for rating in row.ratings} == {"a.jsonl:7"}


def test_of_a_ranking_from_1_the_first_is_imitated_and_the_last_undesirable(tmp_path: Path):
    file = write_rows(tmp_path / "n.jsonl", [nectar(3.0, 1.0, 2.0)])
    first, _ = read_demonstrations(file, SftDataConfig(train="unused"))
    assert [item.response for item in first.all_items()] == ["R1"]
    labelled, report = read_labelled(file, DataConfig(train="unused"))
    assert [item.response for item in labelled.all_items()] == ["R0", "R1"]
    assert (report.undesirable, report.left_out) == (1, {"neither first nor last of its ranking": 1})


def test_answers_that_are_no_ranking_are_not_taken_for_nectar(tmp_path: Path):
    assert layout_of({"prompt": BIRD, "answers": ["A", "B"]}) is None
    assert layout_of({"prompt": BIRD, "answers": [{"text": "A"}]}) is None
    with pytest.raises(ValueError, match="of no known layout"):
        said(tmp_path, [{"prompt": BIRD, "answers": ["A", "B"]}])


def nemo(*ranks: int) -> dict[str, Any]:
    completions = [
        {"rank": rank, "completion": [{"role": "assistant", "content": f"R{n}"}]} for n, rank in enumerate(ranks)
    ]
    return {"context": chat(BIRD), "completions": completions}


def test_nemo_rl_ranks_from_0_and_equal_ones_tie(tmp_path: Path):
    assert said(tmp_path, [nemo(0, 1)]).comparisons == ["R0 > R1"]
    assert said(tmp_path, [nemo(1, 0)]).comparisons == ["R1 > R0"]
    found = said(tmp_path, [nemo(0, 1, 1)])
    assert sorted(found.comparisons) == ["R0 > R1", "R0 > R2", "R1 = R2"]
    assert found.instructions == [USER]
    wrong = nemo(0, 1)
    wrong["completions"][1]["rank"] = None
    assert [(b.field, b.reason) for b in reading(wrong).bad] == [("completions[1].rank", "not a number")]


def test_distilabel_generations_and_ratings_of_which_some_failed(tmp_path: Path):
    row = {"instruction": BIRD, "generations": ["A", "B", "C", None], "ratings": [5, 1, None, 4],
           "rationales": ["", "", "", ""], "generation_models": ["m"] * 4, "distilabel_metadata": {}}  # fmt: skip
    found = said(tmp_path, [row])
    assert (found.comparisons, found.scores) == (["A > B"], {"A": 5.0, "B": 1.0, "C": None})
    assert (found.report.responses, found.report.skipped) == (4, {"no response": 1})
    unrated = said(tmp_path, [{**row, "ratings": None}], on_bad_row="skip")
    assert unrated.report.skipped == {"no response": 1}
    assert set(unrated.scores.values()) == {None}
    assert bad({**row, "ratings": [5]}) == ("ratings", "not as many as responses")
    older = {"input": BIRD, "system": "Be brief.", "generations": ["A", "B"], "rating": [1.0, 2.0]}
    assert said(tmp_path, [older]).instructions == [[("system", "Be brief."), *USER]]


def test_ultrafeedback_in_its_four_forms(tmp_path: Path):
    """Original completions, binarized, cleaned with ratings, distilabel: the same two responses, the same winner."""
    sides = {"chosen": chat(BIRD, "A"), "rejected": chat(BIRD, "B")}
    scored = [{"response": "A", "model": "m", "overall_score": 9.0, "fine-grained_score": 4.5, "principle": "p"},
              {"response": "B", "model": "n", "overall_score": 10.0, "fine-grained_score": 2.0}]  # fmt: skip
    forms = {
        "responses": {"source": "s", "instruction": BIRD, "models": ["m", "n"], "completions": scored},
        "scored-pair": {"prompt": BIRD, "prompt_id": "i", **sides, "messages": chat(BIRD, "A"), "score_chosen": 4.5,
                        "score_rejected": 2.0},
        "explicit": {"source": "s", "prompt": BIRD, **sides, "chosen-rating": 4.5, "chosen-model": "m",
                     "rejected-rating": 2.0, "rejected-model": "n"},
        "distilabel": {"instruction": BIRD, "generations": ["A", "B"], "ratings": [4.5, 2.0]},
    }  # fmt: skip
    for name, row in forms.items():
        found = said(tmp_path, [row])
        assert (found.comparisons, found.instructions, found.report.layouts) == (["A > B"], [USER], {name: 1})
        assert found.scores == {"A": 4.5, "B": 2.0}


@pytest.mark.parametrize("conversation", ["messages", "conversations"])
@pytest.mark.parametrize("label", ["label", "kto_tag"])
def test_kto_with_messages(tmp_path: Path, conversation: str, label: str):
    rows = [{conversation: chat(BIRD, text), label: liked} for text, liked in (("A", True), ("B", False))]
    found = said(tmp_path, rows)
    assert (found.comparisons, found.scores) == (["A > B"], {"A": 1.0, "B": 0.0})
    labelled, report = read_labelled(write_rows(tmp_path / "k.jsonl", rows), DataConfig(train="unused"))
    assert ([item.response for item in labelled.all_items()], report.undesirable) == (["A", "B"], 1)
    lacking = said(tmp_path, [*rows, *rows, {conversation: chat(BIRD, "C"), label: None}], on_bad_row="skip")
    assert lacking.report.skipped == {"not true or false": 1}


def test_a_label_that_is_no_thumb_leaves_a_conversation_what_it_is(tmp_path: Path):
    found = said(tmp_path, [{"messages": chat(BIRD, "A"), "label": "animals"}])
    assert (found.report.layouts, found.scores) == ({"conversation": 1}, {"A": None})


def test_llama_factorys_thumbs_and_its_older_ranking(tmp_path: Path):
    rows = [{"instruction": "Name one.", "input": "Birds", "output": text, "kto_tag": text == "A"} for text in "AB"]
    found = said(tmp_path, rows)
    assert (found.comparisons, found.instructions) == (["A > B"], [[("user", "Name one.\nBirds")]])
    _, report = read_labelled(write_rows(tmp_path / "k.jsonl", rows), DataConfig(train="unused"))
    assert report.undesirable == 1
    older = said(tmp_path, [{"instruction": BIRD, "input": "", "output": ["A", "B"]}])
    assert (older.comparisons, older.report.layouts) == (["A > B"], {"alpaca-list": 1})


def test_tldr_axis_ratings_of_which_one_may_be_missing(tmp_path: Path):
    info = {"id": "t3", "post": "I saw a wren.", "title": "Bird?", "subreddit": "birds"}
    rows: list[Any] = [
        {"info": info, "split": "test", "summary": {"text": text, "policy": "p", "note": None, "axes": axes},
         "worker": "w", "batch": "b"}
        for text, axes in (("A", {"overall": 6, "accuracy": 7}), ("B", {"overall": 2}), ("C", {"overall": None}))
    ]  # fmt: skip
    found = said(tmp_path, rows)
    assert (found.comparisons, found.scores) == (["A > B"], {"A": 6.0, "B": 2.0, "C": None})
    assert found.instructions == [
        [("user", "SUBREDDIT: r/birds\n\nTITLE: Bird?\n\nPOST: I saw a wren.\n\nTL;DR:")]
    ]  # fmt: skip


def test_stack_exchange_votes(tmp_path: Path):
    row = {"qid": 1, "question": BIRD, "answers": [{"text": "B", "pm_score": 0}, {"text": "A", "pm_score": 4}]}
    assert said(tmp_path, [row]).comparisons == ["A > B"]


def test_lists_of_structs_in_a_parquet_file_and_an_object_of_lists(tmp_path: Path):
    pq.write_table(pa.Table.from_pylist([nectar(2.0, 1.0), nectar(1.0, 2.0)]), tmp_path / "n.parquet")
    found = said_by(str(tmp_path / "n.parquet"))
    assert (found.comparisons, found.report.layouts) == (["R1 > R0", "R0 > R1"], {"nectar": 1})
    row = nectar(2.0, 1.0)
    row["answers"] = {name: [one[name] for one in row["answers"]] for name in ("answer", "model", "rank")}
    assert said(tmp_path, [row]).comparisons == ["R1 > R0"]


def test_one_bad_answer_does_not_hide_the_others(tmp_path: Path):
    row = nectar(1.0, 2.0, 3.0)
    row["answers"][1]["answer"] = ""
    found = said(tmp_path, [row], on_bad_row="skip")
    assert (found.comparisons, found.report.skipped) == (["R0 > R2"], {"empty": 1})
    assert found.report.bad_rows[0].field == "answers[1].answer"


@pytest.mark.parametrize("names", [("prompt", "response"), ("instruction", "response"), ("instruction", "completion")])
def test_a_label_beside_a_response_of_any_name_is_a_thumb(tmp_path: Path, names: tuple[str, str]):
    rows = [dict(zip(names, ("Name a bird.", text), strict=True)) for text in ("A wren.", "A spoon.")]
    found = said(tmp_path, [{**rows[0], "label": True}, {**rows[1], "label": False}])
    assert (found.comparisons, found.report.layouts) == (["A wren. > A spoon."], {"thumbs": 1})
    found = said(tmp_path, [{**rows[0], "label": 3}, {**rows[1], "label": "bird"}])
    assert (found.comparisons, found.report.layouts) == ([], {"unscored": 1})
    assert found.report.tables[0].unread["label"].startswith("may rate the response")
