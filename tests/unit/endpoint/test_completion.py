"""The text of a reply, in the forms in which servers send it."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from jpo_dist.endpoint.completion import completion_of

BODY = {"messages": [{"role": "user", "content": "x" * 30}]}


def response(message: Any, reason: Any = "stop", **more: Any) -> Any:
    """What the client makes of a body; it lets almost anything through."""
    choice = {"index": 0, "finish_reason": reason, "message": message}
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    return ChatCompletion.construct(**{"choices": [choice], "usage": usage, **more})


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "(b)"}]}
CALLS = [{"id": "1", "type": "function", "function": {"name": "vote", "arguments": '{"verdict": "a"}'}}]


@pytest.mark.parametrize(
    ("message", "reason", "text", "ended"),
    [
        ({"content": "(a)"}, "stop", "(a)", "stop"),
        ({"content": "(a)"}, None, "(a)", ""),
        ({"content": "(a)"}, 7, "(a)", ""),
        ({"content": "(a)", "reasoning_content": "so (b)"}, "stop", "(a)", "stop"),
        ({"content": None, "reasoning_content": "so (b)"}, "length", "", "length"),
        ({"content": None}, "content_filter", "", "content_filter"),
        ({"content": None, "refusal": "I cannot."}, "stop", "I cannot.", "refusal"),
        ({"content": "", "refusal": "(a)"}, None, "(a)", "refusal"),
        ({"content": "(a)", "refusal": "Not that."}, "length", "(a)", "length"),
        ({"content": None, "tool_calls": CALLS}, "tool_calls", "", "tool_calls"),
        ({"content": None, "tool_calls": CALLS}, "stop", "", "tool_calls"),
        ({"content": "(a)", "tool_calls": []}, "stop", "(a)", "stop"),
        ({"content": [{"type": "text", "text": "(a"}, {"type": "text", "text": ")"}]}, "stop", "(a)", "stop"),
        ({"content": [THOUGHT, {"type": "text", "text": "(a)"}]}, "stop", "(a)", "stop"),
        ({"content": ["(a)"]}, "stop", "(a)", "stop"),
        ({"content": []}, "stop", "", "stop"),
        ({"content": [None, 3, {"type": "text", "text": 7}]}, "stop", "", "stop"),
        ({}, "stop", "", "stop"),
    ],
)  # fmt: skip
def test_what_a_message_says_and_how_it_ended(message: Any, reason: Any, text: str, ended: str) -> None:
    found = completion_of(response({"role": "assistant", **message}, reason), BODY)
    assert found is not None
    assert (found.text, found.finish_reason) == (text, ended)
    assert (found.input_tokens, found.output_tokens, found.estimated) == (5, 2, False)


@pytest.mark.parametrize(
    "broken",
    [
        {"choices": []},
        {"choices": None},
        {"choices": {}},
        {"choices": ["x"]},
        {"choices": [{"index": 0}]},
        {"error": {}},
    ],
)
def test_what_is_no_reply(broken: dict[str, Any]) -> None:
    assert completion_of(ChatCompletion.construct(**broken), BODY) is None


@pytest.mark.parametrize("content", [7, {"text": "(a)"}, True])
def test_content_of_another_kind_is_no_reply(content: Any) -> None:
    assert completion_of(response({"content": content}), BODY) is None


def test_of_several_choices_the_first_by_its_index_counts() -> None:
    choices = [
        {"index": n, "finish_reason": "stop", "message": {"content": f"({text})"}} for n, text in ((1, "b"), (0, "a"))
    ]
    assert completion_of(response({}, choices=choices), BODY).text == "(a)"  # type: ignore[union-attr]


ESTIMATE = -(-len(json.dumps(BODY["messages"])) // 3)


@pytest.mark.parametrize(
    ("usage", "said", "took"),
    [
        ((37, 5, 842), "(a)", (37, 805, False)),  # xAI: reasoning in the total alone
        ((37, 805, 842), "(a)", (37, 805, False)),
        ((37, 5, 40), "(a)", (37, 5, False)),  # a total that is none
        ((37, 5, 0), "(a)", (37, 5, False)),
        ((37, 5, None), "(a)", (37, 5, False)),
        ((37, 5, -3), "(a)", (37, 5, False)),
        ((37, 5, True), "(a)", (37, 5, False)),
        ((37, 0, 842), "", (37, 805, False)),
        ((37, 0, 37), "", (37, 0, False)),
        ((37, 0, 37), "(a)", (37, 1, True)),
        ((0, 0, 0), "(a)", (ESTIMATE, 1, True)),
        ((0, 0, 0), "", (ESTIMATE, 0, True)),
        ((0, 5, 5), "(a)", (ESTIMATE, 5, True)),
    ],
)
def test_all_that_is_billed_is_counted_and_what_is_not_counted_is_estimated(
    usage: tuple[Any, ...], said: str, took: tuple[int, int, bool]
) -> None:
    counts = dict(zip(("prompt_tokens", "completion_tokens", "total_tokens"), usage, strict=True))
    found = completion_of(response({"content": said}, usage=counts), BODY)
    assert found is not None
    assert (found.input_tokens, found.output_tokens, found.estimated) == took


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": True}])
def test_tokens_that_are_not_counted_are_estimated_from_bytes(usage: Any) -> None:
    found = completion_of(response({"content": "(a)"}, usage=usage), BODY)
    assert found is not None
    size = len(json.dumps(BODY["messages"]))
    assert (found.input_tokens, found.output_tokens, found.estimated) == (-(-size // 3), 1, True)
