"""How a tokenizer writes an item: the model's chat template, or plain text with {instruction} in it."""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from jpo_dist.records.chat import as_chat, has_more, unwritten
from jpo_dist.records.comparisons import Message
from jpo_dist.records.text import as_text

CHAT = "chat"
_SENTINEL = "\u241fRESPONSE\u241f"  # stands for the response while we find what a chat template puts after it


TODAY = date(2024, 7, 26)
"""The date for chat templates that write today's (Llama 3.2, gpt-oss). With the true one a run that is continued after
midnight would have other tokens than it began with, and so would two hosts of one run."""


class Template(NamedTuple):
    """How this tokenizer writes an item: the text of an instruction, and the ids that end a response."""

    text: str
    end_ids: tuple[int, ...]


def make_template(tokenizer: Any, text: str) -> Template:
    """Raises ValueError when `text` is "chat" and the tokenizer has no chat template, or when there is no end id."""
    if text != CHAT:
        return Template(text, _eos(tokenizer))
    if not tokenizer.chat_template:
        raise ValueError("data.template (chat) needs a tokenizer with a chat template; give a plain template instead")
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _SENTINEL}]
    rendered = chat_text(tokenizer, turns)
    after = tokenizer.encode(rendered.split(_SENTINEL, 1)[1].lstrip(), add_special_tokens=False)
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    ends = [i for i, token in enumerate(after) if token in special]
    # A template may end the turn with a token of its own (Gemma's <end_of_turn>) and go on with a newline. What the
    # model must learn to emit is the turn's end; nothing after it is ever sampled.
    return Template(CHAT, tuple(after[: ends[0] + 1]) if ends else _eos(tokenizer))


def chat_template(tokenizer: Any) -> str:
    """The tokenizer's own chat template, in which it is always TODAY."""
    written = str(tokenizer.get_chat_template())
    if "strftime_now" not in written:
        return written
    known = "".join(f"|replace('%{code}', '{TODAY.strftime(f'%{code}')}')" for code in (*"aAbBdejmyYHIMSp", "-d", "-m"))
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{known} }}}}{{%- endmacro -%}}{written}"


def chat_of(tokenizer: Any, instruction: Sequence[Message], then: Sequence[Message] = (), **how: Any) -> str:
    """An instruction, and what comes `then`, as the chat template writes them, tools, calls and reasoning included.

    Raises ValueError where the template leaves some of these out: two contexts would become one.
    """
    written = str(tokenizer.get_chat_template())

    def write(some: Sequence[Message]) -> str:
        chat = as_chat([*some, *then], written)
        return chat_text(tokenizer, chat.turns, **how, **({} if chat.tools is None else {"tools": chat.tools}))

    lost = unwritten(instruction, write)
    if lost:
        raise ValueError(
            f"data.template (chat): this tokenizer's chat template leaves out the {' and the '.join(lost)} of an "
            "instruction; take a model whose template writes them, or write them into the content of the messages"
        )
    return write(instruction)


def chat_text(tokenizer: Any, turns: list[dict[str, Any]], **how: Any) -> str:
    """Turns as the chat template writes them; `how`: see apply_chat_template of transformers."""
    return str(tokenizer.apply_chat_template(turns, tokenize=False, chat_template=chat_template(tokenizer), **how))


def _eos(tokenizer: Any) -> tuple[int, ...]:
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token; set one in its tokenizer_config.json (eos_token)")
    return (tokenizer.eos_token_id,)


def instruction_prefix(tokenizer: Any, template: Template, instruction: tuple[Message, ...]) -> str:
    """What stands before a response: the instruction in its template, up to the response's first character.

    Raises ValueError where the template leaves out something that the instruction has beside roles and texts.
    """
    if template.text == CHAT:
        return chat_of(tokenizer, instruction, add_generation_prompt=True)
    if has_more(instruction):
        raise ValueError(
            f"data.template ({template.text!r}) is plain text, and cannot write tools, tool calls or reasoning, "
            "which an instruction of the data has; set it to chat, or write them into the content of the messages"
        )
    return template.text.replace("{instruction}", as_text(instruction))
