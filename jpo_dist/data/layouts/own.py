"""Layouts that no data set in particular stands for: this project's own, TRL's, and the plain ones for scores."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

from jpo_dist.data import row_values
from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.pairs import Pair, pairs
from jpo_dist.data.layouts.responses import One, Several, Thumb, one, read_completions, several
from jpo_dist.data.layouts.values import of
from jpo_dist.data.layouts.verdicts import TIE, Always, Confirmed, Labels
from jpo_dist.data.messages import turns as chats
from jpo_dist.data.messages.transcripts import two_texts
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Comparison, Item, Rating

CUT, EMPTY = "cut off", "empty answer"
"""Why an answer that a model gave is left out."""
CONVERSATIONS = ("messages", "conversations")
"""Columns of whole conversations. Other layouts have them too, as copies of what they say elsewhere."""


def two_items(row: Row, a: str, b: str, prompt: str | None) -> tuple[Item, Item]:
    """Two responses to a prompt, or two whole conversations, transcripts, or texts that begin with one instruction."""
    if prompt is not None:
        turns = chats.prompt(row[prompt], prompt)
        return chats.response(turns, row[a], a), chats.response(turns, row[b], b)
    whole = chats.two_conversations(row, a, b)
    return whole or two_texts(row_values.text(row[a], a), row_values.text(row[b], b))


def _implicit(row: Row, names: Names) -> Reading:
    """Two whole conversations, transcripts, or texts that begin with the same instruction."""
    return _compared(row, names, two_items(row, "chosen", "rejected", None), "rejected")


def _compared(row: Row, names: Names, items: tuple[Item, Item], last: str) -> Reading:
    winner, loser = items
    if winner == loser:
        raise BadField(last, "winner equals loser")
    confidence = row_values.confidence(row)
    return Reading(Comparison(winner, loser, row_values.weight(row), names.source, confidence=confidence))


def read_scored_pair(
    row: Row,
    names: Names,
    scores: tuple[str, str],
    sides: tuple[str, str] = ("chosen", "rejected"),
    prompt: str = "prompt",
    optional: bool = True,
) -> Reading:
    """A pair, with or without a prompt, and both scores: equal ones are a tie, and both items are rated too.

    `optional`: where one of the scores is null, the columns alone say which side is better.
    """
    items = two_items(row, *sides, prompt if prompt in row else None)
    reading = _compared(row, names, items, sides[1])
    tie = Confirmed(*scores, optional).of(row) == TIE
    if optional and any(row[path] is None or row[path] != row[path] for path in scores):
        return reading
    assert reading.comparison is not None
    rated = ((item, row_values.number(row[path], path)) for item, path in zip(items, scores, strict=True))
    ratings = tuple(Rating(item, score, names.scale, names.source) for item, score in rated)
    return Reading(replace(reading.comparison, tie=tie), ratings)


def _answer(row: Row, names: Names) -> Reading:
    """What a model said (jpo generate): nobody has rated it. One that was cut off is not what the model would say."""
    if not isinstance(row["finished"], bool):
        raise BadField("finished", "not true or false")
    if not row["finished"]:
        return Reading(left_out=(BadField("finished", CUT),))
    if isinstance(row["answer"], str) and not row["answer"].strip():
        return Reading(left_out=(BadField("answer", EMPTY),))
    turns = chats.prompt(row["instruction"], "instruction")
    item = chats.response(turns, row["answer"], "answer")
    return Reading(ratings=(Rating(item, math.nan, "", names.source),))


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


_PAPER = Pair("r_chosen", "r_reject", Always(), of("i_chosen"), of("i_reject"))
_FEEDBACK = Labels("feedback", a=(0,), b=(1,), tie=(2,))
_JOINT = Pair("response_0", "response_1", _FEEDBACK, of("instruction_0"), of("instruction_1"))
_SAME = Pair("response_0", "response_1", _FEEDBACK, of("instruction"))
_FRUIT = {"prompt": "Name a fruit.", "chosen": "A pear.", "rejected": "A brick."}
_TWO_FRUITS = {"instruction": "Name a fruit.", "response_0": "A pear.", "response_1": "A brick."}
_TWO_ITEMS = {
    "instruction_0": "Name a color.", "response_0": "Rope.", "instruction_1": "Name a fruit.", "response_1": "A pear.",
}  # fmt: skip
_CHAT = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "A pear."}]

OF_PAIRS = (
    pairs(
        "paper",
        _PAPER,
        public="this project's own layout",
        means="r_chosen is better, as an answer to its own instruction",
        example=(
            {"i_chosen": "Name a fruit.", "r_chosen": "A pear.", "i_reject": "Name a color.", "r_reject": "Rope."},
        ),
    ),
    pairs("judged-joint", _JOINT, public="the paper's data", example=({**_TWO_ITEMS, "feedback": 1},)),
    pairs("judged", _SAME, public="the paper's data", example=({**_TWO_FRUITS, "feedback": 0},)),
    Layout(
        "scored-pair",
        "pairs",
        ("chosen", "rejected", "score_chosen", "score_rejected"),
        partial(read_scored_pair, scores=("score_chosen", "score_rejected"), optional=False),
        asks=("prompt",),
        also=("prompt",),
        numbers=frozenset({"score_chosen", "score_rejected"}),
        carries_nothing=frozenset({"messages", "prompt_id"}),
        public="UltraFeedback binarized (HuggingFaceH4)",
        means="chosen is better; equal scores: a tie",
        example=({**_FRUIT, "score_chosen": 8.5, "score_rejected": 3.0},),
    ),
)
EXPLICIT = pairs(
    "explicit",
    Pair("chosen", "rejected", Always(), of("prompt")),
    carries_nothing=frozenset({"messages", "prompt_id", "chosen_model", "rejected_model"}),
    public="TRL, Tulu 3 preference mixtures, many others",
    example=(_FRUIT,),
)
IMPLICIT = Layout(
    "implicit",
    "pairs",
    ("chosen", "rejected"),
    _implicit,
    wholes=("chosen", "rejected"),
    public="TRL, Anthropic HH, Skywork Reward Preference",
    means="chosen is better",
    example=({"chosen": "\n\nHuman: Name a fruit.\n\nAssistant: A pear.",
             "rejected": "\n\nHuman: Name a fruit.\n\nAssistant: A brick."},),
)  # fmt: skip


def _thumbs() -> list[Layout]:
    """One response, liked or not: with its prompt, or as the end of a conversation."""
    liked = {"prompt": "Name a fruit.", "completion": "A pear.", "label": True}
    return [one("thumbs", One("completion", of("prompt"), thumb=Thumb("label")), public="TRL (KTO)", example=(liked,))]


def _rated() -> list[Layout]:
    """One response and its score, and several responses in a row."""
    found: list[Layout] = []
    for prompt in ("prompt", "instruction"):
        for response in ("completion", "response"):
            for score in ("score", "helpfulness"):
                form = "marked" if score == "helpfulness" else "prompt"
                rated = One(response, of(prompt, form=form), score=(score,))
                found.append(one("rating", rated, carries_nothing=_HELPSTEER, **_first("rating", found)))
        for responses in ("responses", "completions"):
            listed = Several(of(prompt), responses, scores="scores")
            found.append(several("responses", listed, **_first("responses", found)))
            read = partial(read_completions, asked=prompt, responses=responses)
            about = _ABOUT["completions"] if (prompt, responses) == ("instruction", "completions") else {}
            listed_ = {"asks": (prompt,), "carries_nothing": _ULTRA, "means": _COMPLETIONS, **about}
            found.append(Layout("responses", "responses", (prompt, responses), read, **listed_))
    return found


_HELPSTEER = frozenset({"correctness", "coherence", "complexity", "verbosity"})
_ULTRA = frozenset({"models", "source", "correct_answers", "incorrect_answers"})
_COMPLETIONS = "fine-grained_score, overall_score or score of each: the higher the better; of texts: best first"
_ABOUT: dict[str, dict[str, Any]] = {
    "rating": {
        "public": "plain ratings; HelpSteer and HelpSteer2 (helpfulness)",
        "example": ({"prompt": "Name a fruit.", "completion": "A pear.", "score": 4.5},),
    },
    "responses": {
        "public": "several responses in a row, with scores beside them",
        "example": ({"prompt": "Name a fruit.", "responses": ["A pear.", "A brick."], "scores": [4.5, 1]},),
    },
    "completions": {
        "public": "UltraFeedback (openbmb); a ranking, best first",
        "example": (
            {
                "instruction": "Name a fruit.",
                "completions": [
                    {"response": "A pear.", "overall_score": 9},
                    {"response": "A brick.", "overall_score": 2},
                ],
            },
        ),
    },
}


def _first(about: str, found: list[Layout]) -> dict[str, Any]:
    """What is said of a layout with several sets of columns, once."""
    return {} if any(layout.public == _ABOUT[about]["public"] for layout in found) else _ABOUT[about]


def _unscored() -> list[Layout]:
    about: dict[str, Any] = {
        "public": "responses for a checker, or candidates for a judge",
        "example": ({"prompt": "Name a fruit.", "completion": "A pear, unrated."},),
    }
    return [
        one("unscored", One(response, of(prompt)), **(about if (prompt, response) == ("prompt", "completion") else {}))
        for prompt in ("prompt", "instruction")
        for response in ("completion", "response")
    ]


_UNRATED = "nobody has rated it yet"
ANSWERS = Layout(
    "answers",
    "responses",
    ("instruction", "answer", "finished"),
    _answer,
    public="jpo generate",
    means=_UNRATED,
    example=({"prompt": 0, "instruction": "Name a fruit.", "answer": "A pear, unrated.", "finished": True},),
)
RESPONSES = (*_thumbs(), ANSWERS, *_rated())
UNSCORED = tuple(_unscored())
CANDIDATES = (
    pairs("candidates-joint", _JOINT._replace(verdict=None), public="jpo judge", example=(_TWO_ITEMS,)),
    pairs("candidates", _SAME._replace(verdict=None), public="jpo judge", example=(_TWO_FRUITS,)),
)
ALONE = tuple(
    Layout(
        "conversation",
        "responses",
        (field,),
        partial(_conversation, field=field),
        wholes=(field,),
        public="conversations of any kind" if field == "messages" else "",
        means=_UNRATED,
        example=({"messages": _CHAT},) if field == "messages" else (),
    )
    for field in CONVERSATIONS
)
