"""Every public kind of chat template: what differs from training, what is said of it, and what mends it."""

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from jpo_dist.batches.template_check import TemplateDifference, look_at, require_template
from jpo_dist.batches.tokenize import tokenize
from jpo_dist.records.chat import keys_turn
from jpo_dist.records.comparisons import Item, Message
from jpo_dist.records.shapes import samples
from tests.support.templates import KINDS, LONG, ONE, SYSTEM, compared
from tests.support.tiny import byte_tokenizer
from tests.support.tokens import data, text_of, with_template

FOLLOW = "on_template_difference=follow"
STOPS: list[tuple[str, Item, list[str], str]] = [
    ("no generation prompt", ONE, [
        "a finished conversation has '<assistant>\\n' before the response",
        "the template writes '<s><user>\\nsay</s>\\n<assistant>\\nyes</s>\\n'",
        "training would have '<s><user>\\nsay</s>\\nyes</s>'"], FOLLOW),
    ("no bos", ONE, [
        "the template writes no <s> before the first turn",
        "the template writes '<user>say</s><assistant>yes</s>'",
        "training would have '<s><user>say</s><assistant>yes</s>'"], FOLLOW),
    ("qwen3", ONE, [
        "has '<think>\\n\\n</think>\\n\\n' before the response",
        "assistant\\n<think>\\n\\n</think>\\n\\nyes<|im_end|>", "assistant\\nyes<|im_end|>"],
     "template_args.enable_thinking=false"),
    ("qwen3", Item.of("say", "<think>hm</think>yes"), ["<think>\\nhm\\n</think>\\n\\nyes"], FOLLOW),
    ("harmony", ONE, ["'<channel>final<message>'", "assistant<channel>final<message>yes<return>"], FOLLOW),
    ("deepseek r1", ONE, ["another text before the response", "'<s><U>say<A>yes</s>'", "<A><think>\\nyes</s>"], FOLLOW),
    ("deepseek r1", Item.of("say", "<think>\nhm\n</think>\n\nyes"), ["a part of the response is left out"], ""),
    ("mistral", ONE, ["has ' ' before the response", "[/INST] yes</s>", "[/INST]yes</s>"], FOLLOW),
    ("mistral", SYSTEM, ["a system turn is left out"], ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "item", "told", "fix"), STOPS)
def test_a_difference_stops_with_both_texts_and_the_setting_that_mends_it(
    kind: str, item: Item, told: list[str], fix: str
) -> None:
    tokenizer, rows = KINDS[kind].tokenizer(), samples(compared(item))
    with pytest.raises(TemplateDifference) as caught:
        require_template(tokenizer, rows, data("chat"))
    said = str(caught.value)
    assert said.startswith("data.template (chat): ")
    for words in told:
        assert words in said, said
    assert "the first from f.jsonl:1" in said
    assert (f"set data.{fix}, with which nothing differs" if fix else "no setting mends it") in said.partition("\n")[0]
    notes = require_template(tokenizer, rows, data("chat", on_template_difference="note"))
    assert any(told[0] in note.replace("\\\\", "\\") for note in notes), notes
    if fix:
        key, _, value = fix.partition("=")
        change = {"on_template_difference": value} if "args" not in key else {"template_args": {key[14:]: False}}
        assert require_template(tokenizer, rows, data("chat", **change)) == []


NOTES: list[tuple[str, Item, list[str]]] = [
    ("plain", ONE, []),
    ("plain", SYSTEM, []),
    ("plain", LONG, []),
    ("chatml", ONE, []),  # what follows the end of a response is never sampled
    ("gemma", ONE, []),
    ("qwen3", Item.of("say", "<think>\nhm\n</think>\n\nyes"), []),
    ("llama3", ONE, ["today's date, and 26 July 2024 stands for it"]),
    ("llama3", Item.of("say", " yes\n"), ["26 July 2024", "the template leaves out white space around a response"]),
    ("no end", ONE, ["the template writes no end after a response: EOS is added"]),
    ("space before the end", ONE, ["the template writes white space between a response and its end"]),
]


@pytest.mark.parametrize(("kind", "item", "told"), NOTES)
def test_what_harms_nothing_is_a_counted_note_or_nothing(kind: str, item: Item, told: list[str]) -> None:
    only = [one for one in samples(compared(item)) if one.item == item]
    notes = require_template(KINDS[kind].tokenizer(), only, data("chat"))
    assert len(notes) == len(told), notes
    for note, words in zip(notes, told, strict=True):
        assert note.startswith("1 of 1 items looked at: ")
        assert words in note


def test_reasoning_of_earlier_turns_that_a_template_leaves_out_is_a_note() -> None:
    notes = require_template(KINDS["qwen3"].tokenizer(), samples(compared(LONG)), data("chat", template_args=OFF))
    assert len(notes) == 1
    assert "reasoning of earlier turns is left out" in notes[0]


