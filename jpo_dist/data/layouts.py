"""Public data layouts: each is the columns it needs and one function from a row to what the row says.

A layout is found by column names alone, or named. Three kinds of row: **pairs** give one comparison, **responses** give
items, mostly with scores (ratings, thumbs, rankings), or without (conversations, answers of a model), **candidates**
give two items that nobody has compared yet.
"""

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Literal, NamedTuple

from jpo_dist.data import row_values
from jpo_dist.data.messages import turns as chats
from jpo_dist.data.messages.transcripts import two_texts
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Comparison, Item, Message, Rating

Kind = Literal["pairs", "responses", "candidates"]
Turns = Literal["last", "all"]
FIRST, SECOND, TIE = 0, 1, 2
SCORE_FIELDS = ("fine-grained_score", "overall_score", "score")
"""Where the score of one of several completions is looked for, in this order."""
CUT, EMPTY = "cut off", "empty answer"
"""Why an answer that a model gave is left out."""
RATING_COLUMNS = frozenset({"score", "helpfulness", "label"})
"""Each rates the only response of its row."""
CONVERSATIONS = ("messages", "conversations")
"""Columns of whole conversations. Other layouts have them too, as copies of what they say elsewhere."""


class Names(NamedTuple):
    """What is to be known of a row beside its text: where it stands, its scale, and which of several scores counts."""

    source: str
    scale: str
    score: tuple[str, ...] = ()
    """Keys of a completion whose mean is its score; none: the first there is of SCORE_FIELDS."""
    turns: Turns = "last"
    """Which of the assistant's turns in a conversation are responses."""


class Reading(NamedTuple):
    """What one row says. In layouts of responses, `ratings` + `bad` + `left_out` are all its responses."""

    comparison: Comparison | None = None
    ratings: tuple[Rating, ...] = ()
    bad: tuple[BadField, ...] = ()
    left_out: tuple[BadField, ...] = ()
    """What is read and cannot be used, though nothing is wrong with the row: counted and named, never an error."""


class Layout(NamedTuple):
    """A layout: the `columns` that must all be there for it to be found, and how its rows are read."""

    name: str
    kind: Kind
    columns: tuple[str, ...]
    read: Callable[[Row, Names], Reading]


def _pair(row: Row, names: Names, winner: Item, loser: Item, last: str, tie: bool = False) -> Reading:
    if winner == loser:
        raise BadField(last, "winner equals loser")
    made = Comparison(winner, loser, row_values.weight(row), names.source, tie, row_values.confidence(row))
    return Reading(made)


def _paper(row: Row, names: Names) -> Reading:
    """Two whole items; the instructions are equal (conditional) or differ (joint)."""
    winner, loser = (_item(row, f"i_{side}", f"r_{side}") for side in ("chosen", "reject"))
    return _pair(row, names, winner, loser, "r_reject")


def _item(row: Row, instruction: str, response: str) -> Item:
    return chats.response(chats.prompt(row[instruction], instruction), row[response], response)


def _judged(row: Row, names: Names, instructions: tuple[str, str]) -> Reading:
    """The paper's verdicts: 0 the first is better, 1 the second, 2 neither."""
    first, second = _two_items(row, instructions)
    feedback = row["feedback"]
    if isinstance(feedback, bool) or feedback not in (FIRST, SECOND, TIE):
        raise BadField("feedback", "not 0, 1 or 2")
    winner, loser = (second, first) if feedback == SECOND else (first, second)
    return _pair(row, names, winner, loser, "response_1", tie=feedback == TIE)


def _candidate(row: Row, names: Names, instructions: tuple[str, str]) -> Reading:
    first, second = _two_items(row, instructions)
    return _pair(row, names, first, second, "response_1", tie=True)


def _two_items(row: Row, instructions: tuple[str, str]) -> tuple[Item, Item]:
    return _item(row, instructions[0], "response_0"), _item(row, instructions[1], "response_1")


def _explicit(row: Row, names: Names) -> Reading:
    """One prompt, two responses. Each of the three is a string or a list of messages."""
    winner, loser = (_item(row, "prompt", side) for side in ("chosen", "rejected"))
    return _pair(row, names, winner, loser, "rejected")


def _implicit(row: Row, names: Names) -> Reading:
    """Two whole conversations, transcripts, or texts that begin with the same instruction."""
    return _pair(row, names, *_two_conversations(row), "rejected")


