"""What an annotation of a task with two responses says: our tasks, and those of Label Studio's own templates.

Ours have ids and texts under fixed keys. Label Studio's templates (Pairwise, "Human Preference collection for RLHF",
two texts with a rating each) have names of their own: two keys that differ in a side (`answer1`, `answer2`), and a
prompt.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jpo_dist.data.messages.turns import prompt
from jpo_dist.data.row_values import BadField, number, text
from jpo_dist.judge.annotations import Annotation, Result
from jpo_dist.records.comparisons import Item, Message
from jpo_dist.records.text import HEADED, as_text

CONTROL = "preference"
FIRST, SECOND, TIE = "first", "second", "tie"
CHOICES = {FIRST: "The first is better", SECOND: "The second is better", TIE: "Equally good or equally bad"}
# Also read: a choice exported by its text.
_MEANING = {**{name: name for name in CHOICES}, **{shown: name for name, shown in CHOICES.items()}}
NOT_OURS = "not a task made here"


class BadTask(ValueError):
    """Why an exported task cannot be read, in a few stable words."""


class Said(NamedTuple):
    """An answer about two items as they were shown: FIRST, SECOND or TIE."""

    first: Item
    second: Item
    answer: str


def is_ours(data: dict[str, Any]) -> bool:
    """Whether a task was made by `jpo data export`."""
    return any(f"{side}_{part}" in data for side in (FIRST, SECOND) for part in ("uid", "messages"))


def read_ours(annotation: Annotation) -> Said:
    """What an annotation of one of our tasks says; raises BadTask."""
    first, second = (_item_of(annotation.task, side) for side in (FIRST, SECOND))
    answers = [
        _MEANING.get((answer or "").strip())
        for result in results_of(annotation)
        if result.name == CONTROL or result.kind == "pairwise"
        for answer in (_sides(result) if result.kind == "pairwise" else result.texts)
    ]
    return Said(first, second, only(answers))


def results_of(annotation: Annotation) -> list[Result]:
    """The results of an annotation that its annotator has submitted; raises BadTask."""
    if annotation.cancelled:
        raise BadTask("cancelled")
    if annotation.results is None:
        raise BadTask("unreadable annotation")
    return annotation.results


def only(answers: Iterable[str | None]) -> str:
    """The one answer of several that agree; None stands for one that is not understood. Raises BadTask."""
    different = set(answers)
    if not different:
        raise BadTask("empty")
    if None in different:
        raise BadTask("unknown answer")
    if len(different) > 1:
        raise BadTask("contradictory")
    return str(different.pop())


def _item_of(data: dict[str, Any], side: str) -> Item:
    """An item as it was shown. An answer to a text that was edited since is no answer to the item."""
    try:
        turns = tuple(Message(turn["role"], turn["content"]) for turn in data[f"{side}_messages"])
        item, shown, uid = Item(turns, data[f"{side}_response"]), data[f"{side}_instruction"], data[f"{side}_uid"]
    except (KeyError, TypeError) as error:
        raise BadTask(NOT_OURS) from error
    if not all(isinstance(part, str) for turn in turns for part in turn) or not isinstance(item.response, str):
        raise BadTask("text changed")
    if item.id != uid or as_text(turns, HEADED) != shown:
        raise BadTask("text changed")
    return item


# ---- tasks of Label Studio's templates

_SIDES = (("1", "2"), ("a", "b"), ("left", "right"), ("first", "second"), ("one", "two"), ("0", "1"))
_RESPONSES = frozenset({
    "answer", "response", "output", "completion", "reply", "text", "summary", "generation", "candidate", "option",
    "translation", "content",
})  # fmt: skip
_PROMPTS = ("prompt", "instruction", "question", "query", "input", "messages", "conversation", "userprompt")
_MATERIAL = ("text", "document", "article", "post", "passage", "context", "dialogue", "dialog", "history")
_SYSTEM = ("system", "systemprompt", "systemmessage")


class Pair(NamedTuple):
    """Two responses of a task, and what else of its data was read."""

    first: Item
    second: Item
    names: tuple[str, str]
    """The keys of the responses."""
    sides: tuple[str, str]
    """What those keys call the two sides."""
    read: frozenset[str]


def pair_in(data: dict[str, Any], to: Sequence[str] = ()) -> Pair | None:
    """The two responses in a task's data, the left one first; None where it has none. `to`: the tags compared.

    Raises BadTask for several pairs of responses, and for texts that are no texts.
    """
    pairs = {name: keys for name, keys in _pairs(data).items() if name[-1:] and name[-1] in _RESPONSES}
    pairs = pairs or {name: keys for name, keys in _pairs(data).items() if not name}
    if len(to) == 2 and all(isinstance(data.get(name), str) for name in to):
        names = (to[0], to[1])
    elif len(pairs) > 1:
        raise BadTask("several pairs of responses")
    elif pairs:
        ((stem, keys),) = pairs.items()
        if sum(_alike(words_of(key), stem) for key in data) > 2:
            raise BadTask("more than two responses")
        names = keys[:2]
    else:
        return None
    found = next((keys for keys in pairs.values() if set(keys[:2]) == set(names)), (*names, "", ""))
    turn = 1 if found[:2] == names else -1  # the tags may be compared in the other order than their keys are
    instructions, read = _instructions(data, names, turn)
    first, second = (Item(asked, _text(data[name])) for asked, name in zip(instructions, names, strict=True))
    if first == second:
        raise BadTask("equal responses")
    sides = (found[2], found[3]) if turn == 1 else (found[3], found[2])
    return Pair(first, second, names, sides, read | set(names))


def _instructions(
    data: dict[str, Any], names: tuple[str, str], turn: int
) -> tuple[list[tuple[Message, ...]], frozenset[str]]:
    """The instruction of each of two responses, one for both unless each has its own, and the keys read."""
    rest = {key: value for key, value in data.items() if key not in names}
    own = [keys[:2][::turn] for name, keys in _pairs(data).items() if name and name[-1] in _PROMPTS]
    if len(own) != 1:
        instruction, read = instruction_in(rest)
        return [instruction, instruction], read
    shared = {key: value for key, value in rest.items() if key not in own[0]}
    found = [instruction_in({**shared, "prompt": data[key]}) for key in own[0]]
    return [instruction for instruction, _ in found], found[0][1] - {"prompt"} | set(own[0])


def _pairs(data: dict[str, Any]) -> dict[tuple[str, ...], tuple[str, str, str, str]]:
    """By the words that two keys share: both keys, and what each calls its side."""
    keys: dict[tuple[tuple[str, ...], str], str] = {}
    for key in data:
        words = words_of(key)
        for at, word in enumerate(words):
            keys.setdefault((words[:at] + words[at + 1 :], word), key)
    found: dict[tuple[str, ...], tuple[str, str, str, str]] = {}
    for one, other in _SIDES:
        for (rest, word), key in keys.items():
            if word == one and (rest, other) in keys:
                found.setdefault(rest, (key, keys[rest, other], one, other))
    return found


def _alike(words: tuple[str, ...], stem: tuple[str, ...]) -> bool:
    """Whether a key is one of those that differ in a number or a letter only: `answer3` beside `answer1`."""
    return any(
        words[:at] + words[at + 1 :] == stem and (word.isdecimal() or len(word) == 1 or any(word in s for s in _SIDES))
        for at, word in enumerate(words)
    )


def words_of(name: str) -> tuple[str, ...]:
    """The words of a key or a choice, in small letters.

    >>> words_of("answer1"), words_of("responseA"), words_of("Model_b response")
    (('answer', '1'), ('response', 'a'), ('model', 'b', 'response'))
    """
    return tuple(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name))


def instruction_in(data: dict[str, Any]) -> tuple[tuple[Message, ...], frozenset[str]]:
    """The instruction in a task's data, and the keys it is from; raises BadTask for none, or more than one.

    A text that may belong to it is never left out: a task with a question and a context is refused.
    """
    names = {"".join(words_of(key)): key for key, value in data.items() if value not in (None, "", [])}
    found = [names[name] for name in (*_PROMPTS, *_MATERIAL) if name in names]
    if len(found) != 1:
        raise BadTask(f"more than one instruction ({', '.join(found)})" if found else "no instruction")
    system = [names[name] for name in _SYSTEM if name in names][:1]
    value = data[found[0]]
    try:
        before = tuple(Message("system", text(data[key], key)) for key in system)
        asked = prompt(value, found[0])
    except BadField as bad:
        raise BadTask(f"an instruction that is {bad.reason}") from None
    return before + asked, frozenset([*found, *system])


def _text(value: Any) -> str:
    try:
        return text(value, "")
    except BadField as bad:
        raise BadTask(f"a response that is {bad.reason}") from None


# ---- what is said of such a pair

_TIES = frozenset({"tie", "equal", "equally", "same", "both", "neither", "similar", "draw"})
_FILLERS = frozenset({
    "is", "are", "the", "better", "best", "good", "bad", "or", "much", "slightly", "significantly", "prefer",
    "preferred", "choose", "model", "about", *_RESPONSES,
})  # fmt: skip


def answer_of(pair: Pair, results: Sequence[Result]) -> str:
    """FIRST, SECOND or TIE: from a Pairwise tag where there is one, else a rating of each side, else choices.

    Raises BadTask.
    """
    if not results:
        raise BadTask("empty")
    chosen = [result for result in results if result.kind == "pairwise"]
    if chosen:
        return only(_side(side, pair) for result in chosen for side in _sides(result))
    rated = [result for result in results if result.kind == "rating"]
    if rated:
        return _by_rating(pair, rated)
    meant = {_meant(said, pair) for result in results for said in result.texts} - {None}
    return only(meant or {None})


def _sides(result: Result) -> list[str | None]:
    """What a Pairwise tag says: `left` is the first of the tags that it compares."""
    return [{"left": FIRST, "right": SECOND}.get(said, said) for said in result.texts]


def _side(said: str | None, pair: Pair) -> str | None:
    return said if said in (FIRST, SECOND) else _meant(said or "", pair)


def _meant(said: str, pair: Pair) -> str | None:
    """What a choice means; None where that is not clear."""
    if said in pair.names:
        return (FIRST, SECOND)[pair.names.index(said)]
    words = [word for word in words_of(said) if word not in _FILLERS]
    if words and all(word in _TIES or word == "a" for word in words) and words != ["a"]:
        return TIE
    # "Both are bad" is a tie; "A is bad" does not say that B is better.
    return _place(words[0], pair) if len(words) == 1 and "bad" not in words_of(said) else None


def _place(word: str, pair: Pair) -> str | None:
    for sides in (pair.sides, *_SIDES):
        if word in sides:
            return (FIRST, SECOND)[sides.index(word)]
    return None


def _by_rating(pair: Pair, rated: Sequence[Result]) -> str:
    scores: dict[str, list[float]] = {FIRST: [], SECOND: []}
    for result in rated:
        of = [name for name in result.to if name in pair.names]
        if len(of) == 1:
            side: str | None = (FIRST, SECOND)[pair.names.index(of[0])]
        else:
            places = [_place(word, pair) for word in words_of(result.name)] if not of else []
            side = next(iter({place for place in places if place}), None) if len(set(places) - {None}) == 1 else None
        if side is None:
            raise BadTask("a rating of neither side")
        try:
            scores[side].append(number(result.said, ""))
        except BadField:
            raise BadTask("unknown answer") from None
    if sorted(map(len, scores.values())) != [1, 1]:
        raise BadTask("not one rating for each side")
    (one,), (other,) = scores[FIRST], scores[SECOND]
    return TIE if one == other else FIRST if one > other else SECOND
