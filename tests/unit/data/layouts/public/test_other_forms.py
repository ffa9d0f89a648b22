"""Winners and losers in lists, in completions with a score, and among the candidates of a last message."""

from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.sections import DataConfig
from jpo_dist.config.sft import SftDataConfig
from jpo_dist.data.examples import read_demonstrations, read_labelled
from tests.support.rows import bad, reading, write_rows
from tests.support.said import said

BIRD, USER = "Name a bird.", [("user", "Name a bird.")]
LISTS = {"id": "1", "prompt": BIRD, "chosen": ["A wren.", "An owl."], "rejected": ["A spoon.", "A fork."],
         "num_correct": 2, "num_rejected": 2, "total_completions": 4, "models": ["m"], "subset": "Ties"}  # fmt: skip
DECIDED = {f"{winner} > {loser}" for winner in ("A wren.", "An owl.") for loser in ("A spoon.", "A fork.")}


def test_each_of_chosen_wins_over_each_of_rejected(tmp_path: Path) -> None:
    found = said(tmp_path, [LISTS])
    assert {one for one in found.comparisons if ">" in one} == DECIDED
    assert {frozenset(one.split(" = ")) for one in found.comparisons if "=" in one} == {
        frozenset(("A wren.", "An owl.")), frozenset(("A spoon.", "A fork."))
    }  # fmt: skip
    assert (found.instructions, found.report.layouts) == ([USER], {"chosen-lists": 1})


def test_a_bad_one_of_a_list_hides_no_other(tmp_path: Path) -> None:
    found = said(tmp_path, [{**LISTS, "rejected": ["A spoon.", " "]}], on_bad_row="skip")
    assert {one for one in found.comparisons if ">" in one} == {one for one in DECIDED if "fork" not in one}
    assert found.report.skipped == {"empty": 1}


def test_lists_of_one_row_compare_with_no_other_row(tmp_path: Path) -> None:
    other = {**LISTS, "prompt": "Name a tool.", "chosen": ["A saw."], "rejected": ["A wren, too."]}
    assert "A saw. > A wren, too." in said(tmp_path, [LISTS, other]).comparisons
    ratings = [one for row in (LISTS, other) for one in reading(row).ratings]
    assert {one.scale for one in ratings} == {"a.jsonl:7"}  # the row's place, and not the file


def parts(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text} for text in texts]}


@pytest.mark.parametrize("system", ["systemInstruction", "system_instruction"])
@pytest.mark.parametrize("first", [0, 1])
def test_of_two_completions_of_vertex_the_one_with_score_1_wins(tmp_path: Path, system: str, first: int) -> None:
    answers = [parts("model", "A wren."), parts("model", "A spoon.")]
    completions = [{"score": float(n == first), "completion": answers[n != first]} for n in (0, 1)]
    row = {system: parts("", "Be ", "brief."), "contents": [parts("user", BIRD)], "completions": completions}
    found = said(tmp_path, [row])
    assert found.comparisons == ["A wren. > A spoon."]
    assert found.instructions == [[("system", "Be brief."), *USER]]
    assert (found.report.tables[0].unread, found.report.tables[0].nothing) == ({}, ())


def test_a_score_of_vertex_that_is_neither_1_nor_0_is_bad() -> None:
    completions = [{"score": 0.5, "completion": parts("model", "A wren.")}]
    row = {"contents": [parts("user", BIRD)], "completions": completions}
    assert bad(row) == ("completions[0].score", "not true or false")


def nova(*labels: str, **more: Any) -> dict[str, Any]:
    texts = ("A wren.", "A spoon.")
    candidates = [
        {"content": [{"text": text}], "preferenceLabel": label} for text, label in zip(texts, labels, strict=True)
    ]
    turns = [{"role": "user", "content": [{"text": BIRD}]}, {"role": "assistant", "candidates": candidates}]
    return {"schemaVersion": "bedrock-conversation-2024", "messages": turns, **more}


