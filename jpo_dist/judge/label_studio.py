"""People as judges, through Label Studio: tasks and a labeling config out, exported annotations back in.

The shapes are Label Studio's own, read in its source:
- a task to import is `{"data": {…}}`; an exported one adds `id`, `annotations`, `predictions`, dates
  (label-studio: docs/source/includes/task_format.md, label_studio/data_export/serializers.py);
- the export "JSON-MIN" is one flat row for each annotation: the task's data, then `id`, the answer under the name of
  its control, `annotator`, `annotation_id`, `created_at`, `updated_at`, `lead_time`; cancelled ones are not in it
  (label-studio-sdk: src/label_studio_sdk/converter/converter.py `convert_to_json_min`, utils.py `prettify_result`);
- a choice is exported by its alias (label-studio: web/libs/editor/src/tags/control/Choice.jsx `_resultValue`), the
  answer of a Pairwise tag is "left" or "right" (Pairwise.js). Pairwise knows no tie, so the config uses Choices.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from jpo_dist.judge.agreement import Judgment, agreement
from jpo_dist.judge.verdict import in_shown_order
from jpo_dist.records.comparisons import CONDITIONAL, JOINT, Comparison, Item, Message, digest
from jpo_dist.records.text import HEADED, as_text

CONTROL = "preference"
FIRST, SECOND, TIE = "first", "second", "tie"
CHOICES = {FIRST: "The first is better", SECOND: "The second is better", TIE: "Equally good or equally bad"}
# Also read: a choice exported by its text, and the answers of a Pairwise tag.
_MEANING = {**{name: name for name in CHOICES}, **{text: name for name, text in CHOICES.items()}}
_PAIRWISE = {"left": FIRST, "right": SECOND}

_QUESTION = {
    CONDITIONAL: "Two responses to one instruction. Which response is better?",
    JOINT: "Two instructions, each with its response. Which response does better what its own instruction asks for?",
}
_CRITERIA = (
    "Accuracy: what it says is true, and it does what the instruction asks.",
    "Coherence: it is clear, complete and in good order; length alone is no merit.",
    "Harmlessness: it helps no one to do harm, and insults no one.",
    "Choose “equally” when no difference matters. Skip when you cannot judge.",
)
_JOINT_HINT = "Do not judge which instruction is nicer or harder, only how well each one is answered."


class BadTask(ValueError):
    """Why an exported task cannot be read, in a few stable words."""


def tasks(candidates: Iterable[tuple[Item, Item, str]]) -> list[dict[str, Any]]:
    """One task for each pair of items in (item, item, source), in order, as Label Studio imports them.

    A pair that comes again, in either order, makes no second task. The order shown is the judge's (`in_shown_order`):
    always the winner first would give the label away. An exported task keeps its own order, which stands in its data.
    Raises ValueError when a candidate compares an item with itself.
    """
    made: dict[frozenset[str], dict[str, Any]] = {}
    for number, (one, other, source) in enumerate(candidates):
        if one == other:
            raise ValueError(f"candidate {number} ({source}) compares an item with itself; leave it out")
        first, second = in_shown_order(one, other)
        made.setdefault(frozenset((first.id, second.id)), {"data": _data(first, second, source)})
    return list(made.values())


def _data(first: Item, second: Item, source: str) -> dict[str, Any]:
    """Flat, because Label Studio's `$name` finds top-level keys only; `id` and the like are taken in JSON-MIN."""
    protocol = CONDITIONAL if first.instruction == second.instruction else JOINT
    data: dict[str, Any] = {"protocol": protocol, "source": source}
    for side, item in ((FIRST, first), (SECOND, second)):
        data |= {
            f"{side}_uid": item.id,
            f"{side}_messages": [turn._asdict() for turn in item.instruction],
            f"{side}_instruction": as_text(item.instruction, HEADED),
            f"{side}_response": item.response,
        }
    return data


