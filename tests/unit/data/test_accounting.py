"""No column or key with text vanishes unnamed: it is in an item, in the report, or in the error."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import csv as pa_csv

from jpo_dist.config.sft import SftDataConfig
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.examples import read_demonstrations
from jpo_dist.data.read import read, read_source, scan
from jpo_dist.data.read_report import BadRowError, TableColumns
from jpo_dist.records.comparisons import Item, Message
from tests.support.rows import write_rows

LAYOUTS: list[dict[str, str]] = [
    {"chosen": "text", "rejected": "text"},
    {"prompt": "text", "chosen": "text", "rejected": "text"},
    {"prompt": "turns", "chosen": "answer", "rejected": "answer"},
    {"chosen": "whole", "rejected": "whole"},
    {"i_chosen": "text", "r_chosen": "text", "i_reject": "text", "r_reject": "text"},
    {"instruction": "text", "response_0": "text", "response_1": "text", "feedback": "0"},
    {"prompt": "text", "completion": "text", "score": "0"},
    {"prompt": "text", "completion": "text", "label": "0"},
    {"instruction": "text", "responses": "texts"},
    {"instruction": "text", "response": "text"},
    {"messages": "whole"},
    {"instruction": "text", "output": "text"},
    {"question": "text", "answer": "text"},
    {"prompt": "text", "chosen": "texts", "rejected": "others"},
    {"prompt": "text", "response": "text", "rejected_response": "text"},
    {"messages": "turns", "chosen_response": "text", "rejected_response": "text"},
    {"trajectory": "turns", "chosen": "text", "rejected": "text"},
    {"conversation": "halves"},
]
MORE = [
    *("system", "system_prompt", "tools", "functions", "history", "input", "context", "question", "query"),
    *("instruction", "prompt", "messages", "conversations", "conversation", "topic", "ask", "note", "model_name"),
    *("source", "id", "chosen_score", "rationale", "meta", "Frage", "task", "systemPrompt", "documents", "developer"),
    *("chat_history", "chosen_reasoning", "labels", "reasoning_chosen", "sys", "assistant_prefix", "response"),
    *("chat_template_kwargs", "chosen_rank", "winner", "rejected_answer"),
]
SHAPES = (
    "text",
    "word",
    "turns",
    "whole",
    "pairs",
    "tools",
    "object",
    "null",
    "number",
    "halves",
    "parts",
    "arguments",
)


def value_of(shape: str, name: str) -> tuple[Any, list[str]]:
    """A value, and the words in it that no other column has."""
    word = f"{name.title().replace('_', '')}word"
    said, more = f"Say {word}a now?", f"And {word}b."
    user, answer = {"role": "user", "content": said}, {"role": "assistant", "content": more}
    return {
        "text": (said, [f"{word}a"]),
        "word": (f"{word}a", [f"{word}a"]),
        "texts": ([said, more], [f"{word}a", f"{word}b"]),
        "others": ([f"{said} Twice?", f"{more} Twice."], [f"{word}a", f"{word}b"]),
        "halves": ([{"input": said, "output": more}], [f"{word}a", f"{word}b"]),
        "parts": ([{"text": said}], [f"{word}a"]),
        "arguments": ({"custom_instructions": said, "enable_thinking": True}, [f"{word}a"]),
        "turns": ([user], [f"{word}a"]),
        "answer": ([answer], [f"{word}b"]),
        "whole": ([user, answer], [f"{word}a", f"{word}b"]),
        "pairs": ([[said, more]], [f"{word}a", f"{word}b"]),
        "tools": ([{"name": f"{word}a"}], [f"{word}a"]),
        "object": ({"deep": {"down": [said]}}, [f"{word}a"]),
        "null": (None, []),
        "number": (1, []),
        "0": (0, []),
    }[shape]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(LAYOUTS),
    st.dictionaries(st.sampled_from(MORE), st.sampled_from(SHAPES), max_size=5),
    st.booleans(),
)
def test_no_column_with_text_vanishes_unnamed(
    tmp_path: Path, layout: dict[str, str], more: dict[str, str], as_text: bool
) -> None:
    row: dict[str, Any] = {}
    words: dict[str, list[str]] = {}
    for name, shape in {**more, **layout}.items():
        row[name], words[name] = value_of(shape, name)
        if as_text and isinstance(row[name], list) and shape not in ("texts", "others", "halves"):
            row[name] = json.dumps(row[name])
    try:
        built, report = scan(write_rows(tmp_path / "a.jsonl", [row]), on_bad_row="error")
    except ValueError as error:  # refused: nothing is read, and the error says which column it is
        assert any(name in str(error) for name in row), error  # noqa: PT017
        return
    said = json.dumps([[item.instruction, item.response] for item in built.all_items()], ensure_ascii=False)
    (table,) = report.tables
    named = {*table.nothing, *table.unread}
    for name, needed in words.items():
        if name not in named:
            assert name in table.read, f"{name} is not in the report"
            assert all(word in said for word in needed if not _repeats(table, name)), f"{name} is read, and lost"


def _repeats(table: TableColumns, name: str) -> bool:
    return table.read[name].endswith("too")


KEYS = st.dictionaries(st.sampled_from(["id", "emotion", "model", "note", "weight"]), st.sampled_from(["", "very odd"]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KEYS, KEYS, st.booleans())
def test_no_key_of_a_message_vanishes_unnamed(tmp_path: Path, asked: Any, said: Any, as_text: bool) -> None:
    turns = [{"role": "user", "content": "Q?", **asked}, {"role": "assistant", "content": "A.", **said}]
    row = {"messages": json.dumps(turns) if as_text else turns}
    _, report = scan(write_rows(tmp_path / "a.jsonl", [row]), on_bad_row="error")
    (table,) = report.tables
    assert {*table.nothing, *table.unread} == {f"messages[].{key}" for key in {**asked, **said}}


def lines(folder: Path, *rows: dict[str, Any]) -> list[str]:
    name = write_rows(folder / "a.jsonl", list(rows))
    return [line.replace(name, "a.jsonl") for line in read(name, on_bad_row="error")[1].lines()[1:]]


def test_the_report_tells_what_each_column_was_taken_for(tmp_path: Path) -> None:
    """distilabel's form of the Orca pairs."""
    row = {
        "system": "", "input": "Which tool digs?", "chosen": "A spade.", "rejected": "A pan.",
        "generations": ["A spade.", "A pan."], "labelling_model": "gpt-4", "rating": [9, 2],
        "rationale": "Pans do not dig.", "in_gsm8k_train": False,
    }  # fmt: skip
    assert lines(tmp_path, row) == [
        "  a.jsonl: layout explicit; read: input (the instruction), chosen, rejected",
        "    carries nothing: system, labelling_model, rating, in_gsm8k_train",
        '    not read: generations ("A spade."), rationale ("Pans do not dig.")',
    ]


