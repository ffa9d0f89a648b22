"""Public data sets of pairs: real columns, invented texts, comparisons by hand."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jpo_dist.data.layouts import layout_of
from jpo_dist.records.comparisons import Message
from tests.support.rows import bad, reading
from tests.support.said import compared, said, said_by

BIRD = "Name a bird."
USER = [("user", BIRD)]


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


SHP = {
    "post_id": "x1", "domain": "birds_train", "upvote_ratio": 0.9, "history": BIRD, "c_root_id_A": "a",
    "c_root_id_B": "b", "created_at_utc_A": 1, "created_at_utc_B": 2, "score_A": 20, "score_B": 3,
    "human_ref_A": "A wren.", "human_ref_B": "A spoon.", "labels": 1, "seconds_difference": 1.0, "score_ratio": 6.7,
}  # fmt: skip


def test_shp_label_1_means_a(tmp_path: Path):
    found = said(tmp_path, [SHP, {**SHP, "labels": 0, "human_ref_A": "A fork.", "human_ref_B": "A rook."}])
    assert found.comparisons == ["A wren. > A spoon.", "A rook. > A fork."]
    assert found.instructions == [USER]
    assert found.scores == dict.fromkeys(("A wren.", "A spoon.", "A rook.", "A fork."))
    assert bad({**SHP, "labels": 2}) == ("labels", "not 1 or 0")
    assert bad({**SHP, "labels": None}) == ("labels", "not 1 or 0")


@pytest.mark.parametrize(("strength", "says"), [(-3, "A > B"), (-1, "A > B"), (0, "A = B"), (1, "B > A"), (3, "B > A")])
def test_helpsteer_2_and_3_are_negative_for_the_first_response(tmp_path: Path, strength: int, says: str):
    second = {
        "split": "train", "prompt": BIRD, "response_1": "A", "response_2": "B", "preference_strength": strength,
        "preference_statement": "…", "preference_elaboration": "…", "all_preferences_unprocessed": [],
        "three_most_similar_preferences": [],
    }  # fmt: skip
    third = {
        "domain": "general", "language": "english", "context": chat(BIRD), "response1": "A", "response2": "B",
        "overall_preference": strength, "individual_preference": [{"score": -strength, "reasoning": "…"}],
    }  # fmt: skip
    for row, name in ((second, "helpsteer2-preference"), (third, "helpsteer3")):
        found = said(tmp_path, [row])
        assert (found.comparisons, found.instructions, found.report.layouts) == ([says], [USER], {name: 1})


def test_helpsteer_2_keeps_its_turns():
    prompt = "Hi\n<extra_id_1>Assistant\nHello.\nYou?\n<extra_id_1>User\nName a bird."
    turns = (Message("user", "Hi"), Message("assistant", "Hello.\nYou?"), Message("user", BIRD))
    pair = {"prompt": prompt, "response_1": "A", "response_2": "B", "preference_strength": 2}
    rated = {"prompt": prompt, "response": "A", "helpfulness": 3, "correctness": 4, "coherence": 4, "complexity": 1,
             "verbosity": 1}  # fmt: skip
    comparison = reading(pair).comparison
    assert comparison is not None
    assert comparison.winner.instruction == reading(rated).ratings[0].item.instruction == turns
    assert bad({**pair, "prompt": "Hi\n<extra_id_1>Assistant\n \n<extra_id_1>User\nYes?"}) == ("prompt[1]", "empty")


def test_helpsteer_3_context_of_several_turns_and_edits(tmp_path: Path):
    row = {"context": chat("Hi", "Hello.", BIRD), "response1": "A", "response2": "B", "overall_preference": -1}
    assert said(tmp_path, [row]).instructions == [[("user", "Hi"), ("assistant", "Hello."), ("user", BIRD)]]
    edit = {"domain": "stem", "language": "english", "context": chat(BIRD), "original_response": "Bird.",
            "good_edited_response": "A wren.", "bad_edited_response": "A spoon.", "feedback": ["…"]}  # fmt: skip
    assert said(tmp_path, [edit]).comparisons == ["A wren. > A spoon."]


def webgpt(first: float, second: float) -> dict[str, Any]:
    question = {"dataset": "eli5", "id": "1", "full_text": BIRD}
    quotes = {"title": ["Birds"], "extract": ["Wrens sing."]}
    return {
        "question": question, "quotes_0": quotes, "answer_0": "A", "tokens_0": {}, "score_0": first,
        "quotes_1": quotes, "answer_1": "B", "tokens_1": {}, "score_1": second,
    }  # fmt: skip


def test_webgpt_the_higher_score_wins_and_equal_ones_tie(tmp_path: Path):
    found = said(tmp_path, [webgpt(1.0, -1.0), webgpt(-0.33, 0.33), webgpt(0, 0)])
    assert found.comparisons == ["A > B", "B > A", "A = B"]
    assert (found.instructions, found.scores) == ([USER], {"A": None, "B": None})
    assert bad({**webgpt(1, 0), "question": {"id": "1"}}) == ("question.full_text", "missing field")
    assert bad({**webgpt(1, 0), "question": None}) == ("question.full_text", "missing field")


ARENA = {
    "question_id": "q", "model_a": "m1", "model_b": "m2", "winner": "model_b", "judge": "j", "turn": 1, "anony": True,
    "language": "English", "tstamp": 1.0, "conversation_a": chat(BIRD, "A"), "conversation_b": chat(BIRD, "B"),
    "openai_moderation": {}, "toxic_chat_tag": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("winner", "says"),
    [
        ("model_a", "A > B"),
        ("model_b", "B > A"),
        ("tie", "A = B"),
        ("tie (bothbad)", "A = B"),
        ("both_bad", "A = B"),
        ("tie (inconsistent)", "A = B"),
    ],
)
def test_chatbot_arena_in_its_three_forms(tmp_path: Path, winner: str, says: str):
    flags = {"winner_model_a": int(says[0] == "A" and ">" in says), "winner_model_b": int(says[0] == "B"),
             "winner_tie": int("=" in says)}  # fmt: skip
    kaggle = {"id": 1, "model_a": "m1", "model_b": "m2", "prompt": json.dumps([BIRD]), "response_a": '["A"]',
              "response_b": '["B"]', **flags}  # fmt: skip
    newest = {"id": "u", "model_a": "m1", "model_b": "m2", "winner": winner, "evaluation_session_id": "s",
              "evaluation_order": 1, "conversation_a": chat(BIRD, "A"), "conversation_b": chat(BIRD, "B"),
              "full_conversation": [], "conv_metadata": {}, "category_tag": {}, "language": "en", "is_code": False,
              "timestamp": "2025"}  # fmt: skip
    plain = {"id": "u", "prompt": BIRD, "response_a": "A", "response_b": "B", "winner": winner, "language": "en"}
    for row in ({**ARENA, "winner": winner}, kaggle, newest, plain):
        found = said(tmp_path, [row])
        assert (found.comparisons, found.instructions) == ([says], [USER])
    assert bad({**ARENA, "winner": "model_c"}) == (
        "winner", "not model_a, model_b, tie, tie (inconsistent), tie (bothbad) or both_bad"
    )  # fmt: skip


def test_arena_conversations_are_whole_and_may_part_before_the_last_turn(tmp_path: Path):
    row = {**ARENA, "turn": 2, "conversation_a": chat("Hi", "Hello.", BIRD, "A"),
           "conversation_b": chat("Hi", "Yes?", BIRD, "B")}  # fmt: skip
    found = said(tmp_path, [row])
    assert (found.comparisons, found.report.joint) == (["B > A"], 1)
    assert found.instructions == [[("user", "Hi"), ("assistant", text), ("user", BIRD)] for text in ("Yes?", "Hello.")]


def test_what_follows_the_judged_turn_is_no_part_of_it(tmp_path: Path):
    """MT-Bench's judgments: both conversations have two turns, whichever was judged."""
    sides = {side: chat(BIRD, text, "And a fish?", "A carp.") for side, text in (("a", "A"), ("b", "B"))}
    row = {"question_id": 81, "model_a": "m", "model_b": "n", "winner": "model_a", "judge": "author_0", "turn": 1,
           **{f"conversation_{side}": turns for side, turns in sides.items()}}  # fmt: skip
    found = said(tmp_path, [row])
    assert (found.comparisons, found.instructions, found.report.joint) == (["A > B"], [USER], 0)
    assert bad({**row, "turn": 3}) == ("turn", "no turn of conversation_a")
    assert said(tmp_path, [{**row, "turn": None}]).report.joint == 1  # nothing says which: the last


