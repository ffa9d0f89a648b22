"""Exports of Argilla: fields of a record, and what several people answered to its questions.

Its first version keeps answers in the question's column, as objects with `value` and `status`. The second keeps them
in `QUESTION.responses`, their states beside them, and what a model proposed in `QUESTION.suggestion`. People who
submitted count, each as much as the others; where nobody did, the suggestion counts.
"""

import math
import re
from functools import partial
from typing import Any

from jpo_dist.data import row_values
from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.values import entries
from jpo_dist.data.messages import turns as chats
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Rating

_NUMBERED = re.compile(r"(response|generation)-?\d+")
_NOTHING = frozenset({"id", "_server_id", "status", "external_id", "metadata", "vectors"})


def answers(row: Row, question: str) -> list[Any]:
    """What people who submitted answered, or the one suggestion, or nothing."""
    given = row.get(f"{question}.responses")
    states = row.get(f"{question}.responses.status")
    if given is None and isinstance(row.get(question), list):
        told = [one for one in row[question] if isinstance(one, dict)]
        given, states = [one.get("value") for one in told], [one.get("status") for one in told]
    given = [] if given is None else given
    if not isinstance(given, list):
        raise BadField(f"{question}.responses", "not a list")
    counted = states if isinstance(states, list) and len(states) == len(given) else [None] * len(given)
    found = [value for value, state in zip(given, counted, strict=True) if state in (None, "submitted")]
    found = [value for value in found if value is not None]
    proposed = [row.get(f"{question}{end}") for end in (".suggestion", "-suggestion")]
    return found or [value for value in proposed if value is not None][:1]


def places(ranking: Any, field: str) -> dict[str, float]:
    """Places by the name of the response: of objects with `rank` and `value`, or of names, best first."""
    listed = row_values.sequence(entries(ranking), field)
    if all(isinstance(one, str) for one in listed):
        return {name: float(at) for at, name in enumerate(listed, 1)}
    found = {}
    for n, one in enumerate(listed):
        if not isinstance(one, dict) or not isinstance(one.get("value"), str):
            raise BadField(f"{field}[{n}]", "not a place of a response")
        found[one["value"]] = row_values.number(one.get("rank"), f"{field}[{n}].rank")
    return found


def _ranked(row: Row, names: Names, asked: str, question: str) -> Reading:
    """Several responses and rankings of them: the mean place of each, among those of its row."""
    rankings = [places(one, question) for one in answers(row, question)]
    means = {name: _mean([one[name] for one in rankings if name in one]) for one in rankings for name in one}
    best = min(means.values(), default=0.0)
    return _each(row, names, asked, lambda name: best - means.get(name, math.nan), names.ranking)


def _mean(found: list[float]) -> float:
    return sum(found) / len(found) if found else math.nan


def _rated(row: Row, names: Names, asked: str) -> Reading:
    """Several responses, each with a question for its rating."""
    return _each(row, names, asked, partial(_mean_rating, row=row), names.scale)


def _mean_rating(name: str, row: Row, question: str | None = None) -> float:
    question = question or f"{name}-rating"
    return _mean([row_values.number(value, question) for value in answers(row, question)])


def _each(row: Row, names: Names, asked: str, score: Any, scale: str) -> Reading:
    """Each response of a row under its number. One that is null was never written: it is none."""
    turns = chats.prompt(row[asked], asked)
    rated: list[Rating] = []
    bad: list[BadField] = []
    for name in sorted(column for column in row if _NUMBERED.fullmatch(column)):
        if row[name] is None:
            continue
        try:
            value = score(name)
            item = chats.response(turns, row[name], name)
            rated.append(Rating(item, value, "" if math.isnan(value) else scale, names.source))
        except BadField as error:
            bad.append(error)
    return Reading(ratings=tuple(rated), bad=tuple(bad))


def _one(row: Row, names: Names, question: str) -> Reading:
    value = _mean_rating("", row, question)
    item = chats.response(chats.prompt(row["instruction"], "instruction"), row["response"], "response")
    return Reading(ratings=(Rating(item, value, "" if math.isnan(value) else names.scale, names.source),))


def _also(question: str) -> tuple[str, ...]:
    ends = ("", ".responses", ".responses.status", ".suggestion", "-suggestion")
    return tuple(f"{question}{end}" for end in ends)


def _about(question: str) -> frozenset[str]:
    ends = (".responses.users", ".suggestion.score", ".suggestion.agent", "-suggestion-metadata")
    return _NOTHING | {f"{question}{end}" for end in ends}


_MORE = tuple(f"response{n}" for n in range(1, 10))
_GENERATIONS = tuple(f"generation-{n}" for n in range(10))
_QUESTIONS = ("rating", "rationale")
_BIRDS = {"response1": "A spoon.", "response2": "A wren."}
_RANK = "the mean place over the people who submitted, the lowest is the best; equal ones: a tie"
ARGILLA = (
    Layout(
        "argilla-ranking",
        "responses",
        ("prompt", "response1", "response2", "preference"),
        partial(_ranked, asked="prompt", question="preference"),
        also=(*_MORE, *_also("preference")),
        carries_nothing=_about("preference"),
        fits=lambda row: isinstance(row.get("preference"), list),
        public="Argilla: export of a preference data set",
        means=f"preference: {_RANK}",
        example=({"prompt": "Name a bird.", **_BIRDS,
                 "preference": [{"user_id": "u", "status": "submitted",
                                 "value": [{"rank": 2, "value": "response1"}, {"rank": 1, "value": "response2"}]}]},),
    ),
    Layout(
        "argilla-ranking",
        "responses",
        ("instruction", "response1", "response2", "ranking.responses"),
        partial(_ranked, asked="instruction", question="ranking"),
        also=(*_MORE, *_also("ranking")),
        carries_nothing=_about("ranking"),
        public="Argilla 2: export of a ranking",
        means=f"ranking: {_RANK}",
    ),
    Layout(
        "argilla-rating",
        "responses",
        ("instruction", "response", "rating.responses"),
        partial(_one, question="rating"),
        also=_also("rating"),
        carries_nothing=_about("rating"),
        public="Argilla 2: export of a rating",
        means="rating: the mean over the people who submitted, the higher the better",
        example=({"instruction": "Name a bird.", "response": "A wren.", "rating.responses": [5, 4],
                 "rating.responses.status": ["submitted", "submitted"]},),
    ),
    Layout(
        "argilla-generations",
        "responses",
        ("instruction", "generation-0", "generation-1"),
        partial(_rated, asked="instruction"),
        also=(*_GENERATIONS, *(column for name in _GENERATIONS for column in _also(f"{name}-rating"))),
        carries_nothing=_NOTHING.union(*(_about(f"{name}-{end}") for name in _GENERATIONS for end in _QUESTIONS)),
        public="Argilla: export of what distilabel sent there",
        means="generation-N-rating: the mean over the people who submitted, the higher the better",
        example=({"instruction": "Name a bird.", "generation-0": "A wren.", "generation-1": "A spoon.",
                 "generation-0-rating.responses": [5], "generation-1-rating.responses": [1]},),
    ),
)  # fmt: skip