def test_files_with_the_same_columns_are_told_of_once(tmp_path: Path) -> None:
    for name in "ab":
        write_rows(tmp_path / f"{name}.jsonl", [{"prompt": name, "chosen": "x", "rejected": "y"}])
    _, report = read(str(tmp_path), on_bad_row="error")
    assert report.lines()[1:] == [f"  {tmp_path}/a.jsonl and 1 more: layout explicit; read: prompt, chosen, rejected"]
    assert [table["file"] for table in json.loads(json.dumps(report.as_dict()))["tables"]] == [
        f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl",
    ]  # fmt: skip


def test_where_two_texts_are_cut_is_shown(tmp_path: Path) -> None:
    row = {"id": 7, "chosen": "Q: Name a fruit. A: Apple.", "rejected": "Q: Name a fruit. A: Apron."}
    assert lines(tmp_path, row)[1] == (
        '    the instruction is what both texts begin with: "Q: Name a fruit. A:", then " Apple." or " Apron."'
    )


@pytest.mark.parametrize("column", ["ask", "Frage", "user_message", "trajectory", "meta"])
@pytest.mark.parametrize(
    "value", ["Which tool digs holes?", ["Which tool", "digs?"], {"q": "Which tool digs?"}, "哪个工具"]
)
def test_two_texts_are_never_cut_where_another_column_may_be_the_instruction(
    tmp_path: Path, column: str, value: Any
) -> None:
    rows = [{column: value, "chosen": "The spade.", "rejected": "The kettle."}]
    file = write_rows(tmp_path / "a.jsonl", rows)
    with pytest.raises(ValueError, match=rf"its column {column} may hold it .* columns: {{prompt: {column}}}"):
        scan(file, on_bad_row="skip")
    named = read_source(SourceConfig(path=file, layout="implicit"), "error").comparisons[0]
    assert named.winner == Item.of("The", " spade.")


