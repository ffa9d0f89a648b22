"""Annotations of Label Studio's exports, "JSON" and "JSON-MIN": who said what of which task, and when.

The shapes are Label Studio's own, read in its source:
- an exported task has `id`, `data`, `annotations` (before version 1.0 `completions`), `predictions`, dates
  (label-studio: docs/source/includes/task_format.md, label_studio/data_export/serializers.py);
- the export "JSON-MIN" is one flat row for each annotation: the task's data, then `id`, what each control says under
  its name, `annotator`, `annotation_id`, `created_at`, `updated_at`, `lead_time`; cancelled ones are not in it
  (label-studio-sdk: src/label_studio_sdk/converter/converter.py `convert_to_json_min`, utils.py `prettify_result`);
- a target storage gets a file for each annotation, with its task, without annotations, as `task` in it
  (label-studio: label_studio/io_storages/serializers.py `StorageAnnotationSerializer`).

Nothing in an export is trusted to have its shape. What has not is an annotation that cannot be read, and is counted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jpo_dist.records.comparisons import digest

# The key of a result's value tells the tag: Pairwise, Choices, Ranker, Rating, Number.
KINDS = {"selected": "pairwise", "choices": "choices", "ranker": "ranker", "rating": "rating", "number": "rating"}
ROW_KEYS = frozenset({"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "task_id"})
"""What JSON-MIN adds to a task's data."""
_OLDER = "completions"
"""Where a task had its annotations before Label Studio 1.0, when it had no others."""
GROUP = "group_"
"""What stands before the name of a group among the keys of our tasks, so that no name can be one of the other keys."""
# A bare text in a row of JSON-MIN is the task's or an answer: an answer where its key is one of these.
_BARE = frozenset({"preference", "choice", "choices", "comparison", "better", "winner", "verdict", "pairwise", "pw"})


class Result(NamedTuple):
    """What one control of the labelling config says."""

    name: str
    kind: str
    """One of the values of KINDS."""
    said: Any
    to: tuple[str, ...] = ()
    """Names of the tags that it speaks of, where the export tells."""

    @property
    def texts(self) -> list[str]:
        """Its answers as texts, for choices and pairs."""
        return [str(one) for one in (self.said if isinstance(self.said, list) else [self.said]) if one is not None]


class Annotation(NamedTuple):
    """One annotation of either export, as far as it matters here."""

    task: dict[str, Any]
    """The data of its task."""
    annotator: str | None
    newness: tuple[float, float, int]
    cancelled: bool
    results: list[Result] | None
    """None: they cannot be read."""


def tasks_of(export: Any) -> list[Any]:
    """The tasks of an export, each with its annotations. Raises ValueError where it is none."""
    if isinstance(export, dict) and (isinstance(export.get("data"), dict) or _is_stored(export)):
        export = [export]
    if not isinstance(export, list) or (export and not any(isinstance(row, dict) for row in export)):
        raise ValueError("not an export of Label Studio: a list of tasks is wanted; export the project as JSON")
    return [{**row["task"], "annotations": [row]} if _is_stored(row) else row for row in export]


def _is_stored(row: Any) -> bool:
    """Whether it is an annotation of a target storage."""
    task = row.get("task") if isinstance(row, dict) and "result" in row else None
    return isinstance(task, dict) and isinstance(task.get("data"), dict)


def data_of(row: Any) -> dict[str, Any]:
    """The task's data; in JSON-MIN the row itself. `task_id` stands in where it is not one of our tasks."""
    if not isinstance(row, dict):
        return {"task_id": digest(row)}
    data = row.get("data", row)
    return {"task_id": row.get("id"), **(data if isinstance(data, dict) else {})}


def key_of(data: dict[str, Any]) -> tuple[str, ...]:
    """Equal for equal pairs of ours, also when the same tasks were imported twice; for others equal for equal tasks."""
    uids = data.get("first_uid"), data.get("second_uid")
    if all(uids):
        return str(uids[0]), str(uids[1])
    return "task", str(data["task_id"]) if data.get("task_id") is not None else digest(data)


