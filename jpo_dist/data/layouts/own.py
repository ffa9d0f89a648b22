"""Layouts that no data set in particular stands for: this project's own, TRL's, and the plain ones for scores."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from jpo_dist.data import row_values
from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.pairs import Pair, compared, pairs, read_pair
from jpo_dist.data.layouts.responses import SCORE_FIELDS, One, Several, Thumb, one, read_completions, several
from jpo_dist.data.layouts.values import is_label, is_none, is_number, of
from jpo_dist.data.layouts.verdicts import TIE, Always, Confirmed, Labels
from jpo_dist.data.messages import turns as chats
from jpo_dist.data.messages.transcripts import two_texts
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Item, Rating

CUT, EMPTY = "cut off", "empty answer"
"""Why an answer that a model gave is left out."""
CONVERSATIONS = ("messages", "conversations")
"""Columns of whole conversations; in other layouts copies of what they say elsewhere."""
_OTHERS = ("conversation", "contents")  # in LMSYS-Chat-1M, WildChat and Capybara; in files for Gemini


def two_items(row: Row, a: str, b: str, prompt: str | None) -> tuple[Item, Item]:
    """Two responses to a prompt, or two whole conversations, transcripts, or texts that begin with one instruction."""
    if prompt is not None:
        turns = chats.prompt(row[prompt], prompt)
        return chats.response(turns, row[a], a), chats.response(turns, row[b], b)
    return chats.two_conversations(row, a, b) or two_texts(row_values.text(row[a], a), row_values.text(row[b], b))


def _implicit(row: Row, names: Names) -> Reading:
    """Two whole conversations, transcripts, or texts that begin with the same instruction."""
    return rated_too(compared(row, names, two_items(row, "chosen", "rejected", None), "rejected"), row, names)


def _explicit(row: Row, names: Names) -> Reading:
    """A prompt and two responses. Each of the three is text or messages.

    Where a prompt is a transcript and its answer stands beside `chosen` once more, as in Dahoas' copies of HH, the
    prompt is read turn by turn. One space after `Assistant:` belongs to the name.
    """
    form = _EXPLICIT
    if "response" in row and isinstance(row["prompt"], str) and row["prompt"].endswith("\n\nAssistant:"):
        sides = {side: row_values.text(row[side], side).removeprefix(" ") for side in ("chosen", "rejected")}
        row, form = {**row, **sides}, _EXPLICIT._replace(instruction=of("prompt", form="transcript"))
    return rated_too(read_pair(row, names, form), row, names)


RATINGS = (
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_avg_rating", "rejected_avg_rating"),
)
"""Where pairs of argilla and distilabel have the ratings that their sides come from."""
RATING_NAMES = tuple(name for names in RATINGS for name in names)


def rated_too(pair: Reading, row: Row, names: Names) -> Reading:
    """The same pair with the ratings that stand beside it: equal ones make a tie of it. Ratings that are null, or no
    numbers, are none."""
    if row.keys().isdisjoint(RATING_NAMES):
        return pair
    scores = next(((a, b) for a, b in RATINGS if is_number(row.get(a)) and is_number(row.get(b))), None)
    return pair if scores is None else _scored(pair, row, names, scores)


def _scored(pair: Reading, row: Row, names: Names, scores: tuple[str, str]) -> Reading:
    """A pair and both scores. Raises BadField where they contradict it."""
    assert pair.comparison is not None
    tie = Confirmed(*scores).of(row) == TIE
    made = replace(pair.comparison, tie=tie)
    rated = (
        (item, row_values.number(row[path], path)) for item, path in zip((made.winner, made.loser), scores, strict=True)
    )
    return Reading(made, tuple(Rating(item, score, names.scale, names.source) for item, score in rated))


_SCORES = ("score_chosen", "score_rejected")


def _scored_pair(row: Row, names: Names) -> Reading:
    """A pair, with or without a prompt, and both scores: equal ones are a tie, and both items are rated too. Without
    scores, as where rows of another set were put beside, it is a pair."""
    items = two_items(row, "chosen", "rejected", "prompt" if "prompt" in row else None)
    pair = compared(row, names, items, "rejected")
    return pair if all(map(is_none, map(row.get, _SCORES))) else _scored(pair, row, names, _SCORES)


def _answer(row: Row, names: Names) -> Reading:
    """What a model said (jpo generate): nobody has rated it. One that was cut off is not what the model would say."""
    if not isinstance(row["finished"], bool):
        raise BadField("finished", "not true or false")
    if not row["finished"]:
        return Reading(left_out=(BadField("finished", CUT),))
    if isinstance(row["answer"], str) and (flaw := row_values.flaw(row["answer"])):  # a model said it: none corrects it
        return Reading(left_out=(BadField("answer", EMPTY if flaw == row_values.EMPTY else flaw),))
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
    pairs("judged-joint", _JOINT, is_shared=True, public="the paper's data", example=({**_TWO_ITEMS, "feedback": 1},)),
    pairs("judged", _SAME, is_shared=True, public="the paper's data", example=({**_TWO_FRUITS, "feedback": 0},)),
    Layout(
        "scored-pair",
        "pairs",
        ("chosen", "rejected", "score_chosen", "score_rejected"),
        _scored_pair,
        asks=("prompt",),
        also=("prompt",),
        numbers=frozenset({"score_chosen", "score_rejected"}),
        carries_nothing=frozenset({"messages", "prompt_id"}),
        public="UltraFeedback binarized (HuggingFaceH4)",
        means="chosen is better; equal scores: a tie",
        example=({**_FRUIT, "score_chosen": 8.5, "score_rejected": 3.0},),
    ),
)
_EXPLICIT = Pair("chosen", "rejected", Always(), of("prompt"))
_BESIDE = "chosen is better; equal ratings beside them: a tie"
_CHAT = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "A pear."}]
EXPLICIT = pairs(
    "explicit",
    _EXPLICIT,
    read=_explicit,
    also=("response", *RATING_NAMES),
    glances=frozenset({"response"}),
    numbers=frozenset(RATING_NAMES),
    carries_nothing=frozenset({"messages", "prompt_id"}),
    public="TRL, Tulu 3 preference mixtures, UltraFeedback cleaned (argilla), HH with its prompt apart (Dahoas)",
    means=_BESIDE,
    example=(_FRUIT | {"chosen": _CHAT, "chosen-rating": 4.5, "rejected-rating": 2.0},),
)
IMPLICIT = Layout(
    "implicit",
    "pairs",
    ("chosen", "rejected"),
    _implicit,
    wholes=("chosen", "rejected"),
    also=RATING_NAMES,
    numbers=frozenset(RATING_NAMES),
    public="TRL, Anthropic HH, Skywork Reward Preference, dpo-mix-7k (argilla)",
    means=_BESIDE,
    example=({"chosen": "\n\nHuman: Name a fruit.\n\nAssistant: A pear.",
             "rejected": "\n\nHuman: Name a fruit.\n\nAssistant: A brick."},),
)  # fmt: skip


def _thumbs() -> list[Layout]:
    liked = {"prompt": "Name a fruit.", "completion": "A pear.", "label": True}
    return [one("thumbs", One("completion", of("prompt"), thumb=Thumb("label")), public="TRL (KTO)", example=(liked,))]


def _labeled() -> Iterator[Layout]:
    """The same under other names, where a label may be a class as well."""
    for prompt, answer in (("prompt", "response"), ("instruction", "completion"), ("instruction", "response")):
        yield one("thumbs", One(answer, of(prompt), thumb=Thumb("label")), fits=partial(is_label, column="label"))


def _rated() -> list[Layout]:
    """One response and its score, and several responses in a row."""
    found: list[Layout] = []
    for prompt in ("prompt", "instruction"):
        for answer in ("completion", "response"):
            for score in ("score", "helpfulness"):
                form = "marked" if score == "helpfulness" else "prompt"
                rated = One(answer, of(prompt, form=form), score=(score,))
                found.append(one("rating", rated, carries_nothing=_HELPSTEER, **_first("rating", found)))
        for responses in ("responses", "completions"):
            listed = Several(of(prompt), responses, scores="scores")
            found.append(several("responses", listed, **_first("responses", found)))
            read = partial(read_completions, asked=prompt, responses=responses)
            about = _ABOUT["completions"] if (prompt, responses) == ("instruction", "completions") else {}
            listed_ = {
                "asks": (prompt,),
                "keys": frozenset(("response", *SCORE_FIELDS)),
                "carries_nothing": _ULTRA,
                "means": _COMPLETIONS,
                **about,
            }
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
        one("unscored", One(answer, of(prompt)), **(about if (prompt, answer) == ("prompt", "completion") else {}))
        for prompt in ("prompt", "instruction")
        for answer in ("completion", "response")
    ]


_UNRATED = "nobody has rated it yet"
ANSWERS = Layout(
    "answers",
    "responses",
    ("instruction", "answer", "finished"),
    _answer,
    numbers=frozenset({"finished"}),
    public="jpo generate",
    means=_UNRATED,
    example=({"prompt": 0, "instruction": "Name a fruit.", "answer": "A pear, unrated.", "finished": True},),
)
RESPONSES = (*_thumbs(), ANSWERS, *_rated())
LABELED = tuple(_labeled())
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
    for field in (*CONVERSATIONS, *_OTHERS)
)