def test_a_column_that_only_later_rows_have_is_seen_too(tmp_path: Path) -> None:
    cut = {"chosen": "Q: fruit? A: pear", "rejected": "Q: fruit? A: mud"}
    rows = [cut] * 1001 + [{**cut, "ask": "Name a fruit."}, {**cut, "topic": "x"}]
    _, report = scan(write_rows(tmp_path / "a.jsonl", rows), on_bad_row="skip")
    assert [(bad.line, bad.field, bad.reason) for bad in report.bad_rows] == [(1002, "ask", "may hold the instruction")]
    assert report.tables[0].nothing == ("topic",)
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b"}] * 1001
    _, report = scan(write_rows(tmp_path / "a.jsonl", [*rows, {**rows[0], "note": "to you"}]), on_bad_row="error")
    assert report.tables[0].unread == {"note": '"to you"'}


OTHER = {"prompt": "Tell me.", "chosen": "a", "rejected": "b"}
LONGER = [{"role": r, "content": c} for r, c in [("user", "Hi"), ("assistant", "Yes?"), ("user", "Tell me.")]]
RHYME = [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "Tell me."}]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"question": "Which tool digs?"}, r"question: says what is not in prompt.* columns: \{prompt: question\}"),
        ({"query": "Which tool digs?"}, "query: says what is not in prompt"),
        ({"messages": LONGER}, "messages: has prompt in it, and other turns"),
        ({"prompt": RHYME, "system": "In prose."}, "system: not the system turn that the messages .*; put it into"),
        ({"prompt": LONGER, "input": "about spades"}, "input: neither in prompt nor"),
        ({"images": ["a.png"]}, "images: holds what no text can say.*; take the rows that have some out"),
        ({"chosen_thinking": "Hm."}, "chosen_thinking: stands apart .*; write it into the response"),
        ({"history": "we spoke of spades"}, "history: neither messages nor pairs"),
    ],
)
def test_a_file_that_would_lose_something_of_its_instructions_is_refused(
    tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    good = {"prompt": "q", "chosen": "a", "rejected": "b"}
    file = write_rows(tmp_path / "a.jsonl", [{**OTHER, **more}])
    with pytest.raises(ValueError, match=rf"a\.jsonl: {told}"):
        scan(file, on_bad_row="skip")
    some = write_rows(tmp_path / "b.jsonl", [good, good, {**OTHER, **more}])
    with pytest.raises(BadRowError, match="line 3: "):
        scan(some, on_bad_row="error")
    assert scan(some, on_bad_row="skip")[1].comparisons == 2


def test_a_source_that_names_the_instruction_has_decided(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{**OTHER, "question": "Which tool digs?"}])
    found = read_source(SourceConfig(path=file, columns={"prompt": "question"}), "error")
    assert found.comparisons[0].winner == Item.of("Which tool digs?", "a")
    assert found.tally.tables[0].unread == {"prompt": '"Tell me."'}
    found = read_source(SourceConfig(path=file, columns={"prompt": "prompt"}), "error")
    assert found.tally.tables[0].unread == {"question": '"Which tool digs?"'}
    renamed = SourceConfig(path=write_rows(tmp_path / "b.jsonl", [{**OTHER, "S": "Rhyme."}]), columns={"system": "S"})
    assert read_source(renamed, "error").comparisons[0].winner.instruction[0] == Message("system", "Rhyme.")


def test_sft_tells_of_columns_too(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{"instruction": "Who?", "context": "Bob came.", "response": "Bob."}])
    found, report = read_demonstrations(file, SftDataConfig(train=file))
    assert found.all_items() == [Item.of("Who?\nBob came.", "Bob.")]
    assert report.lines()[-1].endswith("read: instruction, context (below instruction), response")