def test_plain_texts_of_the_kaggle_form_are_one_turn(tmp_path: Path):
    """As lmsys-arena-pairs (wentingzhao) had them first."""
    row = {"prompt": BIRD, "response_a": "A", "response_b": "B [1]", "winner_model_a": 0, "winner_model_b": 1,
           "winner_tie": 0}  # fmt: skip
    found = said(tmp_path, [row])
    assert (found.comparisons, found.instructions) == (["B [1] > A"], [USER])


def test_a_judge_of_alpaca_eval_that_gave_no_verdict_is_no_bad_row(tmp_path: Path):
    row = {"instruction": BIRD, "output_1": "A", "output_2": "B", "preference": 2.0}
    found = said(tmp_path, [row, {**row, "preference": None}, {**row, "preference": float("nan")}])
    assert (found.comparisons, found.report.skipped) == (["B > A"], {"no verdict": 2})


def test_kaggle_turns_are_kept_and_their_flags_checked(tmp_path: Path):
    row = {"prompt": json.dumps(["Hi", BIRD]), "response_a": json.dumps(["Hello.", "A"]),
           "response_b": json.dumps(["Hello.", "B"]), "winner_model_a": 0, "winner_model_b": 1,
           "winner_tie": 0}  # fmt: skip
    found = said(tmp_path, [row])
    assert found.comparisons == ["B > A"]
    assert found.instructions == [[("user", "Hi"), ("assistant", "Hello."), ("user", BIRD)]]
    assert bad({**row, "response_b": '["B"]'}) == ("response_b", "not as many as prompts")
    assert bad({**row, "response_b": '["Hello.", null]'}) == ("response_b[1]", "not a string")
    assert bad({**row, "prompt": "[Hi"}) == ("prompt", "not json")
    assert bad({**row, "prompt": "Hi"}) == ("response_a", "not as many as prompts")
    assert bad({**row, "winner_tie": 1})[0] == "winner_model_a"
    assert bad({**row, "winner_model_b": 0})[1].startswith("not one of winner_model_a, winner_model_b, winner_tie")