def task_key(data: dict[str, Any]) -> tuple[Any, ...]:
    """Equal for equal tasks: those of a pair, told apart by their groups."""
    return key_of(data), tuple((key, str(data[key])) for key in sorted(data) if key.startswith(GROUP))


def annotations_of(row: Any) -> Iterator[Annotation]:
    """All annotations of one element of an export. What is no task is one that cannot be read."""
    data, lost = data_of(row), Annotation(data_of(row), None, (0.0, 0.0, 0), False, None)
    if not isinstance(row, dict):
        yield lost
    elif "annotations" in row or (_OLDER in row and isinstance(row.get("data"), dict)):
        every = row.get("annotations") or row.get(_OLDER) or []
        for each in every if isinstance(every, list) else [every]:
            if not isinstance(each, dict):
                yield lost
                continue
            cancelled, who = bool(each.get("was_cancelled")), annotator_of(each.get("completed_by"))
            yield Annotation(data, who, _newness(each, "id"), cancelled, _results(each.get("result")))
    elif row.get("annotation_id") is not None:  # JSON-MIN has one row with null for a task nobody has answered
        results = [result for name, value in row.items() for result in _of_control(name, value)]
        yield Annotation(data, annotator_of(row.get("annotator")), _newness(row, "annotation_id"), False, results)


def _results(found: Any) -> list[Result] | None:
    if not isinstance(found or [], list):
        return None
    return [
        _result(str(one.get("from_name")), one.get("value"), _names(one.get("to_name")))
        for one in found or []
        if isinstance(one, dict)
    ]


def _result(name: str, value: Any, to: tuple[str, ...] = ()) -> Result:
    if isinstance(value, dict):
        key = next((key for key in KINDS if value.get(key) is not None), None)
        return Result(name, KINDS[key], value[key], to) if key else Result(name, "choices", None, to)
    return Result(name, "choices", value, to)


def _of_control(name: str, value: Any) -> list[Result]:
    """What a row of JSON-MIN has under a name, where that is a control."""
    if name in ROW_KEYS:
        return []
    each = value if isinstance(value, list) else [value]
    if name in _BARE:
        return [_result(name, one) for one in each]
    return [_result(name, one) for one in each if isinstance(one, dict) and any(key in one for key in KINDS)]


def _names(to: Any) -> tuple[str, ...]:
    names = to.split(",") if isinstance(to, str) else to if isinstance(to, list) else []
    return tuple(name.strip() for name in names if isinstance(name, str))


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
    return f"user:{text}" if text.isdecimal() else f"mail:{digest(text.lower())[:12]}"


def _newness(annotation: dict[str, Any], id_key: str) -> tuple[float, float, int]:
    """Sorts by the time of the last change, then of creation, then by number: imports may share one time."""
    number = str(annotation.get(id_key))
    times = _seconds(annotation.get("updated_at")), _seconds(annotation.get("created_at"))
    return (max(times), times[1], int(number) if number.isdecimal() and len(number) < 19 else 0)


def _seconds(when: Any) -> float:
    try:
        parsed = datetime.fromisoformat(when)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0


def newest(annotations: Sequence[Annotation], skipped: Counter[str]) -> list[Annotation]:
    """The newest of each annotator and task, in order of appearance. Annotations by nobody in particular all stay."""
    groups: dict[tuple[Any, ...], list[Annotation]] = {}
    for number, each in enumerate(annotations):
        who = (each.annotator,) if each.annotator is not None else (None, number)
        groups.setdefault((*who, *task_key(each.task)), []).append(each)
    replaced = len(annotations) - len(groups)
    if replaced:
        skipped["replaced by a newer annotation"] = replaced
    return [max(group, key=lambda each: each.newness) for group in groups.values()]
