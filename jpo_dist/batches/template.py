"""How a tokenizer writes an item: the model's chat template, or plain text with {instruction} in it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from jpo_dist.config.sections import TokensConfig
from jpo_dist.deadline import TooSlow, within
from jpo_dist.records.chat import NAMES, REASONING, TOOLS, as_chat, has_more, keys_turn, unwritten
from jpo_dist.records.comparisons import Item, Message
from jpo_dist.records.text import as_text

CHAT = "chat"
TOOL_USE = "tool_use"
"""The name that a tokenizer of several chat templates has for the one of turns with tools."""
SENTINEL = "\u241fRESPONSE\u241f"  # stands for the response while we find what a chat template puts around it


TODAY = date(2024, 7, 26)
"""The date for chat templates that write today's (Llama 3.2, gpt-oss). With the true one a run that is continued after
midnight would have other tokens than it began with, and so would two hosts of one run."""
_CODES = (*"aAbBcCdDeFGhHIjklmMpRSTuUVwWxXyYzZ", "-d", "-m", "-e", "-H", "-I", "-j", "-M", "-S", "-y")
"""What strftime replaces by a part of the date, or of the time, which is midnight."""


FIRST_TEXT_S, LARGEST_TEXT = 30.0, 1 << 28
"""How long a chat template may take for the first text that it writes, and how many characters one may have."""
_ended: set[str] = set()
"""Chat templates that have written a text."""

Texts = tuple[str, str]
"""What stands before a response, and the response."""


class RefusedByTemplate(ValueError):
    """The chat template cannot write these turns."""


class Template(NamedTuple):
    """How this tokenizer writes an item: the text of an instruction, and the ids that end a response."""

    text: str
    end_ids: tuple[int, ...]
    args: Mapping[str, Any] = {}
    """Variables of the chat template."""
    follow: bool = False
    """Whether an item is what the chat template makes of the finished conversation, and not its prompt, the response
    and the end."""
    writes_end: bool = True
    """Whether the chat template itself ends a response with a special token."""


class Around(NamedTuple):
    """What a chat template writes before and after a response."""

    prompt: str
    """Before it, when an answer is asked for: what a server sends."""
    head: str
    """Before it, in the finished conversation."""
    tail: str
    """After it."""


def make_template(
    tokenizer: Any, text: str, args: Mapping[str, Any] | None = None, *, follow: bool = False
) -> Template:
    """`args`, `follow`: as in Template, for the text "chat" alone.

    Raises ValueError when `text` is "chat" and the tokenizer has no chat template, or one that cannot write a question
    and its answer, or that has no variable of a name in `args`; and when there is no end id.
    """
    if text != CHAT:
        return Template(text, _eos(tokenizer))
    if not tokenizer.chat_template:
        raise ValueError("data.template (chat) needs a tokenizer with a chat template; give a plain template instead")
    require_known("".join(own_templates(tokenizer)), args or {})
    template = Template(CHAT, (), args or {}, follow)
    try:
        tail = around(tokenizer, template, [Message("user", "x")]).tail
    except RefusedByTemplate as error:
        raise ValueError(
            f"data.template (chat): the tokenizer's chat template cannot write a question and its answer ({error}); "
            "give a plain template instead"
        ) from error
    after = tokenizer.encode(tail if follow else tail.lstrip(), add_special_tokens=False)
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    ends = [i for i, token in enumerate(after) if token in special]
    # A template may end the turn with a token of its own (Gemma's <end_of_turn>) and go on with a newline. What the
    # model must learn to emit is the turn's end; nothing after it is ever sampled.
    end_ids = tuple(after[: ends[0] + 1]) if ends else _eos(tokenizer)
    return template._replace(end_ids=end_ids, writes_end=bool(ends))


def require_known(written: str, args: Mapping[str, Any]) -> None:
    """Raises ValueError for a name that is not in a template: a slip would leave it as it is, in silence."""
    for name in args:
        if name not in written:
            raise ValueError(
                f"template_args.{name} ({args[name]!r}): the tokenizer's chat template has no such variable; correct "
                "the name, or drop it"
            )


def own_template(tokenizer: Any, *, tools: bool = False) -> str:
    """The tokenizer's chat template as it stands: of several the one named default or, for turns with `tools`,
    tool_use, as servers choose too. Raises ValueError where none of them is for these turns."""
    several = tokenizer.chat_template
    if isinstance(several, dict) and "default" not in several and not (tools and TOOL_USE in several):
        raise ValueError(
            f"data.template (chat): the tokenizer has chat templates named {', '.join(sorted(several))}, and none "
            "named default; name one so in its tokenizer_config.json (or chat_template.jinja), or give a plain template"
        )
    return str(tokenizer.get_chat_template(tools=[] if tools else None))


def own_templates(tokenizer: Any) -> list[str]:
    """Those of the tokenizer's chat templates that are used, in an order that does not change."""
    first, several = own_template(tokenizer), tokenizer.chat_template
    return [first, several[TOOL_USE]] if isinstance(several, dict) and TOOL_USE in several else [first]


