"""Trees of messages (OpenAssistant): each answer of an assistant is a response to the thread that leads to it.

Answers to one message have ranks among each other, 0 for the best: a ranking. A message has no rank where people have
not ranked it, and is then an item without a score.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from jpo_dist.data import row_values
from jpo_dist.data.file_formats import Rows
from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.values import is_none
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Item, Message, Rating

ROLES = {"prompter": "user", "assistant": "assistant"}
DELETED = "deleted"
"""Why a message is left out that its data set has marked so."""
THREAD, ANSWERED = "thread of the message", "line of the message it answers"
"""What unrolling adds to a row: no column is called that."""
_NOTHING = frozenset(
    {"user_id", "created_date", "lang", "review_count", "review_result", "synthetic", "model_name", "detoxify",
     "message_tree_id", "tree_state", "emojis", "labels"}
)  # fmt: skip


class _Said(NamedTuple):
    """A message of the table: what a thread needs of it."""

    line: int
    parent: Any
    turn: Any
    """A row's role and text, unchecked."""


def _unroll(rows_of: Callable[[], Rows]) -> Rows:
    """Rows of messages, each with the thread above it. Reads the table twice: answers may stand before what they
    answer."""
    said: dict[str | int, _Said] = {
        row["message_id"]: _Said(line, _parent(row), (row.get("role"), row.get("text")))
        for line, row in rows_of()
        if isinstance(row, dict) and isinstance(row.get("message_id"), str | int)
    }
    for line, row in rows_of():
        if isinstance(row, BadField):
            yield line, row
        elif _parent(row) is None or row.get("role") != "assistant":
            yield line, {"parent_id": None, **row}  # exports leave out what is null
        else:
            thread = list(_above(row["parent_id"], said))
            above = said[row["parent_id"]].line if thread[0] else None
            yield line, {**row, THREAD: thread[::-1], ANSWERED: above}


def _parent(row: Row) -> Any:
    """The message that one answers; None for the first of a tree."""
    parent = row.get("parent_id")
    return None if is_none(parent) else parent


def _above(parent: Any, said: dict[str | int, _Said]) -> Iterator[Any]:
    """The messages from `parent` up to the first of the tree; one that is not there is None, and the last."""
    seen: set[Any] = set()
    while parent is not None:
        found = said.get(parent) if isinstance(parent, str | int) and parent not in seen else None
        yield found.turn if found else None
        if found is None:
            return
        seen.add(parent)
        parent = found.parent


def _message(row: Row, names: Names) -> Reading:
    """One message: an answer is a response, a prompt is part of the threads below it and none."""
    if row["role"] == "prompter":
        return Reading()
    if row["role"] != "assistant":
        raise BadField("role", "not prompter or assistant")
    if row.get("deleted") is True:
        return Reading(left_out=(BadField("deleted", DELETED),))
    turns = row.get(THREAD) or []
    if not turns:
        raise BadField("parent_id", "no instruction")
    if None in turns:
        raise BadField("parent_id", "no such message in this file")
    item = Item(
        tuple(_turn(role, text, f"message {n} above") for n, (role, text) in enumerate(turns, 1)),
        row_values.text(row["text"], "text"),
    )
    source, scale = (f"{place.rpartition(':')[0]}:{row[ANSWERED]}" for place in (names.source, names.ranking))
    return Reading(ratings=(_ranked(item, row.get("rank"), "rank", names, source, scale),))


def _turn(role: Any, text: Any, field: str) -> Message:
    if not isinstance(role, str) or role not in ROLES:
        raise BadField(field, "not prompter or assistant")
    return Message(ROLES[role], row_values.text(text, field))


def _ranked(item: Item, rank: Any, field: str, names: Names, source: str, scale: str) -> Rating:
    """Minus its place among the answers to the same message, which is comparable with those alone."""
    if is_none(rank):
        return Rating(item, math.nan, "", names.source)
    return Rating(item, 0.0 - row_values.number(rank, field), scale, source)