@pytest.mark.parametrize("kind", ["qwen3", "deepseek r1"])
def test_reasoning_beside_an_earlier_turn_is_the_same_note(kind: str) -> None:
    tokenizer = KINDS[kind].tokenizer()
    earlier = (
        Message("user", "say"),
        Message("assistant", "yes"),
        keys_turn({"reasoning_content": "A question of some length."}),
    )
    item = Item((*earlier, Message("user", "again")), "no")
    args = OFF if kind == "qwen3" else {}
    how = data("chat", template_args=args, on_template_difference="follow")
    notes = require_template(tokenizer, samples(compared(item)), how)
    assert [note for note in notes if "reasoning of earlier turns is left out" in note], notes
    bare = Item((*earlier[:2], Message("user", "again")), "no")
    assert tokenize(tokenizer, [item], how).ids(0).tolist() == tokenize(tokenizer, [bare], how).ids(0).tolist()


OFF = {"enable_thinking": False}


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "no end"])
@pytest.mark.parametrize("item", [ONE, Item.of("say", " yes\n"), LONG], ids=["one", "spaced", "long"])
def test_followed_tokens_are_those_that_the_template_writes(kind: str, item: Item) -> None:
    """The oracle is transformers' own rendering, up to the end of the response."""
    tokenizer = KINDS[kind].tokenizer()
    tokens = tokenize(tokenizer, [item], data("chat", on_template_difference="follow"))
    turns = [*(turn._asdict() for turn in item.instruction), {"role": "assistant", "content": item.response}]
    dated = KINDS[kind].template.replace("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024")
    whole = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, chat_template=dated)
    own = tokens.ids(0).tolist()
    assert whole[: len(own)] == own
    assert text_of(tokenizer, whole[len(own) :]).strip() == ""
    said = text_of(tokenizer, own[int(tokens.instruction_lengths_N[0]) :])
    assert item.response.strip() in said


def test_plain_templates_and_tokenizers_without_one_have_nothing_to_compare() -> None:
    assert require_template(byte_tokenizer(), samples(compared(ONE)), data("{instruction}>")) == []


def test_a_bos_that_the_tokenizer_puts_before_any_text_is_a_note() -> None:
    """Zephyr's template writes none, and its tokenizer does: any server that encodes the text has it."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = KINDS["no bos"].tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    (note,) = require_template(tokenizer, samples(compared(ONE)), data("chat"))
    assert "which the tokenizer puts before any text" in note


def sentencepiece() -> Any:
    """A tokenizer that puts a space before a text that is encoded by itself, as Llama 2's does."""
    letters = [chr(n) for n in range(33, 127)]
    vocabulary = {token: n for n, token in enumerate(["<s>", "</s>", "\n", "\u2581", *letters])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="always", split=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def test_a_space_that_encoding_apart_brings_in_is_found_and_followed_away() -> None:
    tokenizer = sentencepiece()
    tokenizer.chat_template = KINDS["no generation prompt"].template + (
        "{% if add_generation_prompt %}<assistant>\n{% endif %}"
    )
    rows = samples(compared(ONE))
    with pytest.raises(TemplateDifference, match="the response or its end has other tokens") as caught:
        require_template(tokenizer, rows, data("chat"))
    assert FOLLOW in str(caught.value)
    assert require_template(tokenizer, rows, data("chat", on_template_difference="follow")) == []


def test_a_token_across_the_border_is_a_note() -> None:
    """Instruction and response are encoded apart on purpose: equal instructions have equal tokens."""
    backend = with_template(None).backend_tokenizer
    backend.model = models.BPE({**byte_tokenizer().get_vocab(), '>"': 258}, [(">", '"')])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = KINDS["plain"].template
    (note,) = require_template(tokenizer, samples(compared(Item.of("say", '"yes"'))), data("chat"))
    assert "goes across the border" in note


def test_what_a_template_refuses_is_no_difference() -> None:
    look = look_at(KINDS["gemma"].tokenizer(), samples(compared(ONE, SYSTEM, SYSTEM)), data("chat"))
    assert (look.looked_at, look.differences) == (1, [])
    assert [(one.source, one.alike, why) for one, why in look.refused] == [
        ("f.jsonl:2", 2, "System role not supported")
    ]


def test_a_short_turn_is_missed_though_its_words_stand_elsewhere() -> None:
    item = Item((Message("system", "say"), Message("user", "say it")), "yes")
    with pytest.raises(TemplateDifference, match="a system turn is left out"):
        require_template(KINDS["mistral"].tokenizer(), samples(compared(item)), data("chat"))


def test_other_sections_name_their_own_keys() -> None:
    with pytest.raises(TemplateDifference, match=r"^reference.template .* set reference.on_template_difference=follow"):
        require_template(KINDS["harmony"].tokenizer(), samples(compared(ONE)), data("chat"), "reference")