def _two_conversations(row: Row) -> tuple[Item, Item]:
    chosen, rejected = row["chosen"], row["rejected"]
    return chats.two_conversations(chosen, rejected) or two_texts(
        row_values.text(chosen, "chosen"), row_values.text(rejected, "rejected")
    )


def _scored_pair(row: Row, names: Names) -> Reading:
    """A pair and both scores: equal ones are a tie, and both items are rated too."""
    pair = _explicit(row, names) if "prompt" in row else _implicit(row, names)
    assert pair.comparison is not None
    high, low = (row_values.number(row[field], field) for field in ("score_chosen", "score_rejected"))
    if high < low:
        raise BadField("score_chosen", "less than score_rejected")
    winner, loser = pair.comparison.winner, pair.comparison.loser
    made = Comparison(winner, loser, pair.comparison.weight, names.source, high == low, pair.comparison.confidence)
    sides = ((winner, high), (loser, low))
    return Reading(made, tuple(Rating(item, score, names.scale, names.source) for item, score in sides))


def _rating(row: Row, names: Names, instruction: str, response: str, score: str) -> Reading:
    item, value = _item(row, instruction, response), row_values.number(row[score], score)
    return Reading(ratings=(Rating(item, value, names.scale, names.source),))


def _unscored(row: Row, names: Names, instruction: str, response: str) -> Reading:
    """A response that nobody has rated: for a checker, or to be paired for a judge."""
    return Reading(ratings=(Rating(_item(row, instruction, response), math.nan, "", names.source),))


def _answer(row: Row, names: Names) -> Reading:
    """What a model said (jpo generate): nobody has rated it. One that was cut off is not what the model would say."""
    if not isinstance(row["finished"], bool):
        raise BadField("finished", "not true or false")
    if not row["finished"]:
        return Reading(left_out=(BadField("finished", CUT),))
    if isinstance(row["answer"], str) and not row["answer"].strip():
        return Reading(left_out=(BadField("answer", EMPTY),))
    return _unscored(row, names, "instruction", "answer")


def _thumb(row: Row, names: Names) -> Reading:
    """One response, liked or not."""
    item, value = _item(row, "prompt", "completion"), row_values.thumb(row["label"], "label")
    return Reading(ratings=(Rating(item, value, names.scale, names.source),))


def mean_score(row: Row, columns: tuple[str, ...], prefix: str = "") -> float:
    """The mean of several columns of a row. Raises BadField, which names the column after `prefix`."""
    for column in columns:
        if column not in row:
            raise BadField(prefix + column, "missing field")
    return sum(row_values.number(row[column], prefix + column) for column in columns) / len(columns)


def _several(row: Row, names: Names, instruction: str, responses: str, scores: str | None) -> Reading:
    """One instruction and a list of responses: with a list of scores beside it, or objects that carry their own, or (a
    ranking) neither, best first. One bad response does not hide the others."""
    found = row_values.sequence(row[responses], responses)
    values: list[Any] = found
    if scores is not None:
        values = row_values.sequence(row[scores], scores)
        if len(values) != len(found):
            raise BadField(scores, "not as many as responses")
    turns = chats.prompt(row[instruction], instruction)
    # A place in a ranking compares with places in the same ranking and nothing else: a scale for each row.
    is_ranking = scores is None and not names.score and not isinstance(found[0], dict)
    scale = names.source if is_ranking else names.scale
    ratings: list[Rating] = []
    bad: list[BadField] = []
    for n, value in enumerate(found):
        at = f"{responses}[{n}]"
        try:
            if scores is not None:
                item, score = chats.response(turns, value, at), row_values.number(values[n], f"{scores}[{n}]")
            elif is_ranking:
                item, score = chats.response(turns, value, at), float(-n)
            else:
                item, score = _completion(turns, value, names, at)
            ratings.append(Rating(item, score, scale, names.source))
        except BadField as error:
            bad.append(error)
    return Reading(ratings=tuple(ratings), bad=tuple(bad))


def _completion(turns: tuple[Message, ...], value: Any, names: Names, at: str) -> tuple[Item, float]:
    """An object with `response` and a score, as in UltraFeedback."""
    if not isinstance(value, dict):
        raise BadField(at, "not an object")
    if "response" not in value:
        raise BadField(f"{at}.response", "missing field")
    own = next((name for name in SCORE_FIELDS if name in value), SCORE_FIELDS[-1])
    item = chats.response(turns, value["response"], f"{at}.response")
    return item, mean_score(value, names.score or (own,), f"{at}.")


