"""Public forms of preferences that need a function each: several winners and losers in a row, messages with candidates.

What won compares with what lost in the same row, and with nothing else: nobody says how good either is.
"""

from typing import Any

from jpo_dist.data import row_values
from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.values import response
from jpo_dist.data.messages import turns as chats
from jpo_dist.data.messages.instruction import is_blank
from jpo_dist.data.messages.parts import content_of
from jpo_dist.data.messages.written import anything_in
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Message, Rating

_BIRD = "Name a bird."
SIDES = ("chosen", "rejected")


def _place(turns: tuple[Message, ...], value: Any, at: str, wins: bool, names: Names) -> Rating | BadField:
    """A response with its place in a ranking of two places, on the scale of its row."""
    try:
        return Rating(response(turns, value, at), 0.0 if wins else -1.0, names.ranking, names.source)
    except BadField as error:
        return error


def _reading(found: list[Rating | BadField]) -> Reading:
    rated = tuple(one for one in found if isinstance(one, Rating))
    return Reading(ratings=rated, bad=tuple(one for one in found if isinstance(one, BadField)))


def _lists(row: Row, names: Names) -> Reading:
    """A prompt, responses that are right, and responses that are wrong."""
    turns = chats.prompt(row["prompt"], "prompt")
    listed = {side: row_values.sequence(_as_list(row[side]), side) for side in SIDES}
    for n, one in enumerate(listed["rejected"]):
        if one in listed["chosen"]:
            raise BadField(f"rejected[{n}]", "in chosen too")
    return _reading(
        [
            _place(turns, one, f"{side}[{n}]", side == SIDES[0], names)
            for side, found in listed.items()
            for n, one in enumerate(found)
        ]
    )


def _as_list(side: Any) -> Any:
    return [side] if isinstance(side, str) else side


def _are_texts(row: Row) -> bool:
    """Whether both sides are texts, and one of them several."""
    sides = [row.get(side) for side in SIDES]
    listed = [side for side in sides if isinstance(side, list) and side]
    alone = [side for side in sides if isinstance(side, str)]
    texts = [one for side in listed for one in side]
    return bool(listed) and len(listed) + len(alone) == len(SIDES) and all(isinstance(one, str) for one in texts)


def _system(row: Row, names: tuple[str, ...]) -> tuple[Message, ...]:
    """A system turn of an object with parts, a list of parts, or text; nothing where there is none."""
    for name in names:
        if row.get(name):
            content = content_of(row[name], name, may_be_empty=True)
            return (Message("system", content),) if content else ()
    return ()


_VERTEX_SYSTEM = ("systemInstruction", "system_instruction")


def _vertex(row: Row, names: Names) -> Reading:
    """Contents up to the user's last turn, and completions with the score 1 or 0."""
    turns = _system(row, _VERTEX_SYSTEM) + chats.messages(row["contents"], "contents")
    found: list[Rating | BadField] = []
    for n, one in enumerate(row_values.sequence(anything_in(row["completions"]), "completions")):
        at = f"completions[{n}]"
        if not isinstance(one, dict):
            raise BadField(at, "not an object")
        liked = row_values.thumb(one.get("score"), f"{at}.score")
        found.append(_place(turns, one.get("completion"), f"{at}.completion", liked == 1, names))
    return _reading(found)


_LABELS = {"preferred": True, "non-preferred": False}


def _nova(row: Row, names: Names) -> Reading:
    """Messages whose last one has candidates in place of its content, each with a label."""
    *before, last = row_values.sequence(anything_in(row["messages"]), "messages")
    at = f"messages[{len(before)}]"
    if not isinstance(last, dict) or "candidates" not in last:
        raise BadField(f"{at}.candidates", "missing field")
    turns = _system(row, ("system",)) + chats.messages(before, "messages")
    found: list[Rating | BadField] = []
    for n, one in enumerate(row_values.sequence(last["candidates"], f"{at}.candidates")):
        here = f"{at}.candidates[{n}]"
        label = one.get("preferenceLabel") if isinstance(one, dict) else None
        if not isinstance(label, str) or label not in _LABELS:
            raise BadField(f"{here}.preferenceLabel", f"not {' or '.join(_LABELS)}")
        answer = {"role": "assistant", "content": one.get("content")}
        found.append(_place(turns, [answer], here, _LABELS[label], names))
    return _reading(found)


