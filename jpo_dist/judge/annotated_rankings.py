"""What an annotation of a list says: Label Studio's tags List and Ranker, as in its template "LLM Ranker".

Without buckets the saved value is `{NAME OF THE RANKER: [ids, best first]}`; with buckets it is a list of ids for each,
and `_` holds what was put into none (label-studio: web/libs/editor/src/tags/control/Ranker.jsx).
"""

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

from jpo_dist.data.row_values import BadField, text
from jpo_dist.judge.annotated_pairs import FIRST, SECOND, BadTask, Said, instruction_in, words_of
from jpo_dist.judge.annotations import Result
from jpo_dist.records.comparisons import Item

_TEXTS = ("body", "text", "answer", "response", "content", "output", "completion", "html", "title")
_GOOD = frozenset(
    {"best", "better", "good", "preferred", "chosen", "relevant", "positive", "positives", "accepted", "top"}
)
_BAD = frozenset({"worst", "worse", "bad", "rejected", "irrelevant", "biased", "negative", "negatives", "harmful"})
_PLACES = frozenset({"rank", "place", "tier", "position", "bucket"})
_NOWHERE = "_"


class Listed(NamedTuple):
    """The responses of a list by their ids, and what of the task's data was read."""

    items: dict[str, Item]
    read: frozenset[str]


def list_in(data: dict[str, Any]) -> Listed | None:
    """The list of responses in a task's data; None where it has none. Raises BadTask for several, or for bad texts."""
    lists = [key for key, value in data.items() if _is_list(value)]
    if not lists:
        return None
    if len(lists) > 1:
        raise BadTask("several lists of responses")
    instruction, read = instruction_in({key: value for key, value in data.items() if key not in lists})
    items = {}
    for one in data[lists[0]]:
        key = next(key for key in _TEXTS if one.get(key) is not None)
        try:
            items[str(one["id"])] = Item(instruction, text(one[key], key))
        except BadField as bad:
            raise BadTask(f"a response that is {bad.reason}") from None
    if len(items) != len(data[lists[0]]):
        raise BadTask("an id that comes twice")
    return Listed(items, read | set(lists))


def _is_list(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(
            isinstance(one, dict) and isinstance(one.get("id"), str | int) and any(one.get(key) for key in _TEXTS)
            for one in value
        )
    )


def ranked(listed: Listed, results: Sequence[Result]) -> list[Said]:
    """What the order says of every two responses, in the order of the list. Raises BadTask.

    Of two ids with the same text only what holds for both is said.
    """
    if not results:
        raise BadTask("empty")
    groups = _groups([result.said for result in results])
    names = [name for group in groups for name in group]
    if not set(names) <= set(listed.items):
        raise BadTask("unknown answer")
    if len(set(names)) < len(names):
        raise BadTask("contradictory")
    at = {item: number for number, item in reversed(list(enumerate(listed.items.values())))}
    said: dict[tuple[Item, Item], set[str]] = {}
    for number, group in enumerate(groups):
        for better, worse in product(group, [name for later in groups[number + 1 :] for name in later]):
            one, other = listed.items[better], listed.items[worse]
            first, second, answer = (one, other, FIRST) if at[one] < at[other] else (other, one, SECOND)
            if one != other:
                said.setdefault((first, second), set()).add(answer)
    found = [Said(*pair, *answers) for pair, answers in said.items() if len(answers) == 1]
    if not found:
        raise BadTask("nothing is placed before anything")
    return found


def _groups(said: Sequence[Any]) -> list[list[str]]:
    """Ids in groups, the best group first; within a group nothing is said."""
    if len(said) != 1 or not isinstance(said[0], dict):
        raise BadTask("contradictory" if len(said) > 1 else "unknown answer")
    columns = {name: ids for name, ids in said[0].items() if name != _NOWHERE}
    if not all(isinstance(ids, list) and all(isinstance(one, str | int) for one in ids) for ids in columns.values()):
        raise BadTask("unknown answer")
    if len(columns) == 1 and _NOWHERE not in said[0]:
        return [[str(one)] for ids in columns.values() for one in ids]
    places = {name: _place(name) for name in columns}
    if not any(columns.values()):
        raise BadTask("empty")
    if None in places.values() or len(set(places.values())) < 2:
        raise BadTask("buckets without an order")
    order = sorted(set(places.values()))  # type: ignore[type-var]
    return [[str(one) for name in columns if places[name] == place for one in columns[name]] for place in order]


def _place(bucket: str) -> int | None:
    """Where a bucket stands, by its name: numbers, or good (0) before bad (1); None where its name tells nothing."""
    words = set(words_of(bucket))
    numbers = [int(word) for word in words if word.isdecimal() and len(word) < 9]
    if numbers:
        rest = {word for word in words if not word.isdecimal()} - {"st", "nd", "rd", "th"}
        return numbers[0] if len(numbers) == 1 and rest <= _PLACES else None
    if words & _GOOD and not words & _BAD:
        return 0
    return 1 if words & _BAD and not words & _GOOD else None