def chat_template(tokenizer: Any, *, tools: bool = False) -> str:
    """The tokenizer's own chat template, in which it is always TODAY. `tools`: as in own_template."""
    written = own_template(tokenizer, tools=tools)
    if "strftime_now" not in written:
        return written
    known = "".join(f"|replace('%{code}', '{TODAY.strftime(f'%{code}')}')" for code in _CODES)
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{known} }}}}{{%- endmacro -%}}{written}"


def chat_text(
    tokenizer: Any, turns: Sequence[Mapping[str, Any]], args: Mapping[str, Any] | None = None, **how: Any
) -> str:
    """Turns as the chat template writes them with these variables; `how`: see apply_chat_template of transformers.

    Raises RefusedByTemplate where it cannot. A template is a program that comes with the model: it may raise anything,
    and write anything. Raises ValueError where its first text does not come to an end.
    """
    how = {"chat_template": chat_template(tokenizer, tools="tools" in how), **(args or {}), **how}
    first = how["chat_template"] not in _ended
    try:
        text = within(
            FIRST_TEXT_S if first else math.inf,  # a thread for each would cost more than most texts do
            lambda: str(tokenizer.apply_chat_template(list(turns), tokenize=False, **how)),
        )
    except TooSlow:
        raise ValueError(
            f"the tokenizer's chat template does not come to an end within {FIRST_TEXT_S:g} s, for its first text; it "
            "is a program that comes with the model: give a plain template (data.template), or take another model"
        ) from None
    except Exception as error:
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RefusedByTemplate(said[:1000]) from error
    _ended.add(how["chat_template"])
    if len(text) > LARGEST_TEXT:
        raise RefusedByTemplate(f"it makes {len(text):,} characters of it, and {LARGEST_TEXT:,} are the most")
    return text


def rendered(tokenizer: Any, messages: Sequence[Message], args: Mapping[str, Any] | None = None, **how: Any) -> str:
    """Messages as the chat template writes them, with their tools, calls and reasoning; otherwise as `chat_text`."""
    chat = as_chat(messages, own_template(tokenizer, tools=any(turn.role == TOOLS for turn in messages)))
    tools = {} if chat.tools is None else {"tools": chat.tools}
    return chat_text(tokenizer, chat.turns, args, **tools, **how)


def require_all_written(tokenizer: Any, template: Template, instruction: Sequence[Message]) -> None:
    """Raises RefusedByTemplate where the chat template leaves out tools, calls, results or reasoning: two contexts
    would become one. Reasoning of earlier turns that it leaves out, though it knows of reasoning, is the model's own
    way to have it: template_check notes it."""
    lost = unwritten(instruction, lambda some: rendered(tokenizer, some, template.args, add_generation_prompt=True))
    if NAMES[REASONING] in lost and _knows_reasoning(tokenizer, template):
        lost.remove(NAMES[REASONING])
    if lost:
        raise RefusedByTemplate(
            f"it leaves out the {' and the '.join(lost)} of an instruction; take a model whose template writes them, "
            "or write them into the content of the messages"
        )


def _knows_reasoning(tokenizer: Any, template: Template) -> bool:
    """Whether the template writes the reasoning of a last turn, or has a word for where reasoning ends."""
    if "</think>" in own_template(tokenizer):
        return True
    last = [Message("user", "x"), Message("assistant", "x"), keys_turn({REASONING: SENTINEL})]
    try:
        return SENTINEL in rendered(tokenizer, last, template.args)
    except RefusedByTemplate:
        return False


