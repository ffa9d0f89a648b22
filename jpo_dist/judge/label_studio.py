"""People as judges, through Label Studio: tasks and a labeling config out, exported annotations back in.

A task to import is `{"data": {…}}`; what comes back: jpo_dist/judge/annotations.py. A choice is exported by its alias
(label-studio: web/libs/editor/src/tags/control/Choice.jsx `_resultValue`), the answer of a Pairwise tag is "left" or
"right" (Pairwise.js). Pairwise knows no tie, so the config uses Choices.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from jpo_dist.data.layouts.pair_splits import SPLIT
from jpo_dist.data.row_values import BadField
from jpo_dist.data.row_values import groups as groups_of_row
from jpo_dist.judge.agreement import Judgment, agreement
from jpo_dist.judge.annotated_pairs import (
    CHOICES,
    CONTROL,
    FIRST,
    NOT_OURS,
    SECOND,
    TIE,
    BadTask,
    Said,
    answer_of,
    is_ours,
    pair_in,
    read_ours,
    results_of,
)
from jpo_dist.judge.annotated_rankings import list_in, ranked
from jpo_dist.judge.annotations import GROUP, ROW_KEYS, Annotation, annotations_of, data_of, newest, task_key, tasks_of
from jpo_dist.judge.verdict import Candidate, in_shown_order
from jpo_dist.records.comparisons import CONDITIONAL, JOINT, Comparison, Item
from jpo_dist.records.group_column import Groups
from jpo_dist.records.split import known_split
from jpo_dist.records.text import HEADED, as_text

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


def tasks(candidates: Iterable[tuple[Item, Item, str] | Candidate]) -> list[dict[str, Any]]:
    """One task for each pair of items in (item, item, source) or with groups behind it, in order, as Label Studio
    imports them.

    A pair that comes again with the same groups, in either order, makes no second task. The order shown is the judge's
    (`in_shown_order`): always the winner first would give the label away. An exported task keeps its own order, which
    stands in its data.
    Raises ValueError when a candidate compares an item with itself.
    """
    made: dict[tuple[frozenset[str], Groups], dict[str, Any]] = {}
    for number, each in enumerate(candidates):
        pair = Candidate(*each)
        if pair.first == pair.second:
            raise ValueError(f"candidate {number} ({pair.source}) compares an item with itself; leave it out")
        key = frozenset((pair.first.id, pair.second.id)), pair.groups
        made.setdefault(key, {"data": _data(pair)})
    return list(made.values())


def _data(pair: Candidate) -> dict[str, Any]:
    """Flat, because Label Studio's `$name` finds top-level keys only; `id` and the like are taken in JSON-MIN."""
    first, second = in_shown_order(pair.first, pair.second)
    data: dict[str, Any] = {"protocol": pair.protocol, "source": pair.source}
    data |= {SPLIT: pair.split} if pair.split else {}
    data |= {GROUP + name: value for name, value in pair.groups}
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


def read(export: Any, groups: Sequence[str] = ()) -> tuple[list[Comparison], dict[str, Any]]:
    """Comparisons from an exported project, "JSON" or "JSON-MIN", and what became of every annotation.

    Each has the annotator (see `annotator_of`), a source and the origin "judged"; ties are comparisons with `tie`.
    The groups and splits of our tasks are kept; `groups` names keys of other tasks' data that are kept as groups too.

    Tasks are ours or those of Label Studio's own templates for pairs and rankings. The report adds up: annotations ==
    comparisons + ties + sum(skipped.values()); a ranking is one annotation of several comparisons, so with rankings
    their `annotations` are added on the right and their `comparisons` taken off. It has `tasks` (different ones),
    `unanswered` (those without any annotation), `not_read` (keys of foreign tasks that nothing was read from) and
    `agreement`, of the annotations that count, with "tie" as an answer of its own. Reasons to skip one:

    - "replaced by a newer annotation": of several of one annotator to one task, the newest counts;
    - "cancelled": the annotator skipped the task; "empty": no answer; "contradictory": several different answers;
    - "unknown answer": none that is understood; "text changed": see jpo_dist.judge.annotated_pairs; "not a task made
      here": neither ours nor one with two responses or a list of them, and others that tell what is wrong.

    Raises ValueError when `export` is no list of tasks, or one.
    """
    export = tasks_of(export)
    found = [annotation for row in export for annotation in annotations_of(row)]
    skipped, not_read, rankings = Counter[str](), set[str](), Counter[str]()
    comparisons, answers = [], []
    for annotation in newest(found, skipped):
        try:
            known = _groups(annotation.task, groups)
            said, is_ranking = _said(annotation, not_read)
        except BadTask as bad:
            skipped[str(bad)] += 1
            continue
        if is_ranking:
            rankings.update(annotations=1, comparisons=len(said))
        for one in said:
            comparisons.append(_comparison(one, annotation, known))
            if annotation.annotator is not None:
                unit = (task_key(annotation.task), one.first.id, one.second.id)
                answers.append(Judgment(annotation.annotator, unit, one.answer))
    every, answered = {task_key(data_of(row)) for row in export}, {task_key(annotation.task) for annotation in found}
    num_ties = sum(c.tie for c in comparisons)
    return comparisons, {
        "tasks": len(every),
        "unanswered": len(every - answered),
        "annotations": len(found),
        "comparisons": len(comparisons) - num_ties,
        "ties": num_ties,
        "skipped": dict(skipped),
        **({"rankings": dict(rankings)} if rankings else {}),
        **({"not_read": sorted(not_read - set(groups))} if not_read - set(groups) else {}),
        "agreement": agreement(answers),
    }


def _said(annotation: Annotation, not_read: set[str]) -> tuple[list[Said], bool]:
    """What an annotation says, and whether that is a ranking. Keys of a foreign task from which nothing is read join
    `not_read`. Raises BadTask."""
    data = annotation.task
    if is_ours(data):
        return [read_ours(annotation)], False
    about = annotation.results or []
    is_ranking = any(result.kind == "ranker" for result in about)
    listed = list_in(data) if is_ranking else None
    pair = None if listed else pair_in(data, next((result.to for result in about if result.kind == "pairwise"), ()))
    if pair is None and listed is None:
        listed = list_in(data)
    found = listed or pair
    if found is None:
        raise BadTask(NOT_OURS)
    not_read |= set(data) - found.read - ROW_KEYS - {result.name for result in about}
    results = results_of(annotation)
    if listed is not None:
        return ranked(listed, [result for result in results if result.kind == "ranker"]), True
    assert pair is not None
    return [Said(pair.first, pair.second, answer_of(pair, results))], False


def _groups(data: dict[str, Any], names: Sequence[str]) -> Groups:
    """What a task says of the groups of its pair; raises BadTask."""
    ours = {key.removeprefix(GROUP): value for key, value in data.items() if key.startswith(GROUP)}
    try:
        return groups_of_row(ours, list(ours)) if is_ours(data) else groups_of_row(data, names)
    except BadField as bad:
        raise BadTask(f"a group ({bad.field}) that is {bad.reason}") from None


def _comparison(said: Said, annotation: Annotation, groups: Groups) -> Comparison:
    winner, loser = (said.second, said.first) if said.answer == SECOND else (said.first, said.second)
    task = annotation.task
    source = str(task.get("source", "")) if is_ours(task) else f"task {task['task_id']}"
    source = source.encode("utf-8", "replace").decode()
    tie = said.answer == TIE
    who = annotation.annotator
    split = known_split(task.get(SPLIT)) if is_ours(task) else None
    return Comparison(winner, loser, source=source, tie=tie, origin="judged", annotator=who, groups=groups, split=split)