def test_keys_of_several_responses_are_told_of_too(tmp_path: Path) -> None:
    """UltraFeedback's objects, and NeMo's, whose responses are messages."""
    said = {"response": "A pear.", "overall_score": 9, "model": "m-1", "custom_system_prompt": "As an expert."}
    rows = [{"instruction": "Name a fruit.", "completions": [said, {**said, "response": "A brick."}]}]
    _, report = scan(write_rows(tmp_path / "a.jsonl", rows), on_bad_row="error")
    assert report.tables[0].nothing == ("completions[].model",)
    assert report.tables[0].unread == {"completions[].custom_system_prompt": '"As an expert."'}
    answer = [{"role": "assistant", "content": "A pear."}]
    context = [{"role": "user", "content": "Name a fruit."}]
    rows = [{"context": context, "completions": [{"rank": 0, "completion": answer, "why": "It is one."}]}]
    _, report = scan(write_rows(tmp_path / "b.jsonl", rows), on_bad_row="error")
    assert (report.tables[0].nothing, report.tables[0].unread) == ((), {"completions[].why": '"It is one."'})


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("systemPrompt", "Rhyme, please.", "a system prompt: rename it to system"),
        ("System", "Rhyme, please.", "a system prompt: rename it to system"),
        ("SYSTEM-PROMPT", "Rhyme, please.", "a system prompt"),
        ("developer", "Rhyme, please.", "a system prompt"),
        ("chat_history", [{"role": "user", "content": "Good day."}], "earlier turns: rename it to history"),
        ("conversationHistory", [["Good day.", "And to you."]], "earlier turns"),
        ("available_tools", [{"name": "dig", "description": "Digs a hole."}], "a list of tools: rename it to tools"),
        ("documents", [{"title": "Tools", "text": "A spade digs."}], "what it asks about: rename it to context"),
        ("Passage", "A spade digs.", "what it asks about"),
        ("chosen_reasoning", "It digs.", "write it into the response"),
    ],
)
def test_parts_of_an_instruction_under_other_names_are_refused(
    tmp_path: Path, column: str, value: Any, told: str
) -> None:
    row = {"prompt": "Which tool digs?", "chosen": "A spade.", "rejected": "A brick."}
    file = write_rows(tmp_path / "a.jsonl", [{**row, column: value}])
    with pytest.raises(ValueError, match=f"{column}: .*{told}"):
        read(file, on_bad_row="skip")


def test_names_like_those_of_an_instruction_hinder_nothing_where_they_add_nothing(tmp_path: Path) -> None:
    row = {"prompt": "A spade digs. Which tool digs?", "chosen": "A spade.", "rejected": "A brick."}
    for more in ({"document": "A spade digs."}, {"document": "tools.pdf", "developer": "them"}, {"documents": []}):
        built, _ = read(write_rows(tmp_path / "a.jsonl", [{**row, **more}]), on_bad_row="error")
        assert built.all_items()[0] == Item.of("A spade digs. Which tool digs?", "A spade.")
    source = SourceConfig(
        path=write_rows(tmp_path / "b.jsonl", [{**row, "document": "A long text."}]), layout="explicit"
    )
    assert read_source(source, "error").tally.tables[0].unread == {"document": '"A long text."'}


@pytest.mark.parametrize("column", ["labels", "rank", "ratings", "reward_scores", "preferences"])
def test_texts_with_a_number_for_each_are_no_ranking(tmp_path: Path, column: str) -> None:
    rows = [{"prompt": "Name a fruit.", "responses": ["A brick.", "A pear."], column: [0, 1]}]
    file = write_rows(tmp_path / "a.jsonl", rows)
    with pytest.raises(ValueError, match=rf"responses would be a ranking, best first, and its column {column} has"):
        read(file, on_bad_row="error")
    own = {"instruction": "prompt", "responses": "responses", "scores": column, "better": "lower"}
    said = read_source(SourceConfig.model_validate({"path": file, "layout": own}), "error").ratings
    assert [(one.item.response, one.score) for one in said] == [("A brick.", -0.0), ("A pear.", -1.0)]
    as_it_stands = read_source(SourceConfig(path=file, layout="responses"), "error").ratings
    assert [one.score for one in as_it_stands] == [0.0, -1.0]


@pytest.mark.parametrize(("column", "value"), [("best", 1), ("chosen", "A pear."), ("preferences", [[1, 0]])])
def test_texts_of_which_a_column_names_the_best_are_no_ranking(tmp_path: Path, column: str, value: Any) -> None:
    row = {"prompt": "Name a fruit.", "responses": ["A brick.", "A pear."], column: value}
    file = write_rows(tmp_path / "a.jsonl", [row])
    with pytest.raises(ValueError, match=rf"column {column} says which is best .*put the best of responses first"):
        read(file, on_bad_row="error")
    said = read_source(SourceConfig(path=file, layout="responses"), "error").ratings
    assert [one.score for one in said] == [0.0, -1.0]