def _paddle(row: Row, names: Names) -> Reading:
    """What the user said in turn, what was answered before the last of it, and responses of which the one with the
    higher number is better."""
    if row.get("is_system"):
        raise BadField("is_system", "set, and not read: write the system prompt into a column system")
    asked = [
        row_values.text(one, f"src[{n}]") for n, one in enumerate(row_values.sequence(_as_list(row["src"]), "src"))
    ]
    said = [] if is_blank(row["tgt"]) else row_values.sequence(_as_list(row["tgt"]), "tgt")
    said = [row_values.text(one, f"tgt[{n}]") for n, one in enumerate(said) if not is_blank(one)]
    if len(said) != len(asked) - 1:
        raise BadField("tgt", "not one less than src")
    turns = [Message("user", one) for one in asked]
    for n, one in enumerate(said):
        turns.insert(2 * n + 1, Message("assistant", one))
    before = _system(row, ("system",)) + tuple(turns)
    answers, places = (row_values.sequence(anything_in(row[name]), name) for name in ("response", "sort"))
    if len(answers) != len(places):
        raise BadField("sort", "not as many as responses")
    numbers = [row_values.number(place, f"sort[{n}]") for n, place in enumerate(places)]
    found: list[Rating | BadField] = []
    for n, (one, number) in enumerate(zip(answers, numbers, strict=True)):
        one = one[0] if isinstance(one, list) and len(one) == 1 else one  # ERNIEKit has each in a list of its own
        place = number - max(numbers)  # as in every ranking, 0 is the best
        try:
            found.append(Rating(response(before, one, f"response[{n}]"), place, names.ranking, names.source))
        except BadField as error:
            found.append(error)
    return _reading(found)


def _has_candidates(row: Row) -> bool:
    found = row.get("messages")
    return isinstance(found, list) and bool(found) and isinstance(found[-1], dict) and "candidates" in found[-1]


LISTS = Layout(
    "chosen-lists",
    "responses",
    ("prompt", "chosen", "rejected"),
    _lists,
    asks=("prompt",),
    fits=_are_texts,
    carries_nothing=frozenset(
        {"num_correct", "num_incorrect", "num_rejected", "total_completions", "models", "additional_metadata"}
    ),
    public="RewardBench 2 (allenai), RM-Bench (THU-KEG)",
    means="each of chosen is better than each of rejected; those of one list: ties",
    example=({"prompt": _BIRD, "chosen": ["A wren."], "rejected": ["A spoon."]},),
)
"""Its columns are those of `explicit`: it comes before it."""


def _parts(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


VERTEX = Layout(
    "vertex",
    "responses",
    ("contents", "completions"),
    _vertex,
    also=_VERTEX_SYSTEM,
    keys=frozenset({"score", "completion"}),
    public="Vertex AI: files for preference tuning",
    means="score of each: 1: preferred; 0: not",
    example=({"contents": [_parts("user", _BIRD)],
              "completions": [{"score": 1, "completion": _parts("model", "A wren.")},
                              {"score": 0, "completion": _parts("model", "A spoon.")}]},),
)  # fmt: skip
NOVA = Layout(
    "nova",
    "responses",
    ("messages",),
    _nova,
    also=("system",),
    keys=frozenset({"candidates"}),
    fits=_has_candidates,
    carries_nothing=frozenset({"schemaVersion"}),
    public="Amazon Nova: files for preference tuning",
    means="preferenceLabel of each candidate: preferred is better than non-preferred",
    example=({"messages": [{"role": "user", "content": [{"text": _BIRD}]},
                           {"role": "assistant", "candidates": [
                               {"content": [{"text": "A wren."}], "preferenceLabel": "preferred"},
                               {"content": [{"text": "A spoon."}], "preferenceLabel": "non-preferred"}]}]},),
)  # fmt: skip
PADDLE = Layout(
    "paddle",
    "responses",
    ("src", "tgt", "response", "sort"),
    _paddle,
    also=("system", "is_system"),
    public="PaddleNLP and ERNIEKit (DPO)",
    means="sort of each response: the highest is the best; equal ones: a tie",
    example=({"src": [_BIRD], "tgt": [], "response": ["A wren.", "A spoon."], "sort": [1, 0]},),
)
OF_MESSAGES = (VERTEX, NOVA, PADDLE)
