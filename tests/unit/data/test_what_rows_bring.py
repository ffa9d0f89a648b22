"""Columns and keys that public data put around pairs: read, or told of, or refused; each was once lost in silence."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.data.read import scan
from jpo_dist.data.read_report import BadRowError
from tests.support.rows import write_rows
from tests.support.said import said

PAIR: dict[str, Any] = {"prompt": "Name a bird.", "chosen": "A wren.", "rejected": "A spoon."}
ASKED = ("user", "Name a bird.")


def lines(folder: Path, *rows: dict[str, Any]) -> list[str]:
    return [line.strip() for line in said(folder, list(rows)).report.lines()]


def refused(folder: Path, row: dict[str, Any]) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what is looked at
        scan(write_rows(folder / "a.jsonl", [row]), on_bad_row="error")
    return str(caught.value)


@pytest.mark.parametrize(
    ("names", "ranks", "said"),
    [
        (("chosen_rank", "rejected_rank"), (2, 1), "chosen_rank is above rejected_rank in 1 rows"),
        (("rank_chosen", "rank_rejected"), ("3", "1"), "rank_chosen is above rank_rejected in 1 rows"),
        (("chosen_rank", "rejected_rank"), (1, 2), ""),
        (("chosen_rank", "rejected_rank"), (1, 1), ""),
        (("chosen_score", "rejected_score"), (1, 2), "chosen_score is below rejected_score in 1 rows"),
        (
            ("is_chosen_correct", "is_rejected_correct"),
            (False, True),
            "is_chosen_correct is false and is_rejected_correct is not in 1 rows",
        ),
        (
            ("chosen_passed", "rejected_passed"),
            ("False", "True"),
            "chosen_passed is false and rejected_passed is not in 1 rows",
        ),
        (
            ("chosen_is_wrong", "rejected_is_wrong"),
            (1, 0),
            "chosen_is_wrong is true and rejected_is_wrong is not in 1 rows",
        ),
        (
            ("chosen_preference", "rejected_preference"),
            (0.2, 0.8),
            "chosen_preference is below rejected_preference in 1 rows",
        ),
        (("chosen_f1", "rejected_f1"), (0.2, 0.8), "chosen_f1 is below rejected_f1 in 1 rows"),
        (("chosen_length", "rejected_length"), (2, 8), ""),
        (("chosen_correct", "rejected_correct"), (True, False), ""),
        (("chosen_correct", "rejected_correct"), (False, False), ""),
        (("chosen_correct", "rejected_correct"), (False, None), ""),
        (("chosen_right_answer", "rejected_right_answer"), ("a wren", "a spoon"), ""),
    ],
)
def test_places_against_the_label_are_counted_as_scores_are(
    tmp_path: Path, names: tuple[str, str], ranks: tuple[Any, Any], said: str
) -> None:
    told = [
        line for line in lines(tmp_path, {**PAIR, **dict(zip(names, ranks, strict=True))}) if "neither is read" in line
    ]
    assert [line.partition(",")[0] for line in told] == ([said] if said else [])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("winner", "model_a"),
        ("label", "good"),
        ("verdict", "reject"),
        ("quality", "high"),
        ("rating", "4"),
        ("best", "b"),
        ("orig_preference", "A"),
    ],
)
@pytest.mark.parametrize("row", [{"question": "Q?", "answer": "A."}, {"conversations": None}])
def test_a_verdict_beside_one_response_is_told_of(tmp_path: Path, row: dict[str, Any], column: str, value: str) -> None:
    turns = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."}]
    row = {**({"conversations": turns} if "conversations" in row else row), column: value}
    (table,) = said(tmp_path, [row]).report.tables
    assert table.unread == {column: "may rate the response: say so by score or layout in a source of jpo data build"}


def test_what_is_about_the_row_is_no_verdict(tmp_path: Path) -> None:
    row = {"question": "Q?", "answer": "A.", "answer_tokens": "4", "category": "good", "best_model": "m1"}
    assert said(tmp_path, [row]).report.tables[0].unread == {}


def test_a_response_beside_a_pair_is_not_called_read(tmp_path: Path) -> None:
    assert lines(tmp_path, {**PAIR, "response": "A third one."})[-1] == 'not read: response ("A third one.")'


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"reasoning_chosen": "Wrens fly."}, "reasoning_chosen: stands apart from the response"),
        ({"thinking_rejected": "Spoons do not."}, "thinking_rejected: stands apart from the response"),
        ({"tool_calls_chosen": [{"name": "f"}]}, "tool_calls_chosen: stands apart from the response"),
        ({"sys": "Be brief."}, "sys: may be of the instruction"),
        ({"customInstructions": "Be brief."}, "it may be a system prompt: rename it to system"),
        ({"initial_reason_steps": "Step 1: think."}, "it may be how both responses begin: write it into them"),
        (
            {"conversation": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"},
                              {"role": "user", "content": "Name a bird."}]},
            "conversation: has prompt in it, and other turns that would be lost",
        ),
    ],
)  # fmt: skip
def test_a_part_of_the_instruction_or_response_is_refused(tmp_path: Path, more: dict[str, Any], told: str) -> None:
    assert told in refused(tmp_path, {**PAIR, **more})


@pytest.mark.parametrize("shape", ["text", "message", "parts"])
def test_a_system_prompt_in_each_form(tmp_path: Path, shape: str) -> None:
    value = {"text": "Be brief.", "message": {"role": "system", "content": "Be brief."},
             "parts": [{"text": "Be "}, {"text": "brief."}]}[shape]  # fmt: skip
    assert said(tmp_path, [{**PAIR, "system": value}]).instructions == [[("system", "Be brief."), ASKED]]
    assert "not a system turn" in refused(tmp_path, {**PAIR, "system": {"role": "user", "content": "Be brief."}})


def test_arguments_of_a_template_hold_a_system_prompt(tmp_path: Path) -> None:
    """SmolTalk 2: two instructions of one text, told apart by what their template was told."""
    arguments = {"custom_instructions": "Be brief.", "enable_thinking": True, "python_tools": None, "xml_tools": []}
    rows = [
        {**PAIR, "chat_template_kwargs": arguments},
        {**PAIR, "chat_template_kwargs": {**arguments, "custom_instructions": "Rhyme.", "enable_thinking": False}},
        {**PAIR, "chat_template_kwargs": {**arguments, "custom_instructions": ""}},
        {**PAIR, "chat_template_kwargs": json.dumps({**arguments, "custom_instructions": "Sing."})},
    ]
    found = said(tmp_path, rows)
    assert found.instructions == [
        [("system", "Be brief."), ASKED],
        [("system", "Rhyme."), ASKED],
        [ASKED],
        [("system", "Sing."), ASKED],
    ]
    told = "\n".join(found.report.lines())
    assert "chat_template_kwargs (a system turn)" in told
    assert "enable_thinking (true or false) is not followed row by row: set data.template_args for all" in told
    with_tools = {**PAIR, "chat_template_kwargs": {"xml_tools": ['{"name": "f"}']}}
    assert "chat_template_kwargs: holds xml_tools, which no turn has" in refused(tmp_path, with_tools)
    two = {**PAIR, "system": "Rhyme.", "chat_template_kwargs": arguments}
    assert "another system prompt than the one beside it" in refused(tmp_path, two)


def chats(asked: dict[str, Any], said: dict[str, Any] | None = None) -> dict[str, Any]:
    user, answer = {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"}
    turns = [{**user, **asked}, {**answer, **(said or {})}, {"role": "user", "content": "Name a bird."}]
    return {side: [*turns, {"role": "assistant", "content": PAIR[side]}] for side in ("chosen", "rejected")}


def test_the_name_of_a_speaker_is_told_of(tmp_path: Path) -> None:
    (table,) = said(tmp_path, [chats({"name": "Bob"})]).report.tables
    assert table.unread == {"chosen[].name": '"Bob"', "rejected[].name": '"Bob"'}
    (table,) = said(tmp_path, [chats({"name": None})], name="b.jsonl").report.tables
    assert (table.unread, table.nothing) == ({}, ())


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("reasoning_details", [{"type": "reasoning.text", "text": "Hm."}], "reasoning in parts: write it as one text"),
        ("thinking_blocks", [{"type": "thinking", "thinking": "Hm."}], "reasoning in parts: write it as one text"),
        ("experimental_attachments", [{"url": "x"}], "not text: there is no way to read it"),
    ],
)
def test_a_key_that_says_more_than_the_text_is_refused(tmp_path: Path, key: str, value: Any, told: str) -> None:
    with pytest.raises(BadRowError, match=told):
        scan(write_rows(tmp_path / "a.jsonl", [chats({}, {key: value})]), on_bad_row="error")
    assert said(tmp_path, [chats({}, {key: []})]).comparisons


def test_reasoning_that_is_there_as_text_too_is_read_once(tmp_path: Path) -> None:
    more = {"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}
    (turns,) = said(tmp_path, [chats({}, more)]).instructions
    assert ("keys", '{"reasoning_content": "Hm."}') in turns


def test_results_of_an_environment_are_those_of_a_tool(tmp_path: Path) -> None:
    """OLMo 3: calls and lists of tools as text, results in the role `environment`."""
    turns = [
        {"role": "system", "content": "Look.", "functions": '[{"name": "look"}]'},
        {"role": "user", "content": "Name a bird."},
        {"role": "assistant", "content": None, "function_calls": '[{"name": "look", "arguments": {}}]'},
        {"role": "environment", "content": "A wren."},
    ]
    row = {side: [*turns, {"role": "assistant", "content": PAIR[side]}] for side in ("chosen", "rejected")}
    (found,) = said(tmp_path, [row]).instructions
    assert [role for role, _ in found] == ["tools", "system", "user", "assistant", "keys", "tool"]


@pytest.mark.parametrize(
    ("column", "text", "mark"),
    [
        ("prompt", "<｜User｜>Name a bird.<｜Assistant｜>", "<｜User｜>"),
        ("prompt", "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Name a bird.", "<|START_OF_TURN_TOKEN|>"),
        ("question", "<|im_start|>user\nName a bird.<|im_end|>", "<|im_start|>"),
        ("system", "<|im_start|>system\nBe brief.<|im_end|>", "<|im_start|>"),
        ("prompt", "A chat. USER: Name a bird. ASSISTANT:", "USER:"),
        ("prompt", "<<SYS>>\nBe brief.\n<</SYS>>\n\nName a bird.", "<<SYS>>"),
    ],
)
def test_marks_of_each_template_are_told_of_wherever_they_stand(
    tmp_path: Path, column: str, text: str, mark: str
) -> None:
    row = {**PAIR, column: text}
    if column == "question":
        del row["prompt"]
    assert any(line.startswith(f"{column}: with marks of a chat template ({mark})") for line in lines(tmp_path, row))


def test_a_prompter_is_a_speaker(tmp_path: Path) -> None:
    row = {**PAIR, "prompt": "prompter: Name a bird.\nassistant: Hm.\nprompter: Well?"}
    assert any("prompt: beginning with the name of a speaker" in line for line in lines(tmp_path, row))


def test_names_of_models_are_not_proposed_as_responses(tmp_path: Path) -> None:
    row = {"model_a": "m1", "model_b": "m2", "speech_a": "A.", "speech_b": "B.", "who": "a"}
    assert "a: speech_a, b: speech_b" in refused(tmp_path, row)


def test_steps_of_one_response_are_no_ranking(tmp_path: Path) -> None:
    row = {"prompt": "2 + 2?", "completions": ["Step 1.", "Step 2."], "labels": [True, False]}
    assert "not where they judge the steps of one response" in refused(tmp_path, row)


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("margin", (-2.0, 2.5, 1), "margin is below 0 in 1 of the first rows and above in 2, and is not read"),
        ("score_diff", ("-1", "3", "0"), "score_diff is below 0 in 1 of the first rows and above in 1"),
        ("delta_score", (1, 2, None), ""),
        ("margin", (-1, -2, -3), ""),
        ("time_to_death", (-1, 2, 3), ""),
    ],
)
def test_a_number_whose_sign_contradicts_the_label_is_told_of(
    tmp_path: Path, name: str, values: tuple[Any, ...], told: str
) -> None:
    found = lines(tmp_path, *({**PAIR, "prompt": f"{n}?", name: value} for n, value in enumerate(values)))
    assert (
        [line for line in found if line.startswith(told)] if told else not [line for line in found if "below 0" in line]
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("win", [{"user_id": "u", "value": 2, "status": "submitted"}, {"user_id": "v", "value": None}]),
        ("preference.responses", ["rejected", "rejected"]),
        ("preference.suggestion", "rejected"),
        ("label-suggestion", 2),
        ("is_better", False),
        ("labels", [1, 0]),
        ("preference", ["chosen", "rejected", "rejected"]),
        ("human_preference", [0.25, 0.75]),
    ],
)
def test_what_several_people_said_of_a_pair_is_told_of(tmp_path: Path, name: str, value: Any) -> None:
    """Argilla's exports of chosen and rejected with a question which is better: people's answers were nothing."""
    (unread,) = said(tmp_path, [{**PAIR, name: value}]).report.tables[0].unread.items()
    assert unread[0] == name
    assert unread[1].startswith("may say which of the two is better, and is not followed")


@pytest.mark.parametrize(
    ("name", "value"),
    [("labels", []), ("win", [{"user_id": "u"}]), ("preference.responses.status", ["submitted"]), ("label", {"a": 1})],
)
def test_an_answer_that_nobody_gave_settles_nothing(tmp_path: Path, name: str, value: Any) -> None:
    assert "may say" not in str(said(tmp_path, [{**PAIR, name: value}]).report.tables[0].unread)


@pytest.mark.parametrize("how", [json.dumps, str])
def test_a_system_prompt_may_be_the_text_of_a_message(tmp_path: Path, how: Any) -> None:
    row = {"system": how({"role": "system", "content": "Be brief."}), **PAIR}
    assert said(tmp_path, [row]).instructions == [[("system", "Be brief."), ASKED]]


@pytest.mark.parametrize("history", ["[]", '[["Hi.", "Yo."]]', "[['Hi.', 'Yo.']]"])
def test_earlier_turns_may_be_text(tmp_path: Path, history: str) -> None:
    row = {"instruction": "Name a bird.", "chosen": "A wren.", "rejected": "A spoon.", "history": history}
    earlier = [("user", "Hi."), ("assistant", "Yo.")] if "Hi" in history else []
    assert said(tmp_path, [row]).instructions == [[*earlier, ASKED]]
    assert "history: not a list" in refused(tmp_path, {**row, "history": "[Hi, Yo]"})


def test_lists_that_are_read_as_lists_need_no_word(tmp_path: Path) -> None:
    row = {"id": 1, "prompt": '["Name a bird."]', "response_a": '["A wren."]', "response_b": '["A spoon."]',
           "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}  # fmt: skip
    assert said(tmp_path, [row]).report.tables[0].note == ""


PREFILL = [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "It is"}]


@pytest.mark.parametrize("prompt", [PREFILL, json.dumps(PREFILL)])
@pytest.mark.parametrize("chosen", [" a wren.", [{"role": "assistant", "content": " a wren."}]])
def test_an_instruction_that_ends_with_the_assistant_is_told_of(tmp_path: Path, prompt: Any, chosen: Any) -> None:
    """TRL goes on from such words; here they are a turn of their own, which no template told apart."""
    found = lines(tmp_path, {"prompt": prompt, "chosen": chosen, "rejected": " a spoon."}, PAIR)
    (note,) = [line for line in found if "words of the assistant" in line]
    assert note.startswith(
        "prompt ends with words of the assistant in 1 rows, and what follows is read as another turn"
    )


def test_an_instruction_that_is_empty_is_what_stands_beside_it(tmp_path: Path) -> None:
    """MixInstruct: a question is its input where it has no instruction."""
    rows = [
        {"id": 1, "instruction": "", "input": "Name a bird.", "output": "A wren."},
        {"id": 2, "instruction": "Answer.", "input": "Name a bird.", "output": "A wren."},
        {"id": 3, "instruction": None, "input": "Name a fish.", "output": "A cod."},
    ]
    found = said(tmp_path, rows)
    assert found.instructions == [[ASKED], [("user", "Answer.\nName a bird.")], [("user", "Name a fish.")]]
    assert found.report.tables[0].read["input"] == "the instruction"
    (bad,) = said(tmp_path, [*rows, {**rows[0], "input": " "}], "skip").report.bad_rows
    assert (bad.field, bad.reason) == ("instruction", "empty")


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_the_number_of_a_row_in_a_csv_file_carries_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text(f"{name},prompt,chosen,rejected\n0,Name a bird.,A wren.,A spoon.\n")
    _, report = scan(str(tmp_path / "a.csv"), on_bad_row="error")
    assert report.tables[0].nothing == (name or "a column without a name",)
    assert report.tables[0].unread == {}


@pytest.mark.parametrize("words", [("yes", "no"), ("True", "False"), ("chosen", "rejected")])
@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_thumbs_in_words_are_refused_with_what_to_write(
    tmp_path: Path, words: tuple[str, str], on_bad_row: str
) -> None:
    """Each row was a bad one, without a word of how to read them."""
    rows = [{"prompt": "Name a bird.", "completion": word, "label": word} for word in words]
    with pytest.raises(ValueError, match=r"liked: \{column: label, up: \[…\], down: \[…\]\}"):
        said(tmp_path, rows, on_bad_row)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("system", "nan", "system is 'nan' in 1 rows"),
        ("system", " None", "system is 'None' in 1 rows"),
        ("input", "<noinput>", "input is '<noinput>' in 1 rows"),
        ("chosen", "null", "chosen is 'null' in 1 rows"),
        ("system", "None of your business.", ""),
        ("system", None, ""),
        ("note", "nan", ""),
    ],
)
def test_a_text_that_spells_that_there_is_none_is_told_of(tmp_path: Path, name: str, value: Any, told: str) -> None:
    """As pandas has it where a column of text was written with str(): it became a system prompt without a word."""
    found = lines(tmp_path, {**PAIR, name: value}, {**PAIR, "prompt": "Name a fish."})
    assert [line.partition(",")[0] for line in found if "read as text: null" in line] == ([told] if told else [])


@pytest.mark.parametrize("tools", ["null", "None", " null ", "[]", None])
def test_json_of_no_tools_is_no_tools(tmp_path: Path, tools: Any) -> None:
    found = said(tmp_path, [{**PAIR, "tools": tools}])
    assert (found.instructions, found.comparisons) == ([[ASKED]], ["A wren. > A spoon."])