def test_kaggle_is_read_from_csv(tmp_path: Path):
    (tmp_path / "train.csv").write_text(
        "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
        '1,m,n,"[""Name a bird.""]","[""A""]","[""B""]",0,1,0\n'
    )
    assert said_by(str(tmp_path / "train.csv")).comparisons == ["B > A"]


PKU = {
    "prompt": BIRD, "response_0": "A", "response_1": "B", "prompt_source": "s", "is_response_0_safe": False,
    "is_response_1_safe": True, "better_response_id": 0, "safer_response_id": 1, "response_0_sha256": "0",
}  # fmt: skip


def test_pku_saferlhf_has_two_verdicts_and_reads_the_helpful_one(tmp_path: Path):
    found = said(tmp_path, [PKU, {**PKU, "better_response_id": 1}])
    assert found.comparisons == ["A > B", "B > A"]
    assert compared(tmp_path, [PKU], layout="pku-saferlhf-safer") == ["B > A"]
    only_safer = {name: value for name, value in PKU.items() if name != "better_response_id"}
    assert said(tmp_path, [only_safer]).report.layouts == {"pku-saferlhf-safer": 1}
    assert bad({**PKU, "better_response_id": -1}) == ("better_response_id", "not 0 or 1")


POST = {"id": "t3", "post": "I saw a wren.", "title": "Bird?", "subreddit": "birds", "site": None, "article": None}


