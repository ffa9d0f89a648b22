"""Whether training sees what the chat template writes: real items beside the template's own finished conversation.

An item is the template's prompt for an answer, the response as it is and an end. A template may write a finished
conversation in another way, and nothing would say so. What is compared is token ids; after the end of a response
anything may follow, since nothing there is ever trained on or sampled.

    stops the run   another text before the response; a response or turn that is left out or changed; a BOS that
                    neither template nor tokenizer writes
    is a note       white space around a response, which the template leaves out or adds before the end; no end written
                    (EOS is added); a BOS that the tokenizer writes and the template does not; a token across the border
                    of instruction and response; reasoning of earlier turns, which is left out when the model is served
                    too; today's date
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jpo_dist.batches.ids.encode import encode_prefixes, encode_responses
from jpo_dist.batches.template import (
    CHAT,
    SENTINEL,
    Around,
    RefusedByTemplate,
    Template,
    around,
    finished,
    own_template,
    own_templates,
    rendered,
    same_words,
    template_of,
    written,
)
from jpo_dist.config.sections import TokensConfig
from jpo_dist.records.chat import KEYS, REASONING, TOOLS
from jpo_dist.records.comparisons import Item, Message
from jpo_dist.records.shapes import Sample

SHOWN = 14
"""Tokens that are shown on each side of a difference."""
SURE = 30
"""Characters of a turn that will hardly stand in another turn as well."""
SWITCHES = ("enable_thinking", "thinking")
"""Variables of public chat templates that decide what stands before a response."""

UNTHOUGHT = "reasoning of earlier turns is left out"
"""Also where the model is served, whether the reasoning stands in a turn's text or beside it."""


class TemplateDifference(ValueError):
    """The chat template writes these items in another way than training would."""


class Difference(NamedTuple):
    """One way in which tokens of training differ from the template's, with both texts around the place."""

    says: str
    template: str = ""
    training: str = ""
    stops: bool = True

    def __str__(self) -> str:
        texts = f"; the template writes {self.template!r}, training has {self.training!r}" if self.template else ""
        return f"{self.says}{texts}"


class Found(NamedTuple):
    """A difference, how many of the items looked at have it, and where the first of them is from."""

    difference: Difference
    items: int
    source: str


class Look(NamedTuple):
    """What a look at some items found."""

    looked_at: int
    differences: list[Found]
    refused: list[tuple[Sample, str]]
    """Items that the template cannot write, and why."""

    @property
    def stopping(self) -> list[Found]:
        return [found for found in self.differences if found.difference.stops]

    def notes(self) -> list[str]:
        """A line for each difference."""
        return [f"{found.items} of {self.looked_at} items looked at: {found.difference}" for found in self.differences]


def require_template(tokenizer: Any, samples: list[Sample], data: TokensConfig, section: str = "data") -> list[str]:
    """Notes on how the samples differ from what the chat template writes; none for a plain template.

    Raises TemplateDifference, with both texts and the setting that mends it, for a difference that is no mere note,
    unless on_template_difference is "note". `section`: where these settings stand.
    """
    if data.template != CHAT:
        return []
    look = look_at(tokenizer, samples, data)
    if not look.stopping or data.on_template_difference == "note":
        return look.notes()
    first = look.stopping[0]
    raise TemplateDifference(
        f"{section}.template (chat): {first.difference.says}, in {first.items} of {look.looked_at} items looked at, "
        f"the first from {first.source}; {mend(tokenizer, samples, data, look, section)}"
        + "".join(
            f"\n{found.difference.says}:\n  the template writes {found.difference.template!r}"
            f"\n  training would have {found.difference.training!r}"
            for found in look.stopping
        )
    )


def look_at(tokenizer: Any, samples: list[Sample], data: TokensConfig) -> Look:
    """Every sample beside what the chat template makes of it. Raises what make_template raises."""
    template = template_of(tokenizer, data)
    found: dict[tuple[str, bool], Found] = {}
    refused: list[tuple[Sample, str]] = []
    for sample in samples:
        try:
            differences = list(compare(tokenizer, template, sample.item))
        except RefusedByTemplate as error:
            refused.append((sample, str(error)))
            continue
        for one in differences:
            known = found.get((one.says, one.stops), Found(one, 0, sample.source))
            found[one.says, one.stops] = known._replace(items=known.items + 1)
    return Look(len(samples) - len(refused), list(found.values()), refused)