def test_a_ranking_without_scores_is_called_one(tmp_path: Path) -> None:
    row = {"prompt": "Name a fruit.", "responses": ["A pear.", "A brick."], "elo": [900, 1200]}
    _, report = read(write_rows(tmp_path / "a.jsonl", [row]), on_bad_row="error")
    assert report.tables[0].note == "responses are texts without scores, and are taken for a ranking, best first"
    assert report.tables[0].unread == {"elo": "a number for each response, which nothing here follows"}


def test_columns_that_may_settle_a_pair_are_told_of(tmp_path: Path) -> None:
    row = {**SAID, "label": 0, "is_tie": True, "sample_weight": 2.0, "id": 1}
    _, report = read(write_rows(tmp_path / "a.jsonl", [row, {**row, "label": None}]), on_bad_row="error")
    (table,) = report.tables
    assert (list(table.unread), table.nothing) == (["label", "is_tie", "sample_weight"], ("id",))
    assert table.unread["is_tie"].startswith("may say that neither is better")


def test_turns_that_are_not_to_be_learned_from_are_told_of(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?", "weight": 0}]
    row = {"messages": [*turns, {"role": "user", "content": "Fruit?"}, {"role": "assistant", "content": "A pear."}]}
    _, report = scan(write_rows(tmp_path / "a.jsonl", [row]), on_bad_row="error")
    assert report.tables[0].unread == {
        "messages[].weight": "says that a turn is not to be learned from, and is not followed"
    }


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"instruction": "Name one.", "input": "Fruits", "output": "A pear."}, "Name one.\nFruits"),
        ({"instruction": "Name one.", "input": "", "output": "A pear."}, "Name one."),
        ({"question": "Which fruit?", "answer": "A pear."}, "Which fruit?"),
        ({"query": "Which fruit?", "response": "A pear."}, "Which fruit?"),
        ({"input": "Which fruit?", "output": "A pear."}, "Which fruit?"),
    ],
)
def test_sft_reads_responses_under_their_usual_names(tmp_path: Path, row: dict[str, str], asked: str) -> None:
    file = write_rows(tmp_path / "a.jsonl", [row, {**row, "system_prompt": "Rhyme."}])
    found, _ = read_demonstrations(file, SftDataConfig(train=file))
    one, other = found.all_items()
    assert one == Item.of(asked, "A pear.")
    assert other.instruction == (Message("system", "Rhyme."), *one.instruction)


def test_a_ranking_has_lengths_and_its_objects_have_their_own_scores(tmp_path: Path) -> None:
    ranking = {"prompt": "Name a fruit.", "responses": ["A pear.", "A brick."], "lengths": [7, 8]}
    scored = [{"response": "A pear.", "score": 9}, {"response": "A brick.", "score": 1}]
    objects = {"instruction": "Name a fruit.", "completions": scored, "votes": [1, 2]}
    for row in (ranking, objects):
        built, _ = read(write_rows(tmp_path / "a.jsonl", [row]), on_bad_row="error")
        assert built.all_items()[built.winners_C[0]].response == "A pear."


def test_pairs_whose_verdict_has_a_name_that_no_layout_knows_are_told_of_it(tmp_path: Path) -> None:
    row = {"instruction": "Name a fruit.", "response_0": "A pear.", "response_1": "A brick.", "winner": "a"}
    with pytest.raises(ValueError, match=r"its column winner \(a\) may be one: .*prefer: \{column: winner"):
        read(write_rows(tmp_path / "a.jsonl", [row]), on_bad_row="error")
    with pytest.raises(ValueError, match="no column feedback\\); label them first"):
        read(write_rows(tmp_path / "b.jsonl", [{**row, "winner": None}]), on_bad_row="error")


SAID = {"prompt": "Name a fruit.", "chosen": "A pear.", "rejected": "A brick."}


