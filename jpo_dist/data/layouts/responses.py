"""Responses: one row, one item or several, with scores, places in a ranking, thumbs, or nothing, as data."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from jpo_dist.data import row_values
from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.values import (
    Instruction,
    column_of,
    entries,
    instruction,
    is_number,
    one_of,
    optional,
    response,
    value_at,
)
from jpo_dist.data.messages import turns as chats
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Item, Message, Rating

SCORE_FIELDS = ("fine-grained_score", "overall_score", "score")
"""Where the score of one of several completions is looked for, in this order."""
NO_RESPONSE = "no response"
"""Why one of several is left out that the data have as null: whoever made them failed to make it."""


class Thumb(NamedTuple):
    """Where a response is liked or not, and the values that say so. Without values: true and false, or 1 and 0."""

    path: str
    yes: tuple[Any, ...] = ()
    no: tuple[Any, ...] = ()


class One(NamedTuple):
    """Where the one response of a row stands, what it answers, and what is said of it: a score, a thumb, or nothing."""

    response: str
    """A response, or a whole conversation where there is no instruction."""
    instruction: Instruction | None = None
    score: tuple[str, ...] = ()
    """Of several the mean."""
    thumb: Thumb | None = None
    high_wins: bool = True
    may_be_null: bool = False
    """Whether a score that is null is none, and no defect."""


class Several(NamedTuple):
    """Where a list of responses stands, and what is said of each: nothing of a ranking, best first."""

    instruction: Instruction
    responses: str
    response: str | None = None
    """The path in each where its text is; None: each is the text."""
    scores: str | None = None
    """A list of scores beside the list of responses."""
    score: tuple[str, ...] = ()
    """Paths in each, whose mean is its score."""
    rank: str | None = None
    """The path in each where its place in a ranking is; the lowest is the best."""
    ranks: str | None = None
    """A list of such places beside the list of responses."""
    high_wins: bool = True
    may_be_null: bool = False
    """Whether a response or score that is null is none, and no defect."""


def one(name: str, form: One, **about: Any) -> Layout:
    """The layout of rows of this form; `about`: what Layout has beside it."""
    said = (*form.score, *((form.thumb.path,) if form.thumb else ()))
    columns = [*(form.instruction.reads if form.instruction else ()), *map(column_of, (form.response, *said))]
    also = form.instruction.also if form.instruction else ()
    means = "nobody has rated it yet"
    if form.thumb:
        yes, no = form.thumb.yes or ("true", "1"), form.thumb.no or ("false", "0")
        means = f"{form.thumb.path}: {one_of(yes)}: liked; {one_of(no)}: not liked"
    elif form.score:
        means = f"{', '.join(form.score)}: the {'higher' if form.high_wins else 'lower'} the better"
    found = {
        "columns": tuple(dict.fromkeys(columns)),
        "asks": form.instruction.asks if form.instruction else (),
        "wholes": () if form.instruction or form.response != column_of(form.response) else (form.response,),
        "also": also,
        "numbers": frozenset(map(column_of, said)) if not (form.thumb and form.thumb.yes) else frozenset(),
        "means": means,
        "verdict": form.thumb,
    }
    if form.thumb:
        asked = f"instruction: {form.instruction.paths[0]}, response" if form.instruction else "conversation"
        liked = "{column: " + form.thumb.path + ", up: […], down: […]}"
        found["in_own_words"] = "layout: {" + f"{asked}: {form.response}, liked: {liked}" + "}"
    return Layout(name=name, kind="responses", read=partial(read_one, form=form), **{**found, **about})


def several(name: str, form: Several, **about: Any) -> Layout:
    """The layout of rows of this form; `about`: what Layout has beside it."""
    beside = [path for path in (form.scores, form.ranks) if path]
    columns = [*form.instruction.reads, *map(column_of, (form.responses, *beside))]
    within = form.scores or ", ".join(f"{path} of each" for path in form.score)
    means = f"{within}: the {'higher' if form.high_wins else 'lower'} the better"
    if form.rank or form.ranks:
        means = f"{form.ranks or f'{form.rank} of each'}: the lowest is the best; equal ones: a tie"
    elif not within:
        means = "a ranking, best first"
    asks, also = form.instruction.asks, form.instruction.also
    inside = (form.response, form.rank, *form.score)
    found = {
        "columns": tuple(dict.fromkeys(columns)),
        "asks": asks,
        "keys": frozenset(column_of(path) for path in inside if path),
        "also": also,
        "means": means,
    }
    return Layout(name=name, kind="responses", read=partial(read_several, form=form), **{**found, **about})


def read_one(row: Row, names: Names, form: One) -> Reading:
    """The one response of a row. Raises BadField."""
    value = value_at(row, form.response)
    if form.instruction is None:
        item = chats.conversation(chats.messages(value, form.response), form.response)
    else:
        item = response(instruction(row, form.instruction), value, form.response)
    return Reading(ratings=(_rating(item, _said(row, form), names),))


def _said(row: Row, form: One) -> float:
    """A score, 1 or 0 for a thumb; NaN where nothing is said."""
    if form.thumb is not None:
        return liked(value_at(row, form.thumb.path), form.thumb)
    if not form.score or (form.may_be_null and any(optional(row, path) is None for path in form.score)):
        return math.nan
    return mean_score(row, form.score) * (1.0 if form.high_wins else -1.0)


def liked(value: Any, thumb: Thumb) -> float:
    """1 for a value that likes, 0 for one that does not. Raises BadField."""
    if not thumb.yes:
        return row_values.thumb(value, thumb.path)
    for said, values in ((1.0, thumb.yes), (0.0, thumb.no)):
        if any(value == named and isinstance(value, bool) == isinstance(named, bool) for named in values):
            return said
    raise BadField(thumb.path, f"not {one_of((*thumb.yes, *thumb.no))}")


def mean_score(row: Row, columns: Iterable[str], prefix: str = "") -> float:
    """The mean of several values of a row. Raises BadField, which names the place after `prefix`."""
    paths = tuple(columns)
    values = []
    for path in paths:
        try:
            values.append(value_at(row, path))
        except BadField as error:
            raise BadField(prefix + error.field, error.reason) from None
    return sum(row_values.number(value, prefix + path) for value, path in zip(values, paths, strict=True)) / len(paths)


def read_several(row: Row, names: Names, form: Several) -> Reading:
    """The responses of a row; a bad one does not hide the others. Raises BadField where the row is bad as such."""
    found = row_values.sequence(entries(value_at(row, form.responses)), form.responses)
    said = _beside(row, form, len(found))
    turns = instruction(row, form.instruction)
    first = _first_place(found, said, form)

    def rate(n: int, value: Any, at: str) -> Rating | BadField:
        text = _inside(value, form.response, at)
        if text is None and form.may_be_null:
            return BadField(at, NO_RESPONSE)
        item = response(turns, text, at if form.response is None else f"{at}.{form.response}")
        return _rating(item, _place(n, value, said, form, at) - first, names, _is_ranking(form))

    return _each(found, form.responses, rate)


def _beside(row: Row, form: Several, length: int) -> list[Any] | None:
    """The list of scores or places beside the responses; of nulls where it may be null as a whole."""
    path = form.scores or form.ranks
    if path is None:
        return None
    value = value_at(row, path)
    found = [None] * length if value is None and form.may_be_null else row_values.sequence(entries(value), path)
    if len(found) != length:
        raise BadField(path, "not as many as responses")
    return found


def _each(found: list[Any], field: str, rate: Callable[[int, Any, str], Rating | BadField]) -> Reading:
    """Every response of a list."""
    return reading_of(partial(rate, n, value, f"{field}[{n}]") for n, value in enumerate(found))


def reading_of(makes: Iterable[Callable[[], Rating | BadField]]) -> Reading:
    """What becomes of each of several responses: rated, bad (raised), or left out (returned)."""
    rated: list[Rating] = []
    bad: list[BadField] = []
    left_out: list[BadField] = []
    for make in makes:
        try:
            one = make()
        except BadField as error:
            bad.append(error)
            continue
        if isinstance(one, BadField):
            left_out.append(one)
        else:
            rated.append(one)
    return Reading(ratings=tuple(rated), bad=tuple(bad), left_out=tuple(left_out))


def _inside(value: Any, path: str | None, at: str) -> Any:
    if path is None:
        return value
    if not isinstance(value, dict):
        raise BadField(at, "not an object")
    try:
        return value_at(value, path)
    except BadField as error:
        raise BadField(f"{at}.{error.field}", error.reason) from None


def _place(n: int, value: Any, said: list[Any] | None, form: Several, at: str) -> float:
    """What is said of the n-th: a score, or minus its place in a ranking; NaN where nothing is."""
    if form.scores is not None or form.ranks is not None:
        assert said is not None
        number, where = said[n], f"{form.scores or form.ranks}[{n}]"
    elif form.rank is not None:
        number, where = _inside(value, form.rank, at), f"{at}.{form.rank}"
    elif form.score:
        if form.may_be_null and any(optional(value, path) is None for path in form.score):
            return math.nan
        return mean_score(value, form.score, f"{at}.") * (1.0 if form.high_wins else -1.0)
    else:
        return float(-n)
    if number is None and form.may_be_null:
        return math.nan
    higher = form.high_wins and not _is_ranking(form)
    return row_values.number(number, where) * (1.0 if higher else -1.0)


def _first_place(found: list[Any], said: list[Any] | None, form: Several) -> float:
    """The score of the best place of a ranking, which others are measured from; 0 where there are scores."""
    if not (form.rank or form.ranks):
        return 0.0
    numbers = said if said is not None else [optional(one, str(form.rank)) for one in found if isinstance(one, dict)]
    return max((-float(n) for n in numbers if is_number(n)), default=0.0)


def _is_ranking(form: Several) -> bool:
    """Whether places compare with places in the same row and nothing else."""
    return form.scores is None and not form.score


def _rating(item: Item, score: float, names: Names, is_ranking: bool = False) -> Rating:
    """A rating on the scale of its source, or of its row for a ranking. What nobody has rated is on no scale."""
    if math.isnan(score):
        return Rating(item, score, "", names.source)
    return Rating(item, score, names.ranking if is_ranking else names.scale, names.source)


def read_completions(row: Row, names: Names, asked: str, responses: str) -> Reading:
    """One instruction and a list of objects that carry their own scores (UltraFeedback), or of texts, best first."""
    found = row_values.sequence(entries(row[responses]), responses)
    if not isinstance(found[0], dict) and not names.score:
        return read_several(row, names, Several(Instruction((asked,)), responses))
    turns = instruction(row, Instruction((asked,)))
    scored = _scored(found)

    def rate(n: int, value: Any, at: str) -> Rating:
        return _rating(*_completion(turns, value, names, at, scored), names)

    return _each(found, responses, rate)


def _scored(found: list[Any]) -> tuple[str, ...]:
    """The keys of scores that one of the completions has: Parquet gives each of them the keys of all rows, as nulls."""
    objects = [one for one in found if isinstance(one, dict)]
    return tuple(name for name in SCORE_FIELDS if any(one.get(name) is not None for one in objects))


def _completion(
    turns: tuple[Message, ...], value: Any, names: Names, at: str, scored: tuple[str, ...]
) -> tuple[Item, float]:
    """An object with `response` and a score. `scored`: where it may stand."""
    text = _inside(value, "response", at)
    own = next((name for name in scored if name in value), SCORE_FIELDS[-1])
    item = response(turns, text, f"{at}.response")
    return item, mean_score(value, names.score or (own,), f"{at}.")