def finished(tokenizer: Any, template: Template, instruction: Sequence[Message], response: str) -> str:
    """The conversation with its response, as the chat template writes it."""
    return rendered(tokenizer, [*instruction, Message("assistant", response)], template.args)


def around(tokenizer: Any, template: Template, instruction: Sequence[Message]) -> Around:
    """What the chat template writes around a response to these turns. Raises RefusedByTemplate."""
    prompt = rendered(tokenizer, instruction, template.args, add_generation_prompt=True)
    head, found, tail = finished(tokenizer, template, instruction, SENTINEL).partition(SENTINEL)
    if not found:
        raise RefusedByTemplate("it does not write the response")
    return Around(prompt, head, tail)


def _eos(tokenizer: Any) -> tuple[int, ...]:
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token; set one in its tokenizer_config.json (eos_token)")
    return (tokenizer.eos_token_id,)


def instruction_prefix(tokenizer: Any, template: Template, instruction: tuple[Message, ...]) -> str:
    """What stands before a response: the instruction in its template, up to the response's first character.

    Raises RefusedByTemplate where the chat template cannot write it, or leaves a part of it out; ValueError where plain
    text is to write more than roles and texts.
    """
    if template.text != CHAT:
        if has_more(instruction):
            raise ValueError(
                f"data.template ({template.text!r}) is plain text, and cannot write tools, tool calls or reasoning, "
                "which an instruction of the data has; set it to chat, or write them into the content of the messages"
            )
        return template.text.replace("{instruction}", as_text(instruction))
    require_all_written(tokenizer, template, instruction)
    if template.follow:
        return _followed(around(tokenizer, template, instruction))
    return rendered(tokenizer, instruction, template.args, add_generation_prompt=True)


def _followed(there: Around) -> str:
    """Mere space between prompt and response is left to the response: a token often begins with it."""
    gap = there.head.removeprefix(there.prompt)
    return there.prompt if there.head.startswith(there.prompt) and not gap.strip() else there.head


def written(tokenizer: Any, template: Template, item: Item) -> Texts:
    """The two texts of an item: what stands before its response, and the response.

    With `template.follow` both are parts of the finished conversation. Raises RefusedByTemplate for turns that the
    chat template cannot write, and there also for a response that it leaves out or changes.
    """
    if template.text != CHAT or not template.follow:
        return instruction_prefix(tokenizer, template, item.instruction), item.response
    require_all_written(tokenizer, template, item.instruction)
    there = around(tokenizer, template, item.instruction)
    whole = finished(tokenizer, template, item.instruction, item.response)
    # A template may write an empty block of reasoning before a response that has none, and no such block before one
    # that has: then only its prompt stands before both.
    prefix = next((text for text in (_followed(there), there.prompt) if whole.startswith(text)), None)
    if prefix is None or not whole.endswith(there.tail) or not same_words(item.response, whole[len(prefix) :]):
        raise RefusedByTemplate("it leaves out a part of the response, or changes it")
    return prefix, whole[len(prefix) : len(whole) - len(there.tail)]


def same_words(text: str, inside: str) -> bool:
    """Whether all letters and digits of `text` are in `inside`, one after another; spaces and marks do not count."""
    return _plain(text) in _plain(inside)


def _plain(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def template_of(tokenizer: Any, data: TokensConfig) -> Template:
    """The template that these settings name. Raises what make_template raises."""
    follow = data.on_template_difference == "follow"
    return make_template(tokenizer, data.template, data.template_args, follow=follow)


def all_written(
    tokenizer: Any, template: Template, items: Iterable[Item]
) -> tuple[list[tuple[str, str]], dict[int, str]]:
    """The texts of each item, none of what the chat template refuses, and why it does, by row."""
    texts, refused = list[tuple[str, str]](), dict[int, str]()
    for row, item in enumerate(items):
        try:
            texts.append(written(tokenizer, template, item))
        except RefusedByTemplate as error:
            refused[row] = str(error)
            texts.append(("", ""))
    return texts, refused