def mend(tokenizer: Any, samples: list[Sample], data: TokensConfig, found: Look, section: str = "data") -> str:
    """The setting under which nothing would differ of what was `found`, or least: by trying."""
    as_it_stands = f"{section}.on_template_difference=note trains on them as they are"
    tried: list[tuple[str, list[Found]]] = []
    for key, update in changes(tokenizer, data):
        try:
            look = look_at(tokenizer, samples, data.model_copy(update=update))
        except ValueError:
            continue
        if len(look.refused) > len(found.refused):
            continue
        if not look.stopping:
            return f"set {section}.{key}, with which nothing differs; {as_it_stands}"
        tried.append((key, look.stopping))
    key, left = min(tried, key=lambda one: len(one[1]), default=("", []))
    some = f" ({section}.{key} all but: {left[0].difference.says})" if 0 < len(left) < len(found.stopping) else ""
    return (
        f"no setting mends it{some}: write the items as the template does, or give a plain text as "
        f"{section}.template; {as_it_stands}"
    )


def changes(tokenizer: Any, data: TokensConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Settings that may mend a difference: as a person writes them, and as an update of `data`."""
    for name in [one for one in SWITCHES if one in "".join(own_templates(tokenizer))]:
        for value in (False, True):
            args = {**data.template_args, name: value}
            yield f"template_args.{name}={json.dumps(value)}", {"template_args": args}
    yield "on_template_difference=follow", {"on_template_difference": "follow"}


def compare(tokenizer: Any, template: Template, item: Item) -> Iterator[Difference]:
    """How the item's tokens differ from the finished conversation as the chat template writes it.

    Raises RefusedByTemplate where it does not write it.
    """
    there = around(tokenizer, template, item.instruction)
    whole = finished(tokenizer, template, item.instruction, item.response)
    yield from _left_out(tokenizer, template, item, whole)
    yield from _dated(tokenizer, template, item.instruction)
    (before, response), theirs = written(tokenizer, template, item), _ids(tokenizer, whole)
    (ours,) = encode_prefixes(tokenizer, template, [before])

    def with_response(text: str) -> list[int]:
        return ours + encode_responses(tokenizer, template, [(before, text)], [ours])[0]

    bos = tokenizer.bos_token_id
    if bos is not None and ours[:1] == [bos] and theirs[:1] != [bos]:
        by_itself = list(tokenizer("x")["input_ids"])[:1] == [bos]
        who = "the tokenizer puts before any text" if by_itself else "neither it nor the tokenizer puts there"
        texts = _texts(tokenizer, theirs, [*with_response(response), *template.end_ids], 0)
        says = f"the template writes no {tokenizer.bos_token} before the first turn, which {who}"
        yield Difference(says, *texts, stops=not by_itself)
        ours = ours[1:]
    trained = [*with_response(response), *template.end_ids]
    at = _first_difference(theirs, trained)
    texts = _texts(tokenizer, theirs, trained, at)
    for variant in dict.fromkeys((response, response.strip(), response.lstrip(), response.rstrip())):
        found = _harmless(tokenizer, template, there, theirs, with_response(variant))
        if found is not None:
            spaced = ["the template leaves out white space around a response"] if variant != response else []
            yield from (Difference(says, *texts, stops=False) for says in [*spaced, *found])
            return
    for says in _serious(item, there, whole, in_prefix=at < len(ours)):
        yield Difference(says, *texts)


def _harmless(
    tokenizer: Any, template: Template, there: Around, theirs: list[int], ours: list[int]
) -> list[str] | None:
    """None: the template does not begin with these ids of instruction and response, and the end. Else what is to be
    said of border and end."""
    end, border = list(template.end_ids), list[str]()
    after, text = theirs[len(ours) :], _decoded(tokenizer, ours)
    if theirs[: len(ours)] != ours:
        read = _decoded(tokenizer, theirs)
        if not text or not read.startswith(text):
            return None
        after = _ids(tokenizer, read[len(text) :])
        border = ["a token of the template goes across the border of instruction and response"]
    if after[: len(end)] == end:
        return border
    gap = _ids(tokenizer, there.tail[: len(there.tail) - len(there.tail.lstrip())])
    if template.writes_end and gap and after[: len(gap) + len(end)] == gap + end:
        return [*border, "the template writes white space between a response and its end"]
    if not template.writes_end and not _decoded(tokenizer, after).strip():
        return [*border, "the template writes no end after a response: EOS is added"]
    return None


def _serious(item: Item, there: Around, whole: str, *, in_prefix: bool) -> Iterator[str]:
    """What kinds of difference stop a run; `in_prefix`: the first one is in the tokens before the response."""
    rest = next((whole[len(text) :] for text in (there.head, there.prompt) if whole.startswith(text)), whole)
    lost = not same_words(item.response, rest)
    added = there.head.removeprefix(there.prompt)
    if whole.startswith(there.head) and there.head != there.prompt and there.head.startswith(there.prompt):
        yield f"a finished conversation has {added!r} before the response, which its prompt for an answer lacks"
    elif not whole.startswith(there.prompt) or in_prefix:
        yield "a finished conversation has another text before the response than its prompt for an answer"
    elif not lost:
        yield "the response or its end has other tokens"
    if lost:
        yield "a part of the response is left out, or changed"


def _left_out(tokenizer: Any, template: Template, item: Item, whole: str) -> Iterator[Difference]:
    """Turns that the template does not write, or not all of: two instructions would become one."""
    for number, turn in enumerate(item.instruction):
        if turn.role in (TOOLS, KEYS):  # no turns: `written` refuses an item whose tools or calls are left out
            thought = json.loads(turn.content).get(REASONING) if turn.role == KEYS else None
            if thought and not same_words(thought, whole):
                yield Difference(UNTHOUGHT, _short(whole), _short(thought), stops=False)
            continue
        there = same_words(turn.content, whole) or same_words(json.dumps(turn.content, ensure_ascii=False), whole)
        if there and (len(turn.content) > SURE or _writes_turn(tokenizer, template, item, number)):
            continue
        reasoning, closed, said = turn.content.rpartition("</think>")
        if turn.role == "assistant" and closed and same_words(said, whole):
            yield Difference(UNTHOUGHT, _short(whole), _short(reasoning), stops=False)
        else:
            yield Difference(f"a {turn.role} turn is left out, or a part of it", _short(whole), _short(turn.content))


def _writes_turn(tokenizer: Any, template: Template, item: Item, number: int) -> bool:
    """Whether the template writes what the turn says; a short text may be in another turn as well."""
    turns = list(item.instruction)
    turns[number] = turns[number]._replace(content=SENTINEL)
    try:
        return SENTINEL in finished(tokenizer, template, turns, item.response)
    except RefusedByTemplate:  # a tool's result that has to be JSON, say
        return True


def _dated(tokenizer: Any, template: Template, instruction: Sequence[Message]) -> Iterator[Difference]:
    own = own_template(tokenizer, tools=any(turn.role == TOOLS for turn in instruction))
    if "strftime_now" in own:
        answered = [*instruction, Message("assistant", SENTINEL)]
        today = rendered(tokenizer, answered, template.args, chat_template=own)
        if today != finished(tokenizer, template, instruction, SENTINEL):
            yield Difference("it writes today's date, and 26 July 2024 stands for it in every run", stops=False)


def _first_difference(theirs: list[int], ours: list[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours)))


def _decoded(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _texts(tokenizer: Any, theirs: list[int], ours: list[int], at: int) -> tuple[str, str]:
    """Both texts around the position `at`."""
    first = max(0, at - SHOWN)
    template, training = (_cut(tokenizer, ids, first, at + 2 * SHOWN) for ids in (theirs, ours))
    return template, training


def _cut(tokenizer: Any, ids: list[int], first: int, last: int) -> str:
    text = _decoded(tokenizer, ids[first:last])
    return f"{'…' if first else ''}{text}{'…' if last < len(ids) else ''}"


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
