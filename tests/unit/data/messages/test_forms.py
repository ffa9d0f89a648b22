"""Messages in all the clothes they come in read as the same messages in plain ones, or are refused by name."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.data.messages.turns import messages, prompt, response, two_conversations
from jpo_dist.data.messages.written import DEEPEST, messages_in, parsed
from jpo_dist.data.read import read
from jpo_dist.data.row_values import BadField
from jpo_dist.records.chat import KEYS, TOOLS, keys_turn, tools_turn
from jpo_dist.records.comparisons import Item, Message
from jpo_dist.records.text import as_prompt
from tests.support.rows import bad, reading, write_rows

SPELLINGS = {
    "system": ["system", "System", "SYSTEM", "sys", "system_prompt"],
    "user": ["user", "User", "human", "HUMAN", "prompter", " user "],
    "assistant": ["assistant", "Assistant", "gpt", "GPT", "bot", "model", "chatgpt", "ChatGPT", "AI", "gpt-4"],
    "tool": [
        "tool",
        "Tool",
        "function",
        "observation",
        "tool_response",
        "function-response",
        "Tool Result",
        "environment",
    ],
}
KEY_PAIRS = [("role", "content"), ("from", "value"), ("role", "value"), ("from", "content"), ("speaker", "text")]
KEY_PAIRS += [("role", "parts")]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).filter(
    str.strip
)


def as_numpy(turns: list[dict[str, Any]]) -> str:
    """As numpy writes what pandas has read from Parquet: lists of parts are arrays, too."""
    arrays = (
        {key: np.array(one, dtype=object) if isinstance(one, list) else one for key, one in turn.items()}
        for turn in turns
    )
    return str(np.array(list(arrays), dtype=object))


@st.composite
def dressed(draw: st.DrawFn) -> tuple[tuple[Message, ...], Any]:
    """A conversation, and a form of it."""
    roles = draw(st.lists(st.sampled_from(["user", "assistant", "tool"]), min_size=1, max_size=4))
    plain = tuple(Message(role, draw(TEXT)) for role in draw(st.sampled_from([[], ["system"]])) + roles)
    form: list[dict[str, Any]] = []
    role_key, content_key = draw(st.sampled_from(KEY_PAIRS))
    for turn in plain:
        content: Any = turn.content
        if content_key == "parts" or draw(st.booleans()):
            cut, kind = draw(st.integers(0, len(content))), draw(st.sampled_from([{"type": "text"}, {}]))
            content = [{**kind, "text": part} for part in (content[:cut], content[cut:])]
        more = draw(st.dictionaries(st.sampled_from(["id", "model", "tool_calls", "name"]), st.none()))
        form.append({role_key: draw(st.sampled_from(SPELLINGS[turn.role])), content_key: content, **more})
    shape = draw(st.sampled_from(["list", "json", "json in json", "python", "numpy", "columns", "one"]))
    if shape == "one" and len(form) == 1:
        return plain, form[0]
    if shape == "columns":
        return plain, {key: [turn.get(key) for turn in form] for key in (role_key, content_key)}
    write: dict[str, Callable[[Any], Any]]
    write = {"json": json.dumps, "json in json": lambda value: json.dumps(json.dumps(value)), "python": repr}
    write["numpy"] = draw(st.sampled_from([as_numpy, lambda value: repr(np.array(value, dtype=object))]))
    return plain, write.get(shape, lambda value: value)(form)


@given(dressed())
def test_every_form_is_read_as_the_plain_one(made: tuple[tuple[Message, ...], Any]) -> None:
    plain, form = made
    assert messages(form, "messages") == plain
    assert prompt(form, "prompt") == plain
    if plain[-1].role == "assistant" and len(plain) > 1:
        found = two_conversations({"a": form, "b": form}, "a", "b")
        assert found == (Item(plain[:-1], plain[-1].content),) * 2
        assert response(plain[:-1], form, "chosen") == found[0]


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3), st.booleans())
def test_turns_of_what_came_in_and_went_out_are_messages(turns: list[tuple[str, str]], has_system: bool) -> None:
    form: list[dict[str, Any]] = [{"input": asked, "output": said} for asked, said in turns]
    form[0] |= {"system": "Be brief."} if has_system else {}
    first = [Message("system", "Be brief.")] if has_system else []
    plain = [Message(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]
    assert messages(form, "conversation") == (*first, *plain)


@pytest.mark.parametrize("keys", [("input", "output"), ("human", "assistant"), ("user", "assistant")])
def test_both_sides_of_a_turn_may_be_named_after_who_speaks(keys: tuple[str, str]) -> None:
    """As MOSS and Firefly have them; in another mixture of keys, nobody says who speaks."""
    form = [dict(zip(keys, pair, strict=True)) for pair in (("Name a bird.", "A wren."), ("Another.", "A tit."))]
    texts = ("Name a bird.", "A wren.", "Another.", "A tit.")
    plain = [Message(("user", "assistant")[n % 2], text) for n, text in enumerate(texts)]
    assert messages(form, "conversation") == tuple(plain)
    with pytest.raises(BadField, match="not a message"):
        messages([*form, {"user": "x"}], "conversation")
    with pytest.raises(BadField, match="missing field"):
        messages([{"human": "Name a bird."}, {"assistant": "A wren."}], "conversation")


@given(st.text(max_size=60), st.sampled_from(["", "[", "[{", "{", '[{"role": ', "[{'from': 'x'"]))
def test_text_that_is_no_messages_is_text_or_refused_by_name(text: str, start: str) -> None:
    try:
        assert messages_in(start + text, "chosen") is None
    except BadField as error:
        assert error.field == "chosen"  # noqa: PT017
        assert "neither JSON nor Python" in error.reason  # noqa: PT017


ANSWERS = ['{"role": "admin"}', "[1, 2]", '{"name": "role"}', "[{'a': 1}]", "[role: user]", '"role": "user"', "{}"]


@pytest.mark.parametrize("answer", [*ANSWERS, 'Write [{"role": "user", "content": "x"}] into the file.'])
def test_an_answer_about_messages_stays_an_answer(answer: str) -> None:
    if answer == '{"role": "admin"}':  # a response in JSON that names a role, and a message without content
        assert bad({"prompt": "q", "chosen": answer, "rejected": "b"}) == ("chosen[0].content", "missing field")
        return
    found = reading({"prompt": "q", "chosen": answer, "rejected": "b"}).comparison
    assert found is not None
    assert found.winner.response == answer


BOMBS = [
    "[" * 5000,
    "[{'role': " + "-" * 200_000 + "1}]",
    "[{'role': " + "(" * 90 + ")" * 90 + "}]",
    "[{'role': __import__('os')}]",
]


@pytest.mark.parametrize("bomb", BOMBS, ids=["brackets", "signs", "nested", "code"])
def test_what_would_burst_a_parser_is_not_given_to_it(bomb: str) -> None:
    assert DEEPEST < 90
    assert parsed(bomb) is None


@pytest.mark.parametrize(
    ("turn", "told"),
    [
        (
            {"role": "narrator", "content": "x"},
            ("m[0].role", "role 'narrator' is none of system, user, assistant, tool"),
        ),
        ({"from": "", "value": "x"}, ("m[0].from", "empty")),
        ({"role": 1, "content": "x"}, ("m[0].role", "not a string")),
        ({"role": "user", "from": "gpt", "content": "x"}, ("m[0].role and from", "differ; leave one of them out")),
        ({"role": "user", "content": "x", "value": "y"}, ("m[0].content and value", "differ; leave one of them out")),
        ({"role": "user", "content": None}, ("m[0].content", "not a string")),
        ({"role": "user", "content": []}, ("m[0].content", "empty")),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            ("m[0].content[0]", "a part of type image_url, which is not text"),
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image"}]},
            ("m[0].content[1]", "a part of type image, which is not text"),
        ),
        (
            {"role": "user", "content": "x", "images": ["a.png"]},
            ("m[0].images", "not text: there is no way to read it; take the row out"),
        ),
        ({"role": "assistant", "content": "", "tool_calls": []}, ("m[0].content", "empty")),
        ({"role": "assistant", "content": "", "tool_calls": "no"}, ("m[0].tool_calls", "not a list of tool calls")),
        (
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": {}}}]},
            ("m[0].tool_calls[0].function.name", "missing field"),
        ),
        ({"from": "function_call", "value": "clock()"}, ("m[0].value", "not a list of tool calls")),
        ({"role": "assistant", "content": "x", "thinking": 3}, ("m[0].thinking", "not a string")),
        (
            {"role": "assistant", "content": "x", "thinking": "a", "reasoning": "b"},
            ("m[0].reasoning and thinking", "differ; leave one of them out"),
        ),
    ],
)
def test_what_is_in_no_known_form_is_refused_by_name(turn: dict[str, Any], told: tuple[str, str]) -> None:
    with pytest.raises(BadField) as caught:
        messages([turn], "m")
    assert (caught.value.field, caught.value.reason) == told


def test_a_cell_that_pandas_wrote_is_read(tmp_path: Path) -> None:
    """What stands between two objects may stand in a text as well, where it says itself."""
    asked, answer = "Put a comma into }\n {, 'please'.", 'array({"a": 1}\n {"b": 2}, dtype=object)'
    sides = [[{"content": asked, "role": "user"}, {"content": said, "role": "assistant"}] for said in (answer, "No.")]
    cells = [as_numpy(side) for side in sides]
    assert all("}\n {" in cell and "}, {" not in cell for cell in cells)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["chosen", "rejected"], cells])
    found, _ = read(str(tmp_path / "a.csv"), on_bad_row="error")
    assert [(as_prompt(item.instruction), item.response) for item in found.all_items()] == [
        (asked, answer),
        (asked, "No."),
    ]


def test_text_as_numpy_prints_messages_that_is_cut_off_is_refused_and_no_response() -> None:
    for text in ("[{'content': 'q', 'role': 'user'}\n {'content': 'a', 'role'", "array([{'role': 'user'}\n {1: 2}]"):
        field, reason = bad({"prompt": "q", "chosen": text, "rejected": "b"})
        assert (field, "neither JSON nor Python" in reason) == ("chosen", True)


CALL = {"type": "function", "function": {"name": "clock", "arguments": {"zone": "UTC"}}}
CALLS = [
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "assistant", "content": "", "tool_calls": [{"name": "clock", "arguments": '{"zone": "UTC"}'}]},
    {"role": "assistant", "tool_calls": json.dumps([CALL]), "content": " "},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "assistant", "content": None, "function_call": {"name": "clock", "arguments": '{"zone": "UTC"}'}},
    {"from": "function_call", "value": '{"name": "clock", "arguments": {"zone": "UTC"}}'},
    {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": None, "index": None}], "name": None},
]


@pytest.mark.parametrize("turn", CALLS)
def test_a_tool_call_is_one_call_in_whatever_form(turn: dict[str, Any]) -> None:
    assert messages([turn], "m") == (Message("assistant", ""), keys_turn({"tool_calls": [CALL]}))


def test_reasoning_tools_and_results_travel_with_the_turns() -> None:
    given = [
        {"role": "system", "content": "Be exact.", "tools": '[{"name": "clock"}]'},
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": "I look.", "thinking": "A clock?", "tool_calls": [CALL]},
        {"role": "function", "name": "clock", "tool_call_id": "c1", "content": ""},
    ]
    tools = tools_turn([{"type": "function", "function": {"name": "clock"}}])
    read = messages(given, "m")
    assert read == (
        tools,
        Message("system", "Be exact."),
        Message("user", "Time?"),
        Message("assistant", "I look."),
        keys_turn({"tool_calls": [CALL], "reasoning_content": "A clock?"}),
        Message("tool", ""),
        keys_turn({"name": "clock", "tool_call_id": "c1"}),
    )
    assert messages(json.loads(json.dumps(as_prompt(read))), "m") == read, "what we write is read as it was"


@pytest.mark.parametrize("role", [TOOLS, KEYS])
def test_a_turn_that_only_looks_like_one_of_ours_is_refused(role: str) -> None:
    with pytest.raises(BadField, match=f"role {role}, but not the JSON of a"):
        messages([{"role": role, "content": "what I said"}], "m")


@pytest.mark.parametrize("more", [{"tool_calls": [CALL]}, {"reasoning_content": "A clock?"}])
def test_a_call_or_reasoning_in_a_response_is_refused_where_it_stands(more: dict[str, Any]) -> None:
    said = {"role": "assistant", "content": "noon", **more}
    (key,) = more
    field, reason = bad({"prompt": "Time?", "chosen": [said], "rejected": "b"})
    assert (field, reason.startswith("in a response, which is text: write it")) == (f"chosen[0].{key}", True)
    whole = [{"role": "user", "content": "Time?"}, said]
    assert bad({"chosen": whole, "rejected": whole})[0] == f"chosen[1].{key}"
    assert bad({"messages": whole})[0] == f"messages[1].{key}"


def test_of_a_conversation_with_calls_the_turns_that_speak_are_learned_from() -> None:
    from tests.support.rows import HERE

    row = {"messages": [
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "noon"},
        {"role": "assistant", "content": "Noon."},
    ]}  # fmt: skip
    found = reading(row, HERE._replace(turns="all"))
    assert [rating.item.response for rating in found.ratings] == ["Noon."]
    assert [left.reason.split(":")[0] for left in found.left_out] == ["tool_calls in a response, which is text"]


@pytest.mark.parametrize(
    "chosen",
    [["hi", "hello", "more", "good"], ["more", "good"], ["good"]],
    ids=["all of it", "the last question", "the answer"],
)
def test_a_response_may_repeat_all_or_the_end_of_a_longer_prompt(chosen: list[str]) -> None:
    def turns(texts: list[str]) -> list[dict[str, str]]:
        roles = ["assistant" if (len(texts) - n) % 2 else "user" for n in range(len(texts))]
        return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]

    before = [{"role": r, "content": c} for r, c in [("user", "hi"), ("assistant", "hello"), ("user", "more")]]
    found = reading({"prompt": before, "chosen": turns(chosen), "rejected": "bad"}).comparison
    assert found is not None
    assert found.winner == Item(tuple(Message(**turn) for turn in before), "good")


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize("kind", ["messages", "transcript"])
def test_whole_conversations_need_no_prompt_where_its_column_is_empty(tmp_path: Path, empty: Any, kind: str) -> None:
    def side(answer: str) -> Any:
        turns = [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": answer}]
        return turns if kind == "messages" else f"\n\nHuman: Name a bird.\n\nAssistant: {answer}"

    row = {"prompt": empty, "chosen": side("A wren."), "rejected": side("A spoon.")}
    built, _ = read(write_rows(tmp_path / "a.jsonl", [row, {**row, "system": "Rhyme."}]), on_bad_row="error")
    assert built.all_items()[0] == Item.of("Name a bird.", "A wren.")
    assert built.all_items()[2].instruction == (Message("system", "Rhyme."), Message("user", "Name a bird."))


def test_a_prompt_may_be_the_last_question_of_whole_conversations() -> None:
    whole = [{"role": r, "content": c} for r, c in [("user", "hi"), ("assistant", "hello"), ("user", "more")]]
    sides = {side: [*whole, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    found = reading({"prompt": "more", **sides}).comparison
    assert found is not None
    assert [turn.content for turn in found.winner.instruction] == ["hi", "hello", "more"]