def test_tldr_comparisons_count_the_chosen_summary_from_0(tmp_path: Path):
    row = {"info": POST, "split": "train", "summaries": [{"text": "A", "policy": "ref", "note": None},
           {"text": "B", "policy": "sup", "note": "x"}], "choice": 1, "worker": "w", "batch": "b",
           "extra": {"confidence": 8}}  # fmt: skip
    article = {"id": "c", "post": None, "title": "Bird!", "subreddit": None, "site": "cnn", "article": "A wren sang."}
    found = said(tmp_path, [row, {**row, "choice": 0, "info": article}])
    assert found.comparisons == ["B > A", "A > B"]
    assert [turns[0][1] for turns in found.instructions] == [
        "SUBREDDIT: r/birds\n\nTITLE: Bird?\n\nPOST: I saw a wren.\n\nTL;DR:",
        "TITLE: Bird!\n\nARTICLE: A wren sang.\n\nTL;DR:",
    ]
    assert bad({**row, "summaries": row["summaries"][:1]}) == ("summaries.1.text", "missing field")


@pytest.mark.parametrize(
    ("ratings", "sides"),
    [
        (("chosen-rating", "rejected-rating"), ("chosen", "rejected")),
        (("chosen_rating", "rejected_rating"), ("chosen", "rejected")),
        (("rating_chosen", "rating_rejected"), ("chosen", "rejected")),
        (("chosen_avg_rating", "rejected_avg_rating"), ("chosen_response", "rejected_response")),
        (("chosen_rating", "rejected_rating"), ("chosen_response", "rejected_response")),
    ],
)
def test_argilla_pairs_have_ratings_which_may_be_null(tmp_path: Path, ratings: Any, sides: Any):
    asked = "prompt" if sides[0] == "chosen" else "instruction"
    texts = [chat(BIRD, "A"), chat(BIRD, "B")] if asked == "prompt" else ["A", "B"]
    row = {"source": "s", asked: BIRD, **dict(zip(sides, texts, strict=True)), "chosen-model": "m"}
    row |= dict(zip(ratings, (4.5, 2), strict=True))
    found = said(tmp_path, [row])
    assert (found.comparisons, found.scores, found.instructions) == (["A > B"], {"A": 4.5, "B": 2.0}, [USER])
    assert said(tmp_path, [{**row, ratings[1]: 4.5}]).comparisons == ["A = B"]
    unrated = said(tmp_path, [{**row, ratings[1]: None}])
    assert (unrated.comparisons, unrated.scores) == (["A > B"], {"A": None, "B": None})
    assert said(tmp_path, [{**row, ratings[0]: float("nan")}]).scores == {"A": None, "B": None}
    assert bad({**row, ratings[1]: 5}) == (ratings[0], f"less than {ratings[1]}")
    lacking = {name: value for name, value in row.items() if name != ratings[1]}
    assert said(tmp_path, [row, lacking, {**row, ratings[0]: "five"}]).comparisons == ["A > B"] * 3


def test_argilla_pairs_without_a_prompt(tmp_path: Path):
    row = {"dataset": "d", "chosen": chat(BIRD, "A"), "rejected": chat(BIRD, "B"), "chosen_rating": 5,
           "rejected_rating": 3.5}  # fmt: skip
    assert said(tmp_path, [row]).scores == {"A": 5.0, "B": 3.5}


def test_hh_with_its_prompt_apart_keeps_its_turns(tmp_path: Path):
    prompt = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Name a bird.\n\nAssistant:"
    row = {"prompt": prompt, "response": " A", "chosen": " A", "rejected": " B"}
    found = said(tmp_path, [row])
    assert found.comparisons == ["A > B"]
    assert found.instructions == [[("user", "Hi"), ("assistant", "Hello."), ("user", BIRD)]]
    whole = {side: f"{prompt}{row[side]}" for side in ("chosen", "rejected")}
    assert said(tmp_path, [whole]).instructions == found.instructions
    plain = said(tmp_path, [{**row, "prompt": BIRD}])
    assert (plain.instructions, plain.comparisons) == ([USER], [" A >  B"])
    alone = {name: value for name, value in row.items() if name != "response"}
    assert said(tmp_path, [alone]).instructions == [[("user", prompt)]]  # as before: nothing says that it is HH