def test_a_system_prompt_of_one_response_is_refused(tmp_path: Path) -> None:
    said = {"response": "A pear.", "score": 9, "system_prompt": "As an expert."}
    row = {"instruction": "Name a fruit.", "completions": [said, {**said, "response": "A brick.", "score": 1}]}
    file = write_rows(tmp_path / "a.jsonl", [row])
    with pytest.raises(
        BadRowError, match=r"completions\[\]\.system_prompt: a system prompt of that response alone: give"
    ):
        scan(file, on_bad_row="error")
    built, report = scan(file, on_bad_row="skip")
    assert (len(built), sum(report.skipped.values())) == (0, 1)
    blank = [{**one, "system_prompt": ""} for one in row["completions"]]
    assert len(scan(write_rows(tmp_path / "b.jsonl", [{**row, "completions": blank}]), on_bad_row="error")[0]) == 1


@pytest.mark.parametrize("extension", ["jsonl", "csv", "parquet"])
def test_scores_against_the_label_are_counted(tmp_path: Path, extension: str) -> None:
    scores = [(2.0, 5.0), (5.0, 2.0), (3.0, 3.0), (1.0, 4.0)]
    rows = [
        {**SAID, "chosen": f"A pear {n}.", "chosen_score": a, "rejected_score": b} for n, (a, b) in enumerate(scores)
    ]
    file = tmp_path / f"a.{extension}"
    if extension == "jsonl":
        write_rows(file, rows)
    elif extension == "csv":
        pa_csv.write_csv(pa.Table.from_pylist(rows), file)
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    built, report = scan(str(file), on_bad_row="error")
    assert (len(built), report.tables[0].against) == (4, {"chosen_score": 2})
    told = "    chosen_score is below rejected_score in 2 rows, and neither is read: chosen is taken for the better one"
    assert told in report.lines()


def test_scores_against_the_label_are_added_up_over_files(tmp_path: Path) -> None:
    row = {**SAID, "chosen_reward": 1, "rejected_reward": 2}
    files = [write_rows(tmp_path / name, [row]) for name in ("a.jsonl", "b.jsonl")]
    assert any("in 2 rows, and neither is read" in line for line in scan(files, on_bad_row="error")[1].lines())


def test_a_judgement_without_text_is_told_of(tmp_path: Path) -> None:
    _, report = scan(
        write_rows(tmp_path / "a.jsonl", [{**SAID, "is_chosen_safe": False, "flag": True}]), on_bad_row="error"
    )
    assert report.tables[0].unread == {"is_chosen_safe": "a judgement of its own, which nothing here follows"}
    row = {"prompt": "Name a fruit.", "response": "A pear.", "is_safe": False}
    _, report = scan(write_rows(tmp_path / "b.jsonl", [row]), on_bad_row="error")
    assert report.tables[0].unread["is_safe"].startswith("may rate the response")


@pytest.mark.parametrize("more", [{"completion": "A pear."}, {"chosen": "A pear.", "rejected": "A brick."}])
def test_a_prompt_that_is_a_transcript_stays_one_turn_and_is_told_of(tmp_path: Path, more: dict[str, Any]) -> None:
    asked = "\n\nHuman: Good day.\n\nAssistant: And to you.\n\nHuman: Name a fruit.\n\nAssistant:"
    built, report = scan(write_rows(tmp_path / "a.jsonl", [{"prompt": asked, **more}]), on_bad_row="error")
    assert built.all_items()[0] == Item.of(asked, "A pear.")
    assert report.tables[0].note.startswith(
        "prompt is a transcript (Human: …, Assistant:), and is read as one user turn"
    )
    ranked = {"prompt": asked, "answers": [{"answer": "A pear.", "rank": 1}, {"answer": "A brick.", "rank": 2}]}
    _, report = scan(write_rows(tmp_path / "b.jsonl", [ranked]), on_bad_row="error")
    assert (report.tables[0].layout, report.tables[0].note) == ("nectar", "")


def test_a_row_without_the_columns_that_most_have_is_a_bad_row(tmp_path: Path) -> None:
    """Found by drawn rows: a system prompt beside two whole conversations, and no prompt to put it before."""
    whole = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "A pear."}]
    good = {"prompt": "Name a fruit.", "completion": "A pear.", "label": True, "system": "Rhyme."}
    bad = {"completion": "A brick.", "label": False, "system": "Rhyme.", "messages": whole}
    _, report = scan(write_rows(tmp_path / "a.jsonl", [good, good, bad]), on_bad_row="skip")
    assert report.skipped == {"missing field": 1}
