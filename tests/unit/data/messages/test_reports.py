"""What public reports say goes wrong (facts: a column or a key is dropped, messages in other clothes), line by line.

The rows are those of the shared inputs, which are not part of the project: without them these tests skip.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.data.read import read, scan
from jpo_dist.data.read_report import ReadReport
from jpo_dist.records.chat import as_chat, keys_turn, tools_turn
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Message
from jpo_dist.records.unbuilt import comparisons_of
from tests.support.rows import write_rows
from tests.support.shared import shared


def read_rows(folder: Path, rows: list[Any]) -> tuple[list[Comparison], ReadReport]:
    built, report = read(write_rows(folder / "a.jsonl", rows), on_bad_row="error")
    return list(comparisons_of(built)), report


def of_file(name: str) -> tuple[ComparisonSet, ReadReport]:
    return read(str(shared(f"reports/{name}.jsonl")), on_bad_row="error")


def user(text: str, system: str | None = None) -> tuple[Message, ...]:
    return (*((Message("system", system),) if system else ()), Message("user", text))


WREN, SPOON = (Item(user("Name a bird."), text) for text in ("A wren.", "A spoon."))


def test_a_question_column_is_the_instruction_and_a_system_column_a_system_turn() -> None:
    built, report = of_file("question_column")
    assert [item.instruction for item in built.all_items()[::2]] == [
        user("Which tool digs holes?", "You are a gardener."),
        user("When do tulips bloom?", "You are a gardener."),
        user("Name a herb."),
    ]
    assert [item.response for item in built.all_items()[:2]] == [
        "The spade digs holes well.",
        "The kettle digs holes well.",
    ]
    assert (report.comparisons, report.joint) == (3, 0)
    assert report.tables[0].read["question"] == "the instruction"


def test_two_system_prompts_are_two_instructions_and_no_contradiction() -> None:
    built, report = of_file("system_column")
    assert report.contradictions == 0
    assert {item.instruction for item in built.all_items()} == {
        user("Name a bird.", "Answer only in rhyme."),
        user("Name a bird.", "Answer in prose."),
    }


TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOL_LIST = [{"type": "function", "function": TOOL}]


def call(city: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "weather", "arguments": {"city": city}}}


def asked(city: str, said: str) -> tuple[Message, ...]:
    result = (Message("tool", "4 C"), keys_turn({"name": "weather"}))
    return (*user("Weather in Oslo?"), Message("assistant", said), keys_turn({"tool_calls": [call(city)]}), *result)


def test_contexts_that_differ_in_a_tool_call_are_two_instructions_with_their_tools() -> None:
    built, report = of_file("tool_calls_in_context")
    first, second = tuple(dict.fromkeys(item.instruction for item in built.all_items()))
    assert first == (tools_turn(TOOL_LIST), *asked("Oslo", "I look it up."))
    assert second == (tools_turn(TOOL_LIST), *asked("Bergen", "I look it up."))
    chat = as_chat(first)
    assert chat.tools == TOOL_LIST
    assert chat.turns == [
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": "I look it up.", "tool_calls": [call("Oslo")]},
        {"role": "tool", "content": "4 C", "name": "weather"},
    ]
    assert report.tables[0].read["tools"] == "a list of tools"


def test_a_tool_call_without_content_is_a_turn() -> None:
    built, _ = of_file("tool_call_content_null")
    assert built.all_items()[0] == Item(asked("Oslo", ""), "4 C.")


@pytest.mark.parametrize("name", ["role_human", "lf_sharegpt"])
def test_human_and_gpt_are_user_and_assistant_in_whatever_keys(name: str) -> None:
    assert of_file(name)[0].all_items() == [WREN, SPOON]


def test_messages_as_json_text_are_messages() -> None:
    assert of_file("stringified_messages")[0].all_items()[:2] == [WREN, SPOON]


def test_a_weight_that_is_null_is_none() -> None:
    built, _ = of_file("null_weight")
    assert built.weights_C.tolist() == [1.0]
    assert built.comparisons["confidence"].to_pylist() == [None]


@pytest.mark.parametrize(
    "name", ["question_column", "system_column", "tool_calls_in_context", "stringified_messages", "lf_sharegpt"]
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_same_in_other_files(tmp_path: Path, name: str, kind: str) -> None:
    """CSV holds messages as text, Parquet gives all objects of a column all keys."""
    import csv

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [json.loads(line) for line in shared(f"reports/{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    file = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            for n, row in enumerate(rows):
                write = json.dumps if n % 2 else repr  # as pandas writes a list
                writer.writerow({k: v if isinstance(v, str) else write(v) for k, v in row.items()})
    assert scan(str(file), on_bad_row="error")[0].items["id"] == of_file(name)[0].items["id"]