def test_skywork_and_tulu_are_plain_pairs_beside_what_carries_nothing(tmp_path: Path):
    sides = {"chosen": chat("Hi", "Hello.", BIRD, "A"), "rejected": chat("Hi", "Hello.", BIRD, "B")}
    skywork = said(tmp_path, [{**sides, "source": "magpie"}])
    one = {"chosen": chat(BIRD, "A"), "rejected": chat(BIRD, "B")}
    tulu = said(tmp_path, [{**one, "id": "i", "source": "s", "prompt": BIRD, "chosen_model": "m"}])
    assert skywork.comparisons == tulu.comparisons == ["A > B"]
    assert skywork.instructions == [[("user", "Hi"), ("assistant", "Hello."), ("user", BIRD)]]
    assert (skywork.report.layouts, tulu.report.layouts) == ({"implicit": 1}, {"explicit": 1})


def test_tulu_keeps_its_turns_whichever_of_its_questions_stands_in_prompt(tmp_path: Path):
    sides = {"chosen": chat("Hi", "Hello.", BIRD, "A"), "rejected": chat("Hi", "Hello.", BIRD, "B")}
    for asked in ("Hi", BIRD, chat("Hi", "Hello.", BIRD)):
        found = said(tmp_path, [{**sides, "prompt": asked, "id": "i", "source": "s"}])
        assert found.comparisons == ["A > B"]
        assert found.instructions == [[("user", "Hi"), ("assistant", "Hello."), ("user", BIRD)]]
    assert bad({**sides, "prompt": "Name a fish."}) == ("chosen", "does not start with the prompt")
    assert bad({**sides, "prompt": "A"}) == ("chosen", "does not start with the prompt")