def _tree(row: Row, names: Names) -> Reading:
    """A whole tree. The answers to each message are a ranking of their own."""
    rated: list[Rating] = []
    bad: list[BadField] = []
    left_out: list[BadField] = []
    waiting: list[tuple[Any, tuple[Message, ...], str]] = [(row["prompt"], (), "prompt")]
    while waiting:
        node, above, field = waiting.pop()
        try:
            turn = _of_node(node, field)
            if _is_answer(node) and node.get("deleted") is True:
                left_out.append(BadField(field, DELETED))
            elif _is_answer(node):
                rated.append(_of_answer(node, turn, above, field, names))
        except BadField as error:
            # What stands below it has lost its thread.
            bad += [error] * max(_num_answers(node), int(not above))
            continue
        if node.get("replies") is not None and not isinstance(node["replies"], list):
            bad.append(BadField(f"{field}.replies", "not a list"))
        replies = list(enumerate(_replies(node)))
        waiting += [(reply, (*above, turn), f"{field}.replies[{n}]") for n, reply in reversed(replies)]
    return Reading(ratings=tuple(rated), bad=tuple(bad), left_out=tuple(left_out))


def _of_answer(node: Row, turn: Message, above: tuple[Message, ...], field: str, names: Names) -> Rating:
    if not above:
        raise BadField(field, "no instruction")
    scale = f"{names.ranking}#{field.rpartition('.')[0]}"
    return _ranked(Item(above, turn.content), node.get("rank"), f"{field}.rank", names, names.source, scale)


def _num_answers(node: Any) -> int:
    """How many answers a part of a tree has."""
    waiting, found = [node], 0
    while waiting:
        one = waiting.pop()
        found += int(_is_answer(one))
        waiting += _replies(one)
    return found


def _replies(node: Any) -> list[Any]:
    found = node.get("replies") if isinstance(node, dict) else None
    return found if isinstance(found, list) else []


def _of_node(node: Any, field: str) -> Message:
    if not isinstance(node, dict):
        raise BadField(field, "not an object")
    return _turn(node.get("role"), node.get("text"), f"{field}.text")


def _is_answer(node: Any) -> bool:
    return isinstance(node, dict) and node.get("role") == "assistant"


_BIRD = {"text": "Name a bird.", "role": "prompter"}
OASST = Layout(
    "oasst",
    "responses",
    ("message_id", "parent_id", "role", "text"),
    _message,
    also=("rank", "deleted"),
    carries_nothing=_NOTHING,
    numbers=frozenset({"rank", "deleted"}),
    unroll=_unroll,
    public="OpenAssistant oasst1 and oasst2, one message a row",
    means="rank: the lowest is the best of the answers to one message; null: not ranked",
    example=(
        {"message_id": "a", "parent_id": None, "role": "prompter", "text": "Name a bird.", "rank": None},
        {"message_id": "b", "parent_id": "a", "role": "assistant", "text": "A wren.", "rank": 0},
        {"message_id": "c", "parent_id": "a", "role": "assistant", "text": "A spoon.", "rank": 1},
    ),
)
OASST_TREES = Layout(
    "oasst-trees",
    "responses",
    ("message_tree_id", "prompt"),
    _tree,
    carries_nothing=frozenset({"tree_state"}),
    public="OpenAssistant oasst1 and oasst2, a tree a line (*.trees.jsonl)",
    means="rank: the lowest is the best of the answers to one message; null: not ranked",
    example=({"message_tree_id": "a",
             "prompt": {**_BIRD, "replies": [{"text": "A wren.", "role": "assistant", "rank": 0, "replies": []},
                                             {"text": "A spoon.", "role": "assistant", "rank": 1, "replies": []}]}},),
)  # fmt: skip
TREES = (
    replace(OASST, columns=("message_id", "message_tree_id", "role", "text"), also=("parent_id", "rank", "deleted"),
            carries_nothing=_NOTHING - {"message_tree_id"}, public="", example=()),
    OASST,
    OASST_TREES,
)  # fmt: skip
"""Exports leave out what is null: then a first message has no parent_id, but each has the id of its tree."""
