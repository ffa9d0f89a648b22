"""Several answers to each turn of a conversation: real columns, invented texts, comparisons by hand."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jpo_dist.config.sections import DataConfig
from jpo_dist.config.sft import SftDataConfig
from jpo_dist.data.examples import read_demonstrations, read_labelled
from jpo_dist.data.read import scan
from tests.support.rows import bad, reading, write_rows
from tests.support.said import said, said_by

BIRD, USER = "Name a bird.", [("user", "Name a bird.")]
LATER = [*USER, ("assistant", "A"), ("user", "Another.")]
SAMPLES = {"query": BIRD, "sample0": "A", "sample1": "B", "sample2": "C", "sample3": "D"}


def test_the_best_of_four_samples_counts_from_0_and_nothing_is_said_of_the_others(tmp_path: Path) -> None:
    found = said(tmp_path, [{**SAMPLES, "best": 2}, {**SAMPLES, "query": "Name a fish.", "best": 0}])
    assert found.comparisons == ["C > A", "C > B", "C > D", "A > B", "A > C", "A > D"]
    assert (found.report.ties, set(found.scores.values())) == (0, {None})
    assert (found.report.layouts, found.report.responses) == ({"lm-human-preferences": 1}, 8)
    assert found.instructions == [USER, [("user", "Name a fish.")]]
    assert bad({**SAMPLES, "best": 4}) == ("best", "not 0, 1, 2 or 3")


def test_a_sample_equal_to_the_best_one_is_the_same_item(tmp_path: Path) -> None:
    found = said(tmp_path, [{**SAMPLES, "sample1": "A", "best": 0}])
    assert (found.comparisons, found.report.duplicates) == (["A > C", "A > D"], 1)


def test_token_ids_are_refused_with_what_to_do(tmp_path: Path) -> None:
    """As OpenAI published them."""
    rows = [{name: [318, 257] for name in SAMPLES} | {"best": 1}]
    with pytest.raises(ValueError, match=r"query: token ids, .*: decode them with the tokenizer of GPT-2"):
        said(tmp_path, rows)


def test_of_the_best_of_several_the_best_is_imitated_and_desirable(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "b.jsonl", [{**SAMPLES, "best": 2}])
    first, report = read_demonstrations(file, SftDataConfig(train="unused"))
    assert [item.response for item in first.all_items()] == ["C"]
    assert report.named == report.examples + report.repeats + sum(report.left_out.values())
    labelled, counted = read_labelled(file, DataConfig(train="unused"))
    assert [item.response for item in labelled.all_items()] == ["C", "A", "B", "D"]
    assert counted.undesirable == 3


def test_the_best_of_several_keeps_who_judged(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "b.jsonl", [{**SAMPLES, "best": 2, "annotator": "p0"}])
    built, _ = scan(file, on_bad_row="error", groups=["annotator"])
    assert built.comparisons["annotator"].to_pylist() == ["p0"] * 3


def community(**more: Any) -> dict[str, Any]:
    row = {"conversation_id": "1", "assigned_lang": "en", "annotator_id": "x", "annotator_age": "18-34"}
    for number, texts, best in (("first", "ABCD", "response_a"), ("second", "EFGH", "response_d")):
        row |= {f"{number}_turn_response_{letter}": text for letter, text in zip("abcd", texts, strict=True)}
        row |= {f"{number}_turn_prompt": BIRD if number == "first" else "Another."}
        row |= {f"{number}_turn_preferred_response": best, f"{number}_turn_feedback": "It is the best of all."}
    return {**row, "third_turn_prompt": None, **more}


def test_community_alignment_goes_on_from_the_preferred_answer(tmp_path: Path) -> None:
    found = said(tmp_path, [community()])
    assert found.comparisons == ["A > B", "A > C", "A > D", "H > E", "H > F", "H > G"]
    assert found.instructions == [USER, LATER]
    assert (found.report.layouts, found.report.tables[0].unread) == ({"community-alignment": 1}, {})
    assert bad(community(first_turn_preferred_response="a"))[0] == "first_turn_preferred_response"


def test_a_turn_without_a_preference_or_a_text_ends_the_conversation(tmp_path: Path) -> None:
    undecided = said(tmp_path, [community(second_turn_preferred_response=None)])
    assert (undecided.comparisons, undecided.report.skipped) == (["A > B", "A > C", "A > D"], {"no verdict": 1})
    silent = said(tmp_path, [community(first_turn_response_b="EMPTY STRING")])
    assert (silent.comparisons[:2], silent.report.skipped) == (["A > C", "A > D"], {"no response": 1})
    lost = said(tmp_path, [community(first_turn_response_a="")], on_bad_row="skip")
    assert (lost.comparisons, lost.report.skipped) == ([], {"empty": 1})


def turn(number: int, asked: str, *answers: tuple[str, float | None, bool]) -> list[dict[str, Any]]:
    about = {"model_name": "m", "model_provider": "p"}
    return [
        {"turn": number, "role": "user", "content": asked},
        *({"turn": number, "role": "model", "content": text, "score": score, "if_chosen": chosen, "within_turn_id": n,
           **about} for n, (text, score, chosen) in enumerate(answers)),
    ]  # fmt: skip


def prism(*turns: list[dict[str, Any]]) -> dict[str, Any]:
    said = [message for messages in turns for message in messages]
    return {"conversation_id": "c0", "user_id": "u", "conversation_type": "unguided", "opening_prompt": BIRD,
            "conversation_turns": len(turns), "conversation_history": said, "open_feedback": "It was a nice talk.",
            "performance_attributes": {"values": 5}, "choice_attributes": {"values": 5}}  # fmt: skip


FIRST = turn(0, BIRD, ("A", 80, True), ("B", 20, False), ("C", None, False))
SECOND = turn(1, "Another.", ("D", 50, False), ("E", 60, True))


def test_prism_scores_of_a_turn_and_the_answer_it_goes_on_from(tmp_path: Path) -> None:
    found = said(tmp_path, [prism(FIRST, SECOND)])
    assert sorted(found.comparisons) == ["A > B", "E > D"]
    assert found.scores == {"A": 80.0, "B": 20.0, "C": None, "D": 50.0, "E": 60.0}
    assert found.instructions == [USER, LATER]
    assert (found.report.layouts, found.report.tables[0].unread) == ({"prism": 1}, {})
    assert not {"conversation_history[].score", "conversation_history[].if_chosen"} & set(
        found.report.tables[0].nothing
    )
    pq.write_table(pa.Table.from_pylist([prism(FIRST, SECOND)]), tmp_path / "p.parquet")  # user turns: null scores
    assert sorted(said_by(str(tmp_path / "p.parquet")).comparisons) == ["A > B", "E > D"]


def test_prism_turns_after_no_one_chosen_answer_have_lost_their_thread(tmp_path: Path) -> None:
    none = turn(0, BIRD, ("A", 80, False), ("B", 20, False))
    found = reading(prism(none, SECOND))
    assert [one.item.response for one in found.ratings] == ["A", "B"]
    assert [one.field for one in found.bad] == ["conversation_history, turn 1"] * 2
    twice = turn(0, BIRD, ("A", 80, True), ("A", 80, True), ("B", 20, False))
    assert said(tmp_path, [prism(twice, SECOND)]).instructions == [USER, LATER]
    silent = turn(0, BIRD, ("A", 80, True), ("EMPTY STRING", 1, False))
    assert said(tmp_path, [prism(silent)]).report.skipped == {"no response": 1}


def utterance(number: int, asked: str, text: str, score: Any, chosen: bool) -> dict[str, Any]:
    return {"utterance_id": "ut0", "interaction_id": "int0", "conversation_id": "c0", "user_id": "u", "turn": number,
            "within_turn_id": 0, "conversation_type": "unguided", "user_prompt": asked, "model_response": text,
            "model_name": "m", "model_provider": "p", "score": score, "if_chosen": chosen,
            "included_in_balanced_subset": True}  # fmt: skip


ROWS = [
    utterance(1, "Another.", "D", 50, False), utterance(1, "Another.", "E", 60, True),
    utterance(0, BIRD, "A", 80, True), utterance(0, BIRD, "B", 20, False),
]  # fmt: skip


def test_prism_utterances_in_any_order_have_the_turns_before_them(tmp_path: Path) -> None:
    found = said(tmp_path, ROWS)
    assert sorted(found.comparisons) == ["A > B", "E > D"]
    assert {tuple(turns) for turns in found.instructions} == {tuple(USER), tuple(LATER)}
    assert found.report.layouts == {"prism-utterances": 1}
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "u.parquet")
    assert sorted(said_by(str(tmp_path / "u.parquet")).comparisons) == ["A > B", "E > D"]


def test_an_utterance_whose_turns_before_are_not_there_is_bad(tmp_path: Path) -> None:
    cut = said(tmp_path, ROWS[:2], on_bad_row="skip")
    assert (cut.comparisons, cut.report.skipped) == ([], {"a turn before it is not in this file": 2})
    undecided = [ROWS[0], {**ROWS[2], "if_chosen": False}, ROWS[3]]
    found = said(tmp_path, undecided, on_bad_row="skip")
    assert (found.comparisons, len(found.report.bad_rows)) == (["A > B"], 1)
    assert "went on from" in found.report.bad_rows[0].reason
