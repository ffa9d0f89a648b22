"""Public data in which people chose or rated several answers to each turn of a conversation, and went on from one.

The instruction of an answer is every turn before it, each with the answer that the conversation went on from. Where
only the best of several is named, it is better than each of the others, and nobody says how these compare.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from jpo_dist.data import row_values
from jpo_dist.data.file_formats import Rows
from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.public.judged_pairs import NO_VERDICT
from jpo_dist.data.layouts.responses import NO_RESPONSE, reading_of
from jpo_dist.data.layouts.values import instruction as instruction_of
from jpo_dist.data.layouts.values import of, one_of, response
from jpo_dist.data.messages.instruction import is_blank
from jpo_dist.data.messages.written import anything_in
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Comparison, Item, Message, Rating

Turns = tuple[Message, ...]
EMPTY = "EMPTY STRING"
"""What stands in PRISM, and in data made like it, where a model said nothing."""
BEFORE = "turns before the message"
"""What unrolling adds to a row: no column is called that."""


def _best_of(turns: Turns, answers: Mapping[str, Any], best: str, names: Names) -> Reading:
    """The answers to one turn, by their columns, of which `best` is better than each of the others. Equal texts are
    one item."""
    items: dict[str, Item] = {}
    bad: list[BadField] = []
    left_out: list[BadField] = []
    for column, value in answers.items():
        if value == EMPTY:
            left_out.append(BadField(column, NO_RESPONSE))
            continue
        try:
            items[column] = response(turns, value, column)
        except BadField as error:
            bad.append(error)
    ratings = tuple(Rating(item, math.nan, "", names.source) for item in items.values())
    others = dict.fromkeys(item for item in items.values() if best in items and item != items[best])
    made = tuple(Comparison(items[best], other, 1.0, names.source) for other in others)
    return Reading(ratings=ratings, bad=tuple(bad), left_out=tuple(left_out), comparisons=made)


_SAMPLES = tuple(f"sample{n}" for n in range(4))
_LM_ASKED = of("query")


def _lm_human(row: Row, names: Names) -> Reading:
    """A text to go on from or to sum up, four samples, and the place of the best one, from 0."""
    for column in ("query", *_SAMPLES):
        if isinstance(row[column], list) and all(isinstance(one, int) for one in row[column]):
            raise BadField(column, "token ids, as OpenAI published them: decode them with the tokenizer of GPT-2 first")
    best = row["best"]
    if isinstance(best, bool) or best not in range(len(_SAMPLES)):
        raise BadField("best", f"not {one_of(range(len(_SAMPLES)))}")
    answers = {column: row[column] for column in _SAMPLES}
    return _best_of(instruction_of(row, _LM_ASKED), answers, _SAMPLES[int(best)], names)


LM_HUMAN = Layout(
    "lm-human-preferences",
    "responses",
    ("query", *_SAMPLES, "best"),
    _lm_human,
    asks=("query",),
    numbers=frozenset({"best"}),
    public="lm-human-preferences (openai), as text",
    means="best: from 0, the place of the sample that is better than each of the others",
    example=({"query": "Name a bird.", "sample0": "A spoon.", "sample1": "A wren.", "sample2": "A spoon.",
              "sample3": "A spoon.", "best": 1},),
)  # fmt: skip
_NUMBERS = ("first", "second", "third", "fourth")
_LETTERS = ("response_a", "response_b", "response_c", "response_d")


def _community(row: Row, names: Names) -> Reading:
    """Up to four turns with four answers each; the conversation goes on from the preferred one."""
    found: list[Reading] = []
    turns: Turns = ()
    for number in _NUMBERS:
        asked, preferred = f"{number}_turn_prompt", f"{number}_turn_preferred_response"
        if is_blank(row.get(asked)) and found:
            break
        turns = (*turns, Message("user", row_values.text(row.get(asked), asked)))
        best = row.get(preferred)
        if is_blank(best) or best == EMPTY:
            found.append(Reading(left_out=(BadField(preferred, NO_VERDICT),)))
            break
        if best not in _LETTERS:
            raise BadField(preferred, f"not {one_of(_LETTERS)}")
        answers = {f"{number}_turn_{letter}": row.get(f"{number}_turn_{letter}") for letter in _LETTERS}
        one = _best_of(turns, answers, f"{number}_turn_{best}", names)
        found.append(one)
        said = answers[f"{number}_turn_{best}"]
        if not isinstance(said, str) or not said.strip() or said == EMPTY:
            break  # what follows has lost its thread; the answer itself is bad, or left out
        turns = (*turns, Message("assistant", said))
    return _joined(found)


def _joined(found: list[Reading]) -> Reading:
    return Reading(
        ratings=tuple(one for each in found for one in each.ratings),
        bad=tuple(one for each in found for one in each.bad),
        left_out=tuple(one for each in found for one in each.left_out),
        comparisons=tuple(one for each in found for one in each.comparisons),
    )


_OF_A_TURN = ("prompt", "preferred_response", *_LETTERS)
_FIRST = tuple(f"first_turn_{name}" for name in ("prompt", "response_a", "response_b", "preferred_response"))
COMMUNITY = Layout(
    "community-alignment",
    "responses",
    _FIRST,
    _community,
    also=tuple(f"{n}_turn_{name}" for n in _NUMBERS for name in _OF_A_TURN if f"{n}_turn_{name}" not in _FIRST),
    carries_nothing=frozenset(
        {"conversation_id", "assigned_lang", "in_balanced_subset", "in_balanced_subset_10",
         "is_pregenerated_first_prompt", *(f"{n}_turn_feedback" for n in _NUMBERS)}
    ),
    public="community-alignment-dataset (facebook)",
    means="first_turn_preferred_response and those after it: this one is better than each of the other three",
    example=(
        dict(zip(_FIRST, ("Name a bird.", "A spoon.", "A wren.", "response_b"), strict=True))
        | {"first_turn_response_c": "A spoon.", "first_turn_response_d": "A spoon."},
    ),
)  # fmt: skip


def _rated(turns: Turns, said: Row, at: str, text: str, names: Names) -> Rating | BadField:
    """One answer with its score; a defect, or that there is none, in its place."""
    field = f"{at}.{text}" if at else text
    if said.get(text) == EMPTY:
        return BadField(field, NO_RESPONSE)
    item, score = response(turns, said.get(text), field), said.get("score")
    if score is None or score != score:
        return Rating(item, math.nan, "", names.source)
    return Rating(item, row_values.number(score, f"{at}.score" if at else "score"), names.scale, names.source)


_HISTORY = "conversation_history"
_NOT_ONE = "not one answer that the conversation went on from"


def _prism(row: Row, names: Names) -> Reading:
    """A whole conversation: messages with the number of their turn, of the user and of several models."""
    by_turn: dict[int, list[tuple[str, Row]]] = {}
    for n, one in enumerate(row_values.sequence(anything_in(row[_HISTORY]), _HISTORY)):
        if not isinstance(one, dict) or one.get("role") not in ("user", "model"):
            raise BadField(f"{_HISTORY}[{n}]", "not a message of user or model")
        by_turn.setdefault(_turn(one, f"{_HISTORY}[{n}]."), []).append((f"{_HISTORY}[{n}]", one))
    found: list[Callable[[], Rating | BadField]] = []
    turns: Turns | None = ()
    for number, messages in by_turn.items():
        asked = [(at, one) for at, one in messages if one["role"] == "user"]
        answers = [(at, one) for at, one in messages if one["role"] == "model"]
        if turns is not None and len(asked) == 1:
            at, one = asked[0]
            turns = (*turns, Message("user", row_values.text(one.get("content"), f"{at}.content")))
            found += [partial(_rated, turns, one, at, "content", names) for at, one in answers]
            turns = _gone_on(turns, [one.get("content") for _, one in answers if one.get("if_chosen") is True])
        else:
            lost = BadField(f"{_HISTORY}, turn {number}", f"the turn before it has {_NOT_ONE}")
            if len(asked) != 1:
                lost, turns = BadField(f"{_HISTORY}, turn {number}", "not one message of the user"), None
            found += [partial(_raise, lost)] * max(len(answers), 1)
    return reading_of(found)


def _turn(said: Row, at: str = "") -> int:
    """The number of a turn, from 0. Raises BadField."""
    number = row_values.number(said.get("turn"), f"{at}turn")
    if number < 0 or number != int(number):
        raise BadField(f"{at}turn", "not the number of a turn")
    return int(number)


def _raise(error: BadField) -> Rating:
    raise error


def _gone_on(turns: Turns, chosen: list[Any]) -> Turns | None:
    """The turns with the answer that was chosen; None where it is not one. Equal ones are one."""
    texts = {one for one in chosen if isinstance(one, str) and one.strip() and one != EMPTY}
    return (*turns, Message("assistant", texts.pop())) if len(texts) == 1 else None


PRISM = Layout(
    "prism",
    "responses",
    ("conversation_id", _HISTORY),
    _prism,
    keys=frozenset({"turn", "score", "if_chosen"}),
    carries_nothing=frozenset(
        {"user_id", "conversation_type", "opening_prompt", "conversation_turns", "performance_attributes",
         "choice_attributes", "open_feedback", "generated_datetime", "timing_duration_s", "timing_duration_mins",
         "included_in_balanced_subset"}
    ),
    public="PRISM (HannahRoseKirk/prism-alignment): conversations.jsonl",
    means="score of each answer to a turn: the higher the better; if_chosen: the conversation goes on from it",
    example=({"conversation_id": "c1",
              _HISTORY: [{"turn": 0, "role": "user", "content": "Name a bird."},
                         {"turn": 0, "role": "model", "content": "A wren.", "score": 90, "if_chosen": True},
                         {"turn": 0, "role": "model", "content": "A spoon.", "score": 5, "if_chosen": False}]},),
)  # fmt: skip


def _unroll(rows_of: Callable[[], Rows]) -> Rows:
    """Rows of answers, each with the turns before its own. Reads the table twice: rows may stand in any order."""
    said: dict[str, dict[int, tuple[Any, set[str]]]] = {}
    for _, row in rows_of():
        with suppress(BadField):  # named when it is read
            conversation, number = _place(row)
            assert isinstance(row, dict), "else it has no place"
            _, chosen = said.setdefault(conversation, {}).setdefault(number, (row.get("user_prompt"), set()))
            if row.get("if_chosen") is True and isinstance(row.get("model_response"), str):
                chosen.add(row["model_response"])
    for line, row in rows_of():
        try:
            conversation, number = _place(row)
        except BadField:
            yield line, row
            continue
        assert isinstance(row, dict), "else it has no place"
        turns = said[conversation]
        yield line, {**row, BEFORE: [(turns[n][0], sorted(turns[n][1])) for n in sorted(turns) if n < number]}


def _place(row: Row | BadField) -> tuple[str, int]:
    """The conversation and the turn that a row is of. Raises BadField."""
    if isinstance(row, BadField):
        raise row
    return row_values.text(row.get("conversation_id"), "conversation_id"), _turn(row)


def _utterance(row: Row, names: Names) -> Reading:
    """One answer of a conversation; the turns before it are those of other rows."""
    turns: Turns = ()
    _, number = _place(row)
    before = row.get(BEFORE) or []
    if len(before) != number:
        raise BadField("turn", "a turn before it is not in this file")
    for asked, chosen in before:
        gone_on = _gone_on((*turns, Message("user", row_values.text(asked, "user_prompt"))), chosen)
        if gone_on is None:
            raise BadField("turn", f"one before it has {_NOT_ONE}")
        turns = gone_on
    turns = (*turns, Message("user", row_values.text(row["user_prompt"], "user_prompt")))
    return reading_of([partial(_rated, turns, row, "", "model_response", names)])


UTTERANCES = Layout(
    "prism-utterances",
    "responses",
    ("conversation_id", "turn", "user_prompt", "model_response", "score", "if_chosen"),
    _utterance,
    carries_nothing=frozenset(
        {"utterance_id", "interaction_id", "user_id", "within_turn_id", "conversation_type", "model_name",
         "model_provider", "included_in_balanced_subset"}
    ),
    numbers=frozenset({"turn", "score", "if_chosen"}),
    unroll=_unroll,
    public="PRISM (HannahRoseKirk/prism-alignment): utterances.jsonl",
    means="score: the higher the better; if_chosen: the conversation goes on from it",
    example=tuple(
        {"conversation_id": "c1", "turn": 0, "user_prompt": "Name a bird.", "model_response": text, "score": score,
         "if_chosen": chosen}
        for text, score, chosen in (("A wren.", 90, True), ("A spoon.", 5, False))
    ),
)  # fmt: skip
OF_RESPONSES = (LM_HUMAN, COMMUNITY, PRISM, UTTERANCES)