def test_the_preferred_candidate_of_nova_wins(tmp_path: Path) -> None:
    rows = [nova("preferred", "non-preferred", system=[{"text": "Be brief."}]), nova("non-preferred", "preferred")]
    found = said(tmp_path, rows)
    assert sorted(found.comparisons) == ["A spoon. > A wren.", "A wren. > A spoon."]
    assert [("system", "Be brief."), *USER] in found.instructions
    assert found.report.tables[0].unread == {}
    assert bad(nova("preferred", "worse")) == (
        "messages[1].candidates[1].preferenceLabel",
        "not preferred or non-preferred",
    )


@pytest.mark.parametrize(
    "row",
    [
        {"contents": [parts("user", BIRD), parts("model", "A wren.")]},
        {"conversation": [{"input": BIRD, "output": "A wren."}]},
        {"conversation": [{"role": "user", "content": BIRD}, {"role": "assistant", "content": "A wren."}]},
        {"messages": [{"role": "user", "content": [{"text": BIRD}]}, parts("assistant", "A wren.")]},
    ],
)
def test_conversations_of_other_programs_are_conversations(tmp_path: Path, row: dict[str, Any]) -> None:
    found = said(tmp_path, [row])
    assert (found.scores, found.instructions) == ({"A wren.": None}, [USER])
    assert (found.report.layouts, found.report.tables[0].unread) == ({"conversation": 1}, {})


def test_one_winner_may_stand_beside_several_losers(tmp_path: Path) -> None:
    found = said(tmp_path, [{"prompt": BIRD, "chosen": "A wren.", "rejected": ["A spoon.", "A fork."]}])
    assert {one for one in found.comparisons if ">" in one} == {"A wren. > A spoon.", "A wren. > A fork."}


def test_a_text_that_won_and_lost_in_one_row_is_bad(tmp_path: Path) -> None:
    assert bad({**LISTS, "rejected": ["A spoon.", "An owl."]}) == ("rejected[1]", "in chosen too")


PADDLE = {"src": [BIRD], "tgt": [], "response": ["A wren.", "A spoon."], "sort": [1, 0]}


def test_of_responses_of_paddle_the_one_with_the_higher_number_wins(tmp_path: Path) -> None:
    turns = {"src": ["Hi.", BIRD], "tgt": ["Hello."], "response": [["A spoon."], ["An owl."]], "sort": [0, 1]}
    found = said(
        tmp_path, [PADDLE, {**turns, "system": "Be brief.", "is_system": 0}, {**PADDLE, "src": "Hi?", "tgt": ""}]
    )
    assert sorted(found.comparisons) == ["A wren. > A spoon.", "A wren. > A spoon.", "An owl. > A spoon."]
    assert sorted(found.instructions) == [
        [("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello."), *USER],
        [("user", "Hi?")],
        USER,
    ]
    assert found.report.layouts == {"paddle": 1}


def test_of_responses_of_paddle_the_best_is_imitated_and_desirable(tmp_path: Path) -> None:
    """Its places began at the worst one: the loser was imitated, and labels were the other way round."""
    row = {**PADDLE, "response": ["A spoon.", "A wren.", "A tit."], "sort": [0, 2, 1]}
    file = write_rows(tmp_path / "a.jsonl", [row])
    imitated, _ = read_demonstrations(file, SftDataConfig(train=file))
    assert [item.response for item in imitated.all_items()] == ["A wren."]
    labelled, _ = read_labelled(file, DataConfig(train=file))
    labels = zip((item.response for item in labelled.all_items()), labelled.desirable_C.tolist(), strict=True)
    assert dict(labels) == {"A spoon.": False, "A wren.": True}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tgt": ["A tit."]}, ("tgt", "not one less than src")),
        ({"src": ["Hi.", BIRD]}, ("tgt", "not one less than src")),
        ({"sort": [1]}, ("sort", "not as many as responses")),
        ({"sort": ["1", "0"]}, ("sort[0]", "not a number")),
        ({"is_system": 1}, ("is_system", "set, and not read: write the system prompt into a column system")),
    ],
)
def test_what_paddle_would_not_read_is_bad(change: dict[str, Any], told: tuple[str, str]) -> None:
    assert bad({**PADDLE, **change}) == told
