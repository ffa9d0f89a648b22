"""Tools, calls and reasoning of an instruction: kept as messages of two texts, given to templates and servers whole."""

import json

from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.records.chat import as_chat, for_server, keys_turn, tools_turn, unwritten
from jpo_dist.records.comparisons import ComparisonSet, Item, Message, Rating
from jpo_dist.records.folder import read_set, write_set
from jpo_dist.records.text import as_prompt, as_text

CALLS = [{"type": "function", "function": {"name": "clock", "arguments": {"zone": "Österbro"}}}]
TOOLS = [{"type": "function", "function": {"name": "clock"}}]
ASKED = (
    tools_turn(TOOLS),
    Message("user", "What time is it?"),
    Message("assistant", ""),
    keys_turn({"tool_calls": CALLS, "reasoning_content": "I look."}),
    Message("tool", "noon"),
    keys_turn({"name": "clock"}),
)


def test_an_instruction_of_texts_alone_has_the_id_it_had() -> None:
    """As written down before there were tools; splits, caches and annotations are found by them."""
    item = Item((Message("system", "Be brief."), Message("user", "Name a fruit.")), "A pear.")
    assert (item.id, item.instruction_id) == ("5068597d2ecec5b6f2a292acdc060aa5", "11d6dbde59db88617dc9998b72bf4dc1")


def test_what_differs_in_a_call_alone_is_another_instruction_also_on_disk(tmp_path) -> None:
    other = (*ASKED[:3], keys_turn({"tool_calls": []}), *ASKED[4:])
    items = [Item(turns, "It is noon.") for turns in (ASKED, other)]
    built = ComparisonSet.build([], [Rating(item, 1.0, "s") for item in items])
    write_set(built, tmp_path)
    assert read_set(tmp_path).all_items() == items
    assert len({item.instruction_id for item in items}) == 2


def test_a_template_gets_the_keys_and_the_tools() -> None:
    chat = as_chat(ASKED)
    assert chat.tools == TOOLS
    assert chat.turns == [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": "", "tool_calls": CALLS, "reasoning_content": "I look."},
        {"role": "tool", "content": "noon", "name": "clock"},
    ]
    thought = as_chat(ASKED, "{% if message.thinking %}{{ message.thinking }}{% endif %}{{ enable_thinking }}").turns[1]
    assert (thought["thinking"], "reasoning_content" in thought) == ("I look.", False)


def test_a_server_gets_arguments_as_json_and_results_that_name_their_call() -> None:
    turns = for_server(
        (*ASKED, Message("assistant", ""), keys_turn({"tool_calls": CALLS}), Message("tool", "one"))
    ).turns
    (first,), (second,) = (turn["tool_calls"] for turn in turns if "tool_calls" in turn)
    assert json.loads(first["function"]["arguments"]) == {"zone": "Österbro"}
    assert [turn["tool_call_id"] for turn in turns if turn["role"] == "tool"] == [first["id"], second["id"]]
    assert first["id"] != second["id"]


def test_people_and_judges_see_the_tools_too() -> None:
    assert all(word in as_text(ASKED) for word in ("clock", "Österbro", "I look.", "noon"))
    assert json.loads(json.dumps(as_prompt(ASKED))) == [turn._asdict() for turn in ASKED]


@given(st.sets(st.sampled_from(["tools", "tool_calls", "reasoning_content", "role tool"])))
def test_what_a_writer_leaves_out_is_named_and_nothing_else(left_out: set[str]) -> None:
    def write(instruction) -> str:
        chat = as_chat(instruction)
        turns = [
            {key: value for key, value in turn.items() if key not in left_out}
            for turn in chat.turns
            if turn["role"] != "tool" or "role tool" not in left_out
        ]
        return json.dumps([turns, None if "tools" in left_out else chat.tools])

    found = unwritten(ASKED, write)
    assert len(found) == len(left_out)
    assert all(any(f"({part})" in name for name in found) for part in left_out)


def test_a_writer_that_cannot_do_without_a_part_writes_it() -> None:
    def write(instruction) -> str:
        assert list(instruction) == list(ASKED), "this one is not ready for anything else"
        return "written"

    assert unwritten(ASKED, write) == []
