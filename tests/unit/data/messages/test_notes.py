"""Texts that are read as they stand though they look like more are told of, and others are not."""

from typing import Any

import pytest

from jpo_dist.data.messages.notes import notes_on

COLUMNS = ("prompt", "chosen", "rejected")
PLAIN = {"prompt": "Name a bird.", "chosen": "A wren.", "rejected": "A spoon."}


def notes(*rows: dict[str, Any], columns: tuple[str, ...] = COLUMNS) -> list[str]:
    return notes_on(("prompt",), columns, rows, lambda row: [value for value in row.values() if isinstance(value, str)])


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [
        ("<|im_start|>user\nName a bird.<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>"),
        ("<s>[INST] Name a bird. [/INST]", "<s>"),
        ("[INST] Name a bird. [/INST]", "[INST]"),
        ("<start_of_turn>user\nName a bird.<end_of_turn>", "<start_of_turn>"),
        ("### Instruction:\nName a bird.\n\n### Response:", "### Instruction:"),
        ("<|user|>\nName a bird.\n<|assistant|>\n", "<|user|>"),
    ],
)
def test_marks_of_a_chat_template_are_told_of(prompt: str, mark: str) -> None:
    (note,) = notes({**PLAIN, "prompt": prompt})
    assert note.startswith(f"prompt: with marks of a chat template ({mark}), which are read as text")


def test_what_ends_a_turn_is_a_mark_too() -> None:
    (note,) = notes({**PLAIN, "chosen": "A wren.</s>", "rejected": "A spoon.</s>"})
    assert note.startswith("chosen and rejected: with marks of a chat template (</s>)")


def test_a_prompt_that_both_responses_repeat_is_told_of() -> None:
    twice = {**PLAIN, "chosen": "Name a bird. A wren.", "rejected": "Name a bird.\nA spoon."}
    assert notes(twice, twice) == [
        "chosen and rejected begin with prompt, so that it is said twice: take it out of them"
    ]
    assert notes(twice, PLAIN) == [], "some responses do"


@pytest.mark.parametrize("name", ["Human", "USER", "User", "assistant"])
def test_names_of_speakers_are_told_of(name: str) -> None:
    spoken = {**PLAIN, "chosen": f"{name}: A wren.", "rejected": f"{name}: A spoon."}
    assert notes(spoken) == ["chosen and rejected: beginning with the name of a speaker, which is read as text"]


def test_transcripts_of_both_sides_are_read_and_need_no_word_without_a_prompt() -> None:
    sides = {name: f"\n\nHuman: Name a bird.\n\nAssistant: A {name}." for name in ("chosen", "rejected")}
    assert notes(sides, columns=("chosen", "rejected")) == []
    assert notes({"prompt": None, **sides}) == []
    assert len(notes({**PLAIN, **sides})) == 1, "beside a prompt they are a response"


def test_plain_texts_and_a_few_odd_ones_need_no_word() -> None:
    odd = {**PLAIN, "prompt": "What does <|im_start|> mean?", "chosen": "Human: one who speaks."}
    assert notes(PLAIN, PLAIN, odd) == []
    assert notes({**PLAIN, "prompt": [{"role": "user", "content": "x"}], "chosen": None}) == []
    assert notes() == []


@pytest.mark.parametrize(
    "text",
    [
        "['A wren.', \"It's small.\"]",
        '["A wren."]',
        '[{"type": "text", "text": "A wren."}]',
        "{'answer': 'A wren.', 'why': 'It flies.'}",
        "array(['A wren.'], dtype=object)",
    ],
)
def test_lists_and_objects_as_text_are_told_of(text: str) -> None:
    """What pandas makes of a column of lists in a CSV file was a response as it stood."""
    (note,) = notes({**PLAIN, "chosen": text}, {**PLAIN, "chosen": text})
    assert note == "chosen: written as lists or objects of Python or JSON, and read as text as they stand"
    row = {**PLAIN, "chosen": text}
    assert notes_on(("prompt",), COLUMNS, [row], lambda row: ["A wren."]) == [], "not where they are read as lists"


@pytest.mark.parametrize("text", ['{"answer": "A wren."}', "[1, 2]", "['A wren.'] is a list.", "A set: {'a'}"])
def test_an_answer_in_json_needs_no_word(text: str) -> None:
    assert notes({**PLAIN, "chosen": text, "rejected": text}) == []
