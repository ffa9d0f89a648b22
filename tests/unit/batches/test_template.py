"""A template writes an item as the model would: one BOS, the turns, and the end that the model emits."""

import copy
import re
from typing import Any

import pytest

from jpo_dist.batches.template import chat_template, instruction_prefix, make_template
from jpo_dist.batches.tokenize import tokenize
from jpo_dist.records.chat import keys_turn, tools_turn
from jpo_dist.records.comparisons import Item, Message
from tests.support.tiny import CHAT_TEMPLATE, byte_tokenizer
from tests.support.tokens import ITEM, PROMPT, TURNS, data, one, text_of, with_template

CHATS: list[tuple[str, Any, str]] = [
    ("BOS in the template", with_template(CHAT_TEMPLATE), "<s><user>Name a fruit.</s><assistant>|A pear.</s>"),
    (
        "no BOS in the template",
        with_template(CHAT_TEMPLATE.replace("{{ bos_token }}", "")),
        "<s><user>Name a fruit.</s><assistant>|A pear.</s>",
    ),
    (
        "no BOS in the tokenizer",
        with_template(TURNS + PROMPT, "<|end|>", bos=False),
        "<user>Name a fruit.<|end|>\n<assistant>|A pear.<|end|>",
    ),
    (
        "end of turn is not EOS, a newline follows",
        with_template("{{ bos_token }}" + TURNS + PROMPT, "<|end|>"),
        "<s><user>Name a fruit.<|end|>\n<assistant>|A pear.<|end|>",
    ),
    (
        "EOS after the end of turn",
        with_template(
            TURNS + "{% if add_generation_prompt %}<assistant>{% else %}{{ eos_token }}{% endif %}", "<|end|>"
        ),
        "<s><user>Name a fruit.<|end|>\n<assistant>|A pear.<|end|>",
    ),
    (
        "no end written",
        with_template("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}" + PROMPT),
        "<s><user>Name a fruit.<assistant>|A pear.</s>",
    ),
    (
        "a newline before the end",
        with_template("{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n</s>{% endfor %}" + PROMPT),
        "<s>[user]Name a fruit.\n</s><assistant>|A pear.</s>",
    ),
    (
        "content is trimmed",
        with_template(TURNS.replace("m['content']", "m['content'] | trim") + PROMPT, "<|end|>"),
        "<s><user>Name a fruit.<|end|>\n<assistant>|A pear.<|end|>",
    ),
]


@pytest.mark.parametrize(("tokenizer", "expected"), [c[1:] for c in CHATS], ids=[c[0] for c in CHATS])
def test_chat_templates_end_with_what_the_model_emits_and_have_one_bos(tokenizer: Any, expected: str) -> None:
    head, tail = expected.split("|A pear.")
    ids, boundary = one(tokenizer, ITEM, data("chat"))
    assert text_of(tokenizer, ids[:boundary]) == head
    assert text_of(tokenizer, ids[boundary:]) == "A pear." + tail


@pytest.mark.parametrize("closing", ["", "{{ eos_token }}"])
def test_an_end_of_turn_token_without_a_role_is_found(closing: str) -> None:
    """Phi-3's <|end|> is an added special token that no field of its tokenizer's configuration names."""
    template = TURNS + "{% if add_generation_prompt %}<assistant>{% else %}" + closing + "{% endif %}"
    tokenizer = with_template(template, "<|end|>", named=False)
    assert text_of(tokenizer, list(make_template(tokenizer, "chat").end_ids)) == "<|end|>"


DATED = "{% if strftime_now is defined %}{% set d = strftime_now('%d %b %Y, %-d %B, %A') %}{% endif %}Today: {{ d }};"


def test_a_template_that_writes_the_date_writes_the_same_every_day() -> None:
    """Else a run that is continued after midnight has other tokens, and two hosts of one run may."""
    tokenizer = with_template(DATED + TURNS + PROMPT, "<|end|>")
    text = instruction_prefix(tokenizer, make_template(tokenizer, "chat"), (Message("user", "hi"),))
    assert text == "Today: 26 Jul 2024, 26 July, Friday;<user>hi<|end|>\n<assistant>"
    assert chat_template(with_template(TURNS)) == TURNS, "and others are left as they are"


def test_conversations_keep_their_turns() -> None:
    turns = (
        Message("system", "Be brief."),
        Message("user", "Hi."),
        Message("assistant", "Yes?"),
        Message("user", "Go."),
    )
    item = Item(turns, "Gone.")
    tokenizer = with_template(CHAT_TEMPLATE)
    ids, boundary = one(tokenizer, item, data("chat"))
    chat = "<s><system>Be brief.</s><user>Hi.</s><assistant>Yes?</s><user>Go.</s><assistant>"
    assert text_of(tokenizer, ids[:boundary]) == chat
    ids, boundary = one(tokenizer, item, data("{instruction}\nAnswer:"))
    expected = "<s>System: Be brief.\n\nUser: Hi.\n\nAssistant: Yes?\n\nUser: Go.\nAnswer:"
    assert text_of(tokenizer, ids[:boundary]) == expected


def test_braces_in_an_instruction_are_text() -> None:
    ids, boundary = one(byte_tokenizer(), Item.of("{instruction} {x} %s", "y"), data("<{instruction}>"))
    assert text_of(byte_tokenizer(), ids[1:boundary]) == "<{instruction} {x} %s>"