def labeling_config(protocol: str) -> str:
    """The XML for Settings > Labeling Interface of a project with tasks of one protocol.

    Every text of an item stands in a Text tag with valueType="text": shown as text, never as HTML, never fetched as an
    address. Raises ValueError for another protocol.
    """
    if protocol not in _QUESTION:
        raise ValueError(f"protocol ({protocol!r}) is neither {CONDITIONAL} nor {JOINT}; use one of them")
    view = ET.Element("View")
    style = ET.SubElement(view, "Style")
    style.text = ".htx-text, .htx-richtext { white-space: pre-wrap; overflow-wrap: anywhere; }"
    ET.SubElement(view, "Header", value=_QUESTION[protocol], size="4")
    for line in (_JOINT_HINT, *_CRITERIA) if protocol == JOINT else _CRITERIA:
        ET.SubElement(view, "Header", value=line, size="6")
    if protocol == CONDITIONAL:
        _text(view, "Instruction", "first_instruction")
    columns = ET.SubElement(view, "View", style="display: flex; flex-wrap: wrap; gap: 1.5em")
    for side, title in ((FIRST, "First"), (SECOND, "Second")):
        column = ET.SubElement(columns, "View", style="flex: 1 1 20em; min-width: 0")
        if protocol == JOINT:
            _text(column, f"{title} instruction", f"{side}_instruction")
        _text(column, f"{title} response", f"{side}_response")
    choices = ET.SubElement(
        view, "Choices", name=CONTROL, toName="first_response", choice="single-radio", showInline="true",
        required="true", requiredMessage="Choose one of the three, or skip the task.",
    )  # fmt: skip
    for key, (alias, text) in zip("120", CHOICES.items(), strict=True):
        ET.SubElement(choices, "Choice", value=text, alias=alias, hotkey=key)
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"


def _text(parent: ET.Element, title: str, key: str) -> None:
    ET.SubElement(parent, "Header", value=title, size="5")
    ET.SubElement(parent, "Text", name=key, value=f"${key}", valueType="text", selectionEnabled="false")


class _Annotation(NamedTuple):
    """One annotation of either export, as far as it matters here."""

    task: dict[str, Any]
    """The data of its task."""
    annotator: str | None
    newness: tuple[float, float, int]
    cancelled: bool
    answers: list[str]
    """The answers as exported. A usable annotation has exactly one."""


def read(export: list[dict[str, Any]]) -> tuple[list[Comparison], dict[str, Any]]:
    """Comparisons from an exported project, "JSON" or "JSON-MIN", and what became of every annotation.

    Each has the annotator (see `annotator_of`), the source of its candidate and the origin "judged"; ties are
    comparisons with `tie`. The report adds up: annotations == comparisons + ties + sum(skipped.values()). It has
    `tasks` (different pairs), `unanswered` (those without any annotation) and `agreement`, of the annotations that
    count, with "tie" as an answer of its own. Reasons to skip one:

    - "replaced by a newer annotation": of several of one annotator to one task, the newest counts;
    - "cancelled": the annotator skipped the task; "empty": no answer; "contradictory": several different answers;
    - "unknown answer": none of the three; "not a task made here" and "text changed": see `_items_of`.

    Raises ValueError when `export` is no list of tasks.
    """
    if not isinstance(export, list) or not all(isinstance(row, dict) for row in export):
        raise ValueError("not an export of Label Studio: a list of tasks is wanted; export the project as JSON")
    found = [annotation for row in export for annotation in _annotations(row)]
    skipped: Counter[str] = Counter()
    comparisons, answers = [], []
    for annotation in _newest(found, skipped):
        try:
            first, second = _items_of(annotation.task)
            answer = _answer(annotation)
        except BadTask as bad:
            skipped[str(bad)] += 1
            continue
        winner, loser = (second, first) if answer == SECOND else (first, second)
        source, who = str(annotation.task.get("source", "")), annotation.annotator
        comparisons.append(Comparison(winner, loser, source=source, tie=answer == TIE, origin="judged", annotator=who))
        if who is not None:
            answers.append(Judgment(who, _key(annotation.task), answer))
    every, answered = {_key(_data_of(row)) for row in export}, {_key(annotation.task) for annotation in found}
    num_ties = sum(c.tie for c in comparisons)
    return comparisons, {
        "tasks": len(every),
        "unanswered": len(every - answered),
        "annotations": len(found),
        "comparisons": len(comparisons) - num_ties,
        "ties": num_ties,
        "skipped": dict(skipped),
        "agreement": agreement(answers),
    }


def _data_of(row: dict[str, Any]) -> dict[str, Any]:
    """The task's data; in JSON-MIN the row itself. `task_id` stands in where it is not one of our tasks."""
    data = row.get("data", row)
    return {"task_id": row.get("id"), **(data if isinstance(data, dict) else {})}