def _conversation(row: Row, names: Names, field: str) -> Reading:
    """A whole conversation: the response is its last turn, or each of the assistant's, after all that stands before.

    A conversation that an assistant opens has no instruction for its first turn, which is then no response.
    """
    turns = chats.messages(row[field], field)
    ends = chats.ends(turns)
    if names.turns == "last" or not ends:
        items, left_out = [chats.conversation(turns, field)], list[BadField]()
    else:
        items, left_out = chats.each_response(turns, ends, field)
    ratings = tuple(Rating(item, math.nan, "", names.source) for item in items)
    return Reading(ratings=ratings, left_out=tuple(left_out))


def _layouts() -> tuple[Layout, ...]:
    """All layouts. Where two fit a row, the one with more columns comes first: `prompt` must not be overlooked."""
    pairs = ("chosen", "rejected")
    of_two, of_one = ("instruction_0", "instruction_1"), ("instruction", "instruction")
    judged, one = ("instruction_0", "response_0", "instruction_1", "response_1"), ("response_0", "response_1")
    found = [
        Layout("paper", "pairs", ("i_chosen", "r_chosen", "i_reject", "r_reject"), _paper),
        Layout("judged-joint", "pairs", (*judged, "feedback"), partial(_judged, instructions=of_two)),
        Layout("judged", "pairs", ("instruction", *one, "feedback"), partial(_judged, instructions=of_one)),
        Layout("scored-pair", "pairs", (*pairs, "score_chosen", "score_rejected"), _scored_pair),
        Layout("explicit", "pairs", ("prompt", *pairs), _explicit),
        Layout("implicit", "pairs", pairs, _implicit),
        Layout("thumbs", "responses", ("prompt", "completion", "label"), _thumb),
        Layout("answers", "responses", ("instruction", "answer", "finished"), _answer),
    ]
    for prompt in ("prompt", "instruction"):
        for response in ("completion", "response"):
            for score in ("score", "helpfulness"):
                read = partial(_rating, instruction=prompt, response=response, score=score)
                found.append(Layout("rating", "responses", (prompt, response, score), read))
        for responses in ("responses", "completions"):
            listed = partial(_several, instruction=prompt, responses=responses, scores="scores")
            found.append(Layout("responses", "responses", (prompt, responses, "scores"), listed))
            bare = partial(_several, instruction=prompt, responses=responses, scores=None)
            found.append(Layout("responses", "responses", (prompt, responses), bare))
    for prompt in ("prompt", "instruction"):
        for response in ("completion", "response"):
            read = partial(_unscored, instruction=prompt, response=response)
            found.append(Layout("unscored", "responses", (prompt, response), read))
    candidates = [
        Layout("candidates-joint", "candidates", judged, partial(_candidate, instructions=of_two)),
        Layout("candidates", "candidates", ("instruction", *one), partial(_candidate, instructions=of_one)),
    ]
    alone = [
        Layout("conversation", "responses", (field,), partial(_conversation, field=field)) for field in CONVERSATIONS
    ]
    return (*found, *candidates, *alone)


LAYOUTS = _layouts()
COLUMNS = frozenset(column for layout in LAYOUTS for column in layout.columns) | row_values.NUMBERS
NAMES = tuple(dict.fromkeys(layout.name for layout in LAYOUTS))


def layout_of(columns: Collection[str], name: str | None = None) -> Layout | None:
    """The first layout (of that name) whose columns are all there."""
    known = (layout for layout in LAYOUTS if name in (None, layout.name))
    return next((layout for layout in known if set(layout.columns) <= set(columns)), None)


def read_row(layout: Layout, row: Row, names: Names, named: bool = False) -> Reading:
    """Read one row. Columns that the layout does not know, `weight` and `confidence` aside, are ignored.

    Raises BadField. A row whose columns are of another layout is bad, unless the layout was `named`.
    """
    for column in layout.columns:
        if column not in row:
            raise BadField(column, "missing field")
    if not named and layout_of(row.keys()) is not layout:
        raise BadField("", "another layout")
    return layout.read(row, names)