def test_of_several_chat_templates_each_item_has_the_one_that_servers_choose() -> None:
    """That of the name tool_use where there are tools: the default one would leave them out."""
    several = {"default": CHAT_TEMPLATE, "tool_use": WITH_TOOLS, "rag": "{{ documents }}"}
    tokenizer = with_template(several)
    plain, tools = Item.of("Name a fruit.", "A pear."), Item(ASKED, "It is noon.")
    for item, template in ((plain, CHAT_TEMPLATE), (tools, WITH_TOOLS)):
        alone = with_template(template)
        assert text_of(tokenizer, one(tokenizer, item, data("chat"))[0]) == text_of(
            alone, one(alone, item, data("chat"))[0]
        )
    with pytest.raises(
        ValueError, match=r"^data\.template \(chat\): .* named rag, tool_use, and none named default; name"
    ):
        make_template(with_template({"tool_use": WITH_TOOLS, "rag": "{{ documents }}"}), "chat")


def test_chat_without_a_chat_template_and_missing_eos_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="needs a tokenizer with a chat template; give a plain template"):
        tokenize(with_template(None), [ITEM], data("chat"))
    endless = copy.deepcopy(byte_tokenizer())
    endless.eos_token = None
    with pytest.raises(ValueError, match="no EOS token; set one"):
        tokenize(endless, [ITEM], data())


WITH_TOOLS = (
    "{{ bos_token }}{% if tools %}[{% for t in tools %}{{ t | tojson }}{% endfor %}]{% endif %}"
    "{% for m in messages %}<{{ m['role'] }}>{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}"
    "{{ m['content'] }}{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.name }}"
    "{{ c.function.arguments | tojson }}{% endfor %}{% endif %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CALL = {"type": "function", "function": {"name": "clock", "arguments": {"zone": "UTC"}}}
TOOLS = [{"type": "function", "function": {"name": "clock"}}]
ASKED = (
    tools_turn(TOOLS),
    Message("user", "Time?"),
    Message("assistant", ""),
    keys_turn({"tool_calls": [CALL], "reasoning_content": "I look."}),
    Message("tool", "noon"),
)


def test_tools_calls_and_reasoning_are_written_by_the_template() -> None:
    tokenizer = with_template(WITH_TOOLS)
    assert instruction_prefix(tokenizer, make_template(tokenizer, "chat"), ASKED) == (
        '<s>[{"type": "function", "function": {"name": "clock"}}]<user>Time?</s>'
        '<assistant>(I look.)clock{"zone": "UTC"}</s><tool>noon</s><assistant>'
    )


@pytest.mark.parametrize(
    ("without", "named"),
    [
        ("{{ c.function.name }}{{ c.function.arguments | tojson }}", "tool calls (tool_calls)"),
        ("({{ m.reasoning_content }})", "reasoning (reasoning_content)"),
        ("{{ t | tojson }}", "list of tools (tools)"),
    ],
)
def test_a_template_that_leaves_one_out_is_named(without: str, named: str) -> None:
    assert without in WITH_TOOLS
    tokenizer = with_template(WITH_TOOLS.replace(without, ""))
    template = make_template(tokenizer, "chat")
    with pytest.raises(ValueError, match=rf"leaves out the {re.escape(named)} of an instruction"):
        instruction_prefix(tokenizer, template, ASKED)


def test_reasoning_that_a_template_leaves_out_of_earlier_turns_refuses_nothing() -> None:
    """It writes that of the last turn alone, as the templates of models that think do."""
    last_alone = WITH_TOOLS.replace("{% if m.reasoning_content %}", "{% if m.reasoning_content and loop.last %}")
    tokenizer = with_template(last_alone)
    template = make_template(tokenizer, "chat")
    assert instruction_prefix(tokenizer, template, ASKED).endswith(
        '<assistant>clock{"zone": "UTC"}</s><tool>noon</s><assistant>'
    )


def test_a_template_for_texts_alone_names_all_that_it_leaves_out() -> None:
    tokenizer = with_template(CHAT_TEMPLATE)
    with pytest.raises(ValueError, match=r"list of tools .* and the tool calls .* and the reasoning"):
        instruction_prefix(tokenizer, make_template(tokenizer, "chat"), ASKED)
    with pytest.raises(ValueError, match="is plain text, and cannot write tools"):
        instruction_prefix(tokenizer, make_template(tokenizer, "### {instruction}"), ASKED)


# ---- a template is a program that comes with the model


def test_a_template_that_never_ends_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops in loops, each within the sandbox's bound: here so many that the thread ends a second later."""
    monkeypatch.setattr("jpo_dist.batches.template.FIRST_TEXT_S", 0.2)
    loop = "{% for a in range(4000) %}{% for b in range(4000) %}{% endfor %}{% endfor %}"
    with pytest.raises(ValueError, match=r"chat template does not come to an end within 0\.2 s"):
        make_template(with_template(loop + TURNS + PROMPT), "chat")


def test_a_template_that_writes_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jpo_dist.batches.template.LARGEST_TEXT", 1_000_000)
    for much in ("{{ 'x' * 2000000 }}", "{{ 'x' * 10 ** 15 }}"):
        with pytest.raises(ValueError, match=r"cannot write a question and its answer"):
            make_template(with_template(much + TURNS + PROMPT), "chat")
