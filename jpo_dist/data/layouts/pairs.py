"""Pairs: one row, two items, and a verdict on them, as data."""

from functools import partial
from typing import Any, NamedTuple

from jpo_dist.data import row_values
from jpo_dist.data.layouts import verdicts
from jpo_dist.data.layouts.layout import Kind, Layout, Names, Reading
from jpo_dist.data.layouts.values import Instruction, column_of, instruction, optional, response, value_at
from jpo_dist.data.layouts.verdicts import SECOND, TIE, Verdict
from jpo_dist.data.messages import turns as chats
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Comparison, Item, Rating


class Pair(NamedTuple):
    """Where two responses stand, what they answer, and which is better.

    Without an instruction each side is a whole conversation of its own: equal turns before the last make the
    comparison conditional, others make it joint.
    """

    a: str
    b: str
    verdict: Verdict | None
    """None: nobody has compared them yet."""
    instruction: Instruction | None = None
    instruction_b: Instruction | None = None
    """Where the second side answers something else."""
    turn: str | None = None
    """Where the number of the turn stands that the verdict is on: what follows its answer is no part of the item."""
    scores: tuple[str, str] | None = None
    """Where scores of both sides stand. They rate the items too, unless one of them is null."""
    weight: str = "weight"
    confidence: str = "confidence"


def pairs(name: str, form: Pair, **about: Any) -> Layout:
    """The layout of rows of this form; `about`: what Layout has beside it."""
    asked = [where for where in (form.instruction, form.instruction_b) if where is not None]
    needed = [column for where in asked[:1] for column in where.reads] + [column_of(form.a)]
    needed += [column for where in asked[1:] for column in where.reads] + [column_of(form.b)]
    judged = verdicts.columns(form.verdict) if form.verdict else ()
    also = [column for where in asked for column in where.also]
    also += [column_of(path) for path in (*(form.scores or ()), form.weight, form.confidence)]
    also += [column_of(form.turn)] if form.turn else []
    numbers = {column_of(path) for path in (*(form.scores or ()), form.weight, form.confidence)}
    numbers |= verdicts.numbers(form.verdict) if form.verdict else frozenset()
    kind: Kind = "pairs" if form.verdict else "candidates"
    found = {
        "columns": tuple(dict.fromkeys([*needed, *judged])),
        "asks": tuple(column for where in asked for column in where.asks),
        "wholes": () if asked else tuple(path for path in (form.a, form.b) if path == column_of(path)),
        "also": tuple(dict.fromkeys(also)),
        "numbers": frozenset(numbers),
        "means": form.verdict.means(form.a, form.b) if form.verdict else "nobody has compared them yet",
        "verdict": form.verdict,
        "in_own_words": _in_own_words(form),
    }
    return Layout(name=name, kind=kind, **{"read": partial(read_pair, form=form), **found, **about})


def _in_own_words(form: Pair) -> str:
    """The layout that says the same in a source, for people."""
    asked = [(where.paths[0] if where else "…") for where in (form.instruction, form.instruction_b)]
    names = [f"instruction: {asked[0]}"] if form.instruction else []
    if form.instruction_b is not None:
        names = [f"instruction_a: {asked[0]}", f"instruction_b: {asked[1]}"]
    path = form.verdict.paths[0] if form.verdict and form.verdict.paths else "…"
    label = "{column: " + path + ", a: […], b: […], tie: […]}"
    return "layout: {" + ", ".join((*names, f"a: {form.a}", f"b: {form.b}", f"prefer: {label}")) + "}"


def read_pair(row: Row, names: Names, form: Pair) -> Reading:
    """The comparison that a row states. Raises BadField."""
    first, second = _items(row, form)
    side = TIE if form.verdict is None else form.verdict.of(row)
    winner, loser = (second, first) if side == SECOND else (first, second)
    if winner == loser:
        raise BadField(column_of(form.b), "winner equals loser")
    weights = _weights(row, form)
    made = Comparison(
        winner, loser, row_values.weight(weights), names.source, side == TIE, row_values.confidence(weights)
    )
    return Reading(made, _ratings(row, names, form, (first, second)))


def compared(row: Row, names: Names, items: tuple[Item, Item], last: str) -> Reading:
    """The first of two items as the better one. Raises BadField with the column `last` where they are the same."""
    winner, loser = items
    if winner == loser:
        raise BadField(last, "winner equals loser")
    confidence = row_values.confidence(row)
    return Reading(Comparison(winner, loser, row_values.weight(row), names.source, confidence=confidence))


def _items(row: Row, form: Pair) -> tuple[Item, Item]:
    if form.instruction is None:
        return _conversation(row, form.a, form), _conversation(row, form.b, form)
    turns = instruction(row, form.instruction)
    first = response(turns, value_at(row, form.a), form.a)
    if form.instruction_b is not None:
        turns = instruction(row, form.instruction_b)
    return first, response(turns, value_at(row, form.b), form.b)


def _conversation(row: Row, path: str, form: Pair) -> Item:
    """One side as a conversation, up to the answer of the judged turn."""
    turns = chats.messages(value_at(row, path), path)
    number = None if form.turn is None else optional(row, form.turn)
    if number is not None and form.turn is not None:
        answers = [at for at, turn in enumerate(turns) if turn.role == "assistant"]
        if isinstance(number, bool) or number not in range(1, len(answers) + 1):
            raise BadField(form.turn, f"no turn of {path}")
        turns = turns[: answers[int(number) - 1] + 1]
    return chats.conversation(turns, path)


def _weights(row: Row, form: Pair) -> Row:
    """Weight and confidence under the names that their checks know."""
    if (form.weight, form.confidence) == ("weight", "confidence"):
        return row
    found = {"weight": optional(row, form.weight), "confidence": optional(row, form.confidence)}
    return {name: value for name, value in found.items() if value is not None}


def _ratings(row: Row, names: Names, form: Pair, items: tuple[Item, Item]) -> tuple[Rating, ...]:
    if form.scores is None or any(value_at(row, path) is None for path in form.scores):
        return ()
    scores = [row_values.number(value_at(row, path), path) for path in form.scores]
    return tuple(Rating(item, score, names.scale, names.source) for item, score in zip(items, scores, strict=True))