def _key(data: dict[str, Any]) -> tuple[str, ...]:
    """Equal for equal pairs, also when the same tasks were imported twice."""
    uids = data.get("first_uid"), data.get("second_uid")
    return (str(uids[0]), str(uids[1])) if all(uids) else ("task", str(data["task_id"]))


def _annotations(row: dict[str, Any]) -> Iterator[_Annotation]:
    data = _data_of(row)
    if "annotations" in row:
        for each in row["annotations"] or []:
            results = [r for r in each.get("result") or [] if r.get("from_name") == CONTROL]
            cancelled = bool(each.get("was_cancelled"))
            who = annotator_of(each.get("completed_by"))
            answers = [answer for result in results for answer in _said(result.get("value"))]
            yield _Annotation(data, who, _newness(each, "id"), cancelled, answers)
    elif row.get("annotation_id") is not None:  # JSON-MIN has one row with null for a task nobody has answered
        said = row.get(CONTROL)
        answers = [answer for value in (said if isinstance(said, list) else [said]) for answer in _said(value)]
        yield _Annotation(data, annotator_of(row.get("annotator")), _newness(row, "annotation_id"), False, answers)


def _said(value: Any) -> list[str]:
    """The answers in one result: {"choices": [...]}, a Pairwise tag's {"selected": ...}, or the bare answer."""
    if isinstance(value, dict):
        value = value.get("choices") or _PAIRWISE.get(value.get("selected", ""), value.get("selected"))
    return [str(answer) for answer in (value if isinstance(value, list) else [value]) if answer is not None]


def annotator_of(completed_by: Any) -> str | None:
    """A name for a user that is the same in every export and tells nothing about the person.

    Exports give the user's number, or an object with number and e-mail address, or (JSON-MIN of such) the address
    alone. "user:NUMBER" where there is one, else "mail:" and 12 hex digits of the address's hash.
    """
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("id") or completed_by.get("email")
    text = str(completed_by or "").strip()
    if not text or text == "None":
        return None
    return f"user:{text}" if text.isdigit() else f"mail:{digest(text.lower())[:12]}"


def _newness(annotation: dict[str, Any], id_key: str) -> tuple[float, float, int]:
    """Sorts by the time of the last change, then of creation, then by number: imports may share one time."""
    number = str(annotation.get(id_key))
    times = _seconds(annotation.get("updated_at")), _seconds(annotation.get("created_at"))
    return (max(times), times[1], int(number) if number.isdigit() else 0)


def _seconds(when: Any) -> float:
    try:
        parsed = datetime.fromisoformat(when)
    except (TypeError, ValueError):
        return 0.0
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _newest(annotations: list[_Annotation], skipped: Counter[str]) -> list[_Annotation]:
    """The newest of each annotator and task, in order of appearance. Annotations by nobody in particular all stay."""
    groups: dict[tuple[Any, ...], list[_Annotation]] = {}
    for number, each in enumerate(annotations):
        who = (each.annotator,) if each.annotator is not None else (None, number)
        groups.setdefault((*who, *_key(each.task)), []).append(each)
    replaced = len(annotations) - len(groups)
    if replaced:
        skipped["replaced by a newer annotation"] = replaced
    return [max(group, key=lambda each: each.newness) for group in groups.values()]


def _answer(annotation: _Annotation) -> str:
    if annotation.cancelled:
        raise BadTask("cancelled")
    if not annotation.answers:
        raise BadTask("empty")
    answers = {_MEANING.get(answer.strip()) for answer in annotation.answers}
    if None in answers:
        raise BadTask("unknown answer")
    if len(answers) > 1:
        raise BadTask("contradictory")
    return str(answers.pop())


def _items_of(data: dict[str, Any]) -> tuple[Item, Item]:
    """First and second item as they were shown. An answer to a text that was edited since is no answer to the item."""
    items = []
    for side in (FIRST, SECOND):
        try:
            turns = tuple(Message(turn["role"], turn["content"]) for turn in data[f"{side}_messages"])
            item = Item(turns, data[f"{side}_response"])
            unchanged = item.id == data[f"{side}_uid"] and as_text(turns, HEADED) == data[f"{side}_instruction"]
        except (KeyError, TypeError) as error:
            raise BadTask("not a task made here") from error
        if not unchanged:
            raise BadTask("text changed")
        items.append(item)
    return items[0], items[1]