def test_llama_factory_alpaca_with_ranking(tmp_path: Path):
    row = {"instruction": "Name one.", "input": "Birds", "chosen": "A", "rejected": "B", "system": "Be brief.",
           "history": [["Hi", "Hello."]]}  # fmt: skip
    found = said(tmp_path, [row, {**row, "input": "", "history": [], "system": None}])
    assert found.comparisons == ["A > B"] * 2
    assert found.instructions == [
        [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Name one.\nBirds")],
        [("user", "Name one.")],
    ]
    bare = said(tmp_path, [{"instruction": BIRD, "chosen": "The wren.", "rejected": "The spoon."}])
    assert (bare.instructions, bare.comparisons) == ([USER], ["The wren. > The spoon."])
    assert bad({**row, "history": [["Hi"]]}) == ("history[0]", "not a pair of turns")


def test_llama_factory_sharegpt_with_ranking(tmp_path: Path):
    asked = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}, {"from": "human", "value": BIRD}]
    row = {"conversations": asked, "chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}}
    found = said(tmp_path, [{**row, "system": "Be brief."}])
    assert found.comparisons == ["A > B"]
    assert found.instructions == [
        [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", BIRD)]
    ]  # fmt: skip
    named = {"messages": chat(BIRD), "chosen": {"role": "assistant", "content": "A"},
             "rejected": {"role": "assistant", "content": "B"}}  # fmt: skip
    assert said(tmp_path, [named]).instructions == [USER]


def test_a_copy_of_the_conversation_beside_whole_sides_is_not_their_instruction(tmp_path: Path):
    row = {"conversations": chat(BIRD, "A"), "chosen": chat(BIRD, "A"), "rejected": chat(BIRD, "B")}
    assert said(tmp_path, [row]).report.layouts == {"implicit": 1}


def test_extra_columns_and_null_optional_ones_change_nothing(tmp_path: Path):
    more = {"weight": 2.0, "confidence": None, "note": "x", "chosen_by": None, "messages": None}
    found = said(tmp_path, [{**SHP, **more}, {**ARENA, **more}][:1])
    assert (found.comparisons, found.report.layouts) == (["A wren. > A spoon."], {"shp": 1})
    assert said(tmp_path, [{**ARENA, **more}]).report.layouts == {"arena": 1}


@pytest.mark.parametrize(
    ("row", "lost"),
    [(SHP, "labels"), (ARENA, "winner"), (PKU, "response_0"), (webgpt(1, 0), "question"), (SHP, "history")],
)
def test_a_row_without_one_of_its_columns_is_bad_and_not_of_another_layout(tmp_path: Path, row: Any, lost: str):
    lacking = {name: value for name, value in row.items() if name != lost}
    found = said(tmp_path, [row, lacking, row], on_bad_row="skip")
    assert [(b.line, b.field, b.reason) for b in found.report.bad_rows] == [(2, lost, "missing field")]
    assert len(found.comparisons) == 2


def test_a_file_without_its_label_is_told_which_it_would_be(tmp_path: Path):
    lacking = {name: value for name, value in SHP.items() if name != "labels"}
    with pytest.raises(ValueError, match=r"of no known layout \(shp needs labels too\); rename them to one of: "):
        said(tmp_path, [lacking])


def test_structs_and_lists_of_a_parquet_file(tmp_path: Path):
    files = {
        "webgpt": pa.Table.from_pylist([webgpt(1.0, -1.0), webgpt(0.0, 0.0)]),
        "arena": pa.Table.from_pylist([{**ARENA, "openai_moderation": None, "toxic_chat_tag": None}]),
        "shp": pa.Table.from_pylist([SHP]),
    }
    says = {"webgpt": ["A > B", "A = B"], "arena": ["B > A"], "shp": ["A wren. > A spoon."]}
    for name, table in files.items():
        for column in ("tokens_0", "tokens_1"):
            table = table.drop_columns([column]) if column in table.column_names else table
        pq.write_table(table, tmp_path / f"{name}.parquet")
        found = said_by(str(tmp_path / f"{name}.parquet"))
        assert (found.comparisons, found.report.layouts) == (says[name], {name: 1})


def test_distilabels_orca_pairs_keep_their_ties(tmp_path: Path):
    row = {"system": "Be brief.", "input": BIRD, "chosen": "A", "rejected": "B", "generations": ["A", "B"],
           "order": ["chosen", "rejected"], "rating": [9.0, 9.0], "chosen_score": 9.0}  # fmt: skip
    rows = [{**row, "status": status} for status in ("unchanged", "tie", "swapped")]
    found = said(tmp_path, [*rows, {**rows[0], "status": None}], on_bad_row="skip")
    assert found.comparisons == ["A > B", "A = B", "A > B"]
    assert found.instructions == [[("system", "Be brief."), ("user", BIRD)]]
    assert found.report.skipped == {"not swapped, unchanged or tie": 1}


def test_stack_exchange_pairs(tmp_path: Path):
    row = {"qid": 1, "question": BIRD, "date": "d", "metadata": [], "response_j": "A", "response_k": "B"}
    assert said(tmp_path, [row]).comparisons == ["A > B"]


def test_layouts_that_look_like_others_are_told_apart():
    assert layout_of({"prompt", "response_a", "response_b", "winner"}).name == "arena-text"
    assert layout_of({"prompt", "response_0", "response_1", "better_response_id", "safer_response_id"}).name == (
        "pku-saferlhf"
    )
    assert layout_of({"instruction", "prompt", "chosen", "rejected"}).name == "explicit"
    assert layout_of({"question", "answer_0", "answer_1", "score_0"}) is None


def test_openai_files_for_preference_tuning(tmp_path: Path):
    """Which side is better is in the names of the columns; tools stand beside the messages."""
    row = {
        "input": {"messages": chat("Hi", "Hello.", BIRD), "parallel_tool_calls": True},
        "preferred_output": chat("", "A wren.")[1:],
        "non_preferred_output": chat("", "A spoon.")[1:],
    }
    found = said(tmp_path, [row])
    assert (found.comparisons, found.report.layouts) == (["A wren. > A spoon."], {"openai-preference": 1})
    assert found.instructions == [[("user", "Hi"), ("assistant", "Hello."), ("user", BIRD)]]
    tool = {"type": "function", "function": {"name": "pick"}}
    first = said(tmp_path, [{**row, "input": {**row["input"], "tools": [tool]}}]).instructions[0][0]
    assert (first[0], json.loads(first[1])) == ("tools", [tool])


def test_swift_has_the_better_answer_at_the_end_of_its_messages(tmp_path: Path):
    whole = [{"role": "system", "content": "Be brief."}, *chat(BIRD, "A wren.")]
    rows = [
        {"messages": whole, "rejected_response": "A spoon."},
        {"messages": whole, "rejected_messages": [*whole[:2], *chat("", "A spoon.")[1:]]},
    ]
    for row in rows:
        found = said(tmp_path, [row])
        assert (found.comparisons, found.report.layouts) == (["A wren. > A spoon."], {"swift": 1})
        assert found.instructions == [[("system", "Be brief."), *USER]]
    assert bad({"messages": whole, "rejected_response": "A wren."}) == ("rejected_response", "winner equals loser")


def test_search_arena_votes_and_battles_without_one(tmp_path: Path) -> None:
    row = {
        "model_a": "m1", "model_b": "m2", "winner": "model_a", "judge": "u", "turn": 1, "timestamp": "t",
        "messages_a": chat(BIRD, "A"), "messages_b": chat(BIRD, "B"), "system_a_metadata": {}, "system_b_metadata": {},
        "primary_intent": "Other", "languages": ["English"],
    }  # fmt: skip
    found = said(tmp_path, [row, {**row, "winner": None}, {**row, "winner": "tie (bothbad)"}])
    assert found.comparisons == ["A > B", "A = B"]
    assert (found.report.skipped, found.report.bad_rows) == ({"no verdict": 1}, ())


OUTPUTS = {"instruction": BIRD, "output_1": "A", "output_2": "B"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({**OUTPUTS, "preference": 1}, "A > B"),
        ({**OUTPUTS, "preference": 2}, "B > A"),
        ({**OUTPUTS, "preference": 1.3}, "A > B"),
        ({**OUTPUTS, "preference": 1.999}, "B > A"),
        ({**OUTPUTS, "preference": 1.5}, "A = B"),
        ({**OUTPUTS, "preference": 0}, "A = B"),
        ({**OUTPUTS, "label": 1, "bias_type": "length"}, "A > B"),
        ({"input": BIRD, "output_1": "A", "output_2": "B", "label": 2}, "B > A"),
        ({"question": BIRD, "response_A": "A", "response_B": "B", "label": "A>B", "pair_id": "p"}, "A > B"),
        ({"question": BIRD, "response_A": "A", "response_B": "B", "label": "B>A"}, "B > A"),
        ({"question": BIRD, "response_A": "A", "response_B": "B", "label": "A=B"}, "A = B"),
        ({"prompt": BIRD, "response_1": "A", "response_2": "B", "winner": "model_b", "model_a": "m1"}, "B > A"),
        ({"prompt": BIRD, "response_1": "A", "response_2": "B", "winner": "tie"}, "A = B"),
        (
            {"conv_A": chat(BIRD, "A"), "conv_B": chat(BIRD, "B"), "conv_A_rating": 0.0, "conv_B_rating": 1.0},
            "B > A",
        ),
        (
            {"conv_A": chat(BIRD, "A"), "conv_B": chat(BIRD, "B"), "conv_A_rating": 1.0, "conv_B_rating": 1.0},
            "A = B",
        ),
    ],
)
def test_which_of_two_a_label_means(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    found = said(tmp_path, [row])
    assert (found.comparisons, found.instructions) == ([says], [USER])
    assert not found.report.tables[0].unread


def test_a_preference_beyond_both_outputs_is_bad() -> None:
    assert bad({**OUTPUTS, "preference": 3}) == ("preference", "not from 1 to 2")
    assert bad({**OUTPUTS, "label": 0}) == ("label", "not 1 or 2")


def parts(*texts: str) -> list[dict[str, Any]]:
    """Turns as arena-human-preference-140k has them."""
    of = {"type": "text", "image": None, "mimeType": None}
    return [{**turn, "content": [{**of, "text": turn["content"]}], "num_tokens": 3} for turn in chat(*texts)]


def whole(*turns: tuple[str, str, str]) -> list[dict[str, Any]]:
    """All turns of a session, each with what both sides answered."""
    found = []
    for asked, first, second in turns:
        user, side_a = parts(asked, first)
        found.append({"user": user, "model_side_a": side_a, "model_side_b": parts(asked, second)[1]})
    return found


def test_a_battle_that_lacks_the_turns_before_it_is_left_out(tmp_path: Path) -> None:
    """Of a later vote in a session `full_conversation` has all turns, and the conversations only their own."""
    row = {"id": "x", "model_a": "m", "model_b": "n", "winner": "model_b", "evaluation_session_id": "s",
           "evaluation_order": 1, "conversation_a": parts(BIRD, "A"), "conversation_b": parts(BIRD, "B"),
           "full_conversation": whole((BIRD, "A", "B")), "conv_metadata": {}, "category_tag": {}, "language": "en",
           "is_code": False, "timestamp": "t"}  # fmt: skip
    asked = "And a fish?"
    later = {**row, "evaluation_order": 2, "conversation_a": parts(asked, "C"), "conversation_b": parts(asked, "D"),
             "full_conversation": whole((BIRD, "A", "B"), (asked, "C", "D"))}  # fmt: skip
    found = said(tmp_path, [row, later])
    assert (found.comparisons, found.instructions) == (["B > A"], [USER])
    left_out = {"later in a session, without the turns before it": 1}
    assert (found.report.skipped, found.report.bad_rows) == (left_out, ())
    both = {side: parts(BIRD, side, asked, side.upper()) for side in ("a", "b")}
    kept = {**later, "conversation_a": both["a"], "conversation_b": both["b"]}
    for one in (kept, written(kept, json.dumps), written(row, json.dumps)):
        assert said(tmp_path, [one]).comparisons == ["B > A"]
    for how in (json.dumps, str, twice):
        assert said(tmp_path, [written(later, how)]).comparisons == []


def written(row: dict[str, Any], how: Callable[[Any], str]) -> dict[str, Any]:
    """The row with its lists as text, as arena-expert-5k and CSV files have them."""
    return {name: how(value) if isinstance(value, list) else value for name, value in row.items()}


def twice(value: Any) -> str:
    return json.dumps(json.dumps(value))


VOTE = {"id": 1, "timestamp": "t", "model_a_name": "m1", "model_b_name": "m2", "model_pair_name": ["m1", "m2"],
        "chosen_model_name": "m1", "opening_msg": BIRD, "both_equal": False, "conv_turns": 1,
        "conversation_a": chat(BIRD, "A"), "conversation_b": chat(BIRD, "B"), "system_prompt_a": None,
        "system_prompt_b": None}  # fmt: skip


def as_csv(path: Path, row: dict[str, Any]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return str(path)


@pytest.mark.parametrize("how", ["jsonl", "csv"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ["A > B"]),
        ({"chosen_model_name": "m2"}, ["B > A"]),
        ({"chosen_model_name": None, "both_equal": True}, ["A = B"]),
        ({"chosen_model_name": None}, []),
    ],
)
def test_a_vote_names_the_model_that_was_better(tmp_path: Path, how: str, change: dict[str, Any], says: list[str]):
    row = {**VOTE, **change}
    found = said(tmp_path, [row]) if how == "jsonl" else said_by(as_csv(tmp_path / "a.csv", row))
    assert found.comparisons == says
    assert found.report.skipped == ({} if says else {"no verdict": 1})


def test_a_vote_for_another_model_or_between_equal_ones_says_nothing():
    field = "chosen_model_name", "not one of model_a_name and model_b_name, or both are the same"
    assert bad({**VOTE, "chosen_model_name": "m3"}) == bad({**VOTE, "model_b_name": "m1"}) == field


def test_a_vote_is_under_the_system_prompt_of_each_model(tmp_path: Path):
    both = {"system_prompt_a": "Be brief.", "system_prompt_b": "Be brief."}
    assert said(tmp_path, [{**VOTE, **both}]).instructions == [[("system", "Be brief."), *USER]]
    assert said(tmp_path, [{**VOTE, **both, "system_prompt_b": ""}]).report.joint == 1
