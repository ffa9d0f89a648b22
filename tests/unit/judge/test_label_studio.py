"""What people said comes back as it was said, from both exports; everything else is counted.

`full` and `minimal` write the two exports as Label Studio does: field names and nesting from
label_studio/data_export/serializers.py and label_studio_sdk/converter/converter.py. Once done by hand with
label-studio-sdk 2.1.2: `LabelInterface` accepts config and tasks, and what its converter makes of the full export as
JSON-MIN gives the same comparisons and the same agreement.
"""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.judge.annotated_pairs import CHOICES
from jpo_dist.judge.annotations import annotator_of
from jpo_dist.judge.label_studio import labeling_config, read, tasks
from jpo_dist.judge.verdict import Candidate, in_shown_order
from jpo_dist.records.comparisons import Comparison, Item, Message

PEAR, BRICK = Item.of("Name a fruit.", "A pear."), Item.of("Name a fruit.", "A brick.")
BLUE = Item.of("Name a color.", "Blue.")
CHAT = Item((Message("system", "Be kind."), Message("user", "Hi")), "Hello <b>you</b>\u202e!")
START = datetime(2026, 3, 9, 21, 52, 49, 513742, UTC)


def when(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def choice(*said: str) -> list[dict[str, Any]]:
    return [{"id": "Dx_aB91ISN", "from_name": "preference", "to_name": "first_response", "type": "choices",
             "origin": "manual", "value": {"choices": list(said)}}]  # fmt: skip


def pairwise(side: str) -> list[dict[str, Any]]:
    return [{"id": "b", "from_name": "preference", "to_name": ["first_response", "second_response"],
             "type": "pairwise", "origin": "manual", "value": {"selected": side}}]  # fmt: skip


def annotation(number: int, who: Any, result: list[dict[str, Any]], minutes: float = 0, **other: Any) -> dict[str, Any]:
    return {
        "id": number, "completed_by": who, "result": result, "was_cancelled": False, "ground_truth": False,
        "created_at": when(0), "updated_at": when(minutes), "draft_created_at": None, "lead_time": 4.288,
        "prediction": {}, "result_count": 1, "unique_id": "9c1", "import_id": None, "last_action": None, "task": 1,
        "project": 83, "updated_by": 1, "parent_prediction": None, "parent_annotation": None, "last_created_by": None,
    } | other  # fmt: skip


def full(made: list[dict[str, Any]], annotations: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The export "JSON"."""
    return [
        {
            "id": 100 + number, "annotations": each, "file_upload": "tasks.json", "drafts": [], "predictions": [],
            "data": task["data"], "meta": {}, "created_at": when(0), "updated_at": when(9), "inner_id": number,
            "total_annotations": len(each), "cancelled_annotations": 0, "project": 83, "comment_authors": [],
        }
        for number, (task, each) in enumerate(zip(made, annotations, strict=True))
    ]  # fmt: skip


def minimal(export: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The export "JSON-MIN" of the same project: rows by annotation, cancelled ones left out, newest first."""
    rows = []
    for task in export:
        kept = [each for each in task["annotations"] if not each["was_cancelled"]]
        nobody = {"result": [], "completed_by": {}, "id": None, "created_at": None, "updated_at": None}
        for each in kept[::-1] or ([] if task["annotations"] else [nobody]):
            row = {**task["data"], "id": task["id"]}
            values = [r["value"] for r in each["result"] if r["from_name"] == "preference"]
            if values and "choices" in values[0]:
                plain = [v["choices"][0] if len(v["choices"]) == 1 else v for v in values]
                row["preference"] = plain[0] if len(plain) == 1 else plain
            elif values:
                row["preference"] = values
            who = each["completed_by"]
            row["annotator"] = who.get("email") if isinstance(who, dict) else who
            row |= {"annotation_id": each["id"], "lead_time": 4.288}
            rows.append(row | {key: each[key] for key in ("created_at", "updated_at")})
    return rows


def both(export: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [json.loads(json.dumps(shape)) for shape in (export, minimal(export))]


def adds_up(report: dict[str, Any]) -> bool:
    return report["annotations"] == report["comparisons"] + report["ties"] + sum(report["skipped"].values())


# --- tasks ---------------------------------------------------------------------------------------------------------


def test_a_task_shows_both_items_and_does_not_depend_on_the_order_given():
    (task,) = tasks([(PEAR, CHAT, "f.jsonl:3")])
    assert tasks([(CHAT, PEAR, "f.jsonl:3")]) == [task]
    data = task["data"]
    shown = {data["first_uid"]: "first", data["second_uid"]: "second"}
    assert set(shown) == {PEAR.id, CHAT.id}
    assert (data["protocol"], data["source"]) == ("joint", "f.jsonl:3")
    side = shown[CHAT.id]
    assert data[f"{side}_instruction"] == "[system]\nBe kind.\n\n[user]\nHi"
    assert data[f"{side}_response"] == CHAT.response
    assert data[f"{shown[PEAR.id]}_instruction"] == "Name a fruit."
    assert not {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "preference"} & set(data)


def test_each_side_comes_first_about_half_of_the_time_also_for_one_item():
    """A binomial share of 400 stays within five standard errors; one item is not always on the same side."""
    for pairs in ([(Item.of("q", f"a{n}"), Item.of("q", f"b{n}")) for n in range(400)],
                  [(PEAR, Item.of("Name a fruit.", f"b{n}")) for n in range(400)]):  # fmt: skip
        first = sum(in_shown_order(one, other)[0] == one for one, other in pairs)
        assert abs(first - 200) < 50


SIDES = "first", "second"


def sides_exchanged(task: dict[str, Any]) -> dict[str, Any]:
    """The task with its sides exchanged: what another rule for the order would have exported."""
    data, parts = task["data"], ("uid", "messages", "instruction", "response")
    turned = {f"{new}_{part}": data[f"{old}_{part}"] for new, old in (SIDES, SIDES[::-1]) for part in parts}
    return {"data": data | turned}


def test_people_and_the_judge_see_a_pair_in_one_order_and_a_task_exported_in_another_keeps_its_own():
    """32 pairs: another rule would turn some of them."""
    pairs = [(Item.of("q", f"a{n}"), Item.of("q", f"b{n}")) for n in range(32)]
    made = tasks([(*pair, "") for pair in pairs])
    order = [in_shown_order(*pair) for pair in pairs]
    assert [(t["data"]["first_uid"], t["data"]["second_uid"]) for t in made] == [(a.id, b.id) for a, b in order]
    before = [sides_exchanged(task) for task in made]
    for export in both(full(before, [[annotation(n, 7, choice("first"))] for n in range(32)])):
        comparisons, report = read(export)
        assert [(c.winner, c.loser) for c in comparisons] == [(b, a) for a, b in order]
        assert report["skipped"] == {}


def test_a_pair_is_asked_once_and_an_item_is_never_compared_with_itself():
    made = tasks([(PEAR, BRICK, "a"), (BRICK, PEAR, "b"), (PEAR, BLUE, "c")])
    assert [task["data"]["source"] for task in made] == ["a", "c"]
    with pytest.raises(ValueError, match=r"candidate 1 \(z\) compares an item with itself"):
        tasks([(PEAR, BRICK, "a"), (PEAR, PEAR, "z")])


@pytest.mark.parametrize("protocol", ["conditional", "joint"])
def test_the_config_is_valid_xml_and_shows_what_a_task_has(protocol):
    view = ET.fromstring(labeling_config(protocol))
    (task,) = tasks([(PEAR, BRICK if protocol == "conditional" else BLUE, "")])
    texts = {tag.get("name"): tag for tag in view.iter("Text")}
    assert all(tag.get("value") == f"${name}" and name in task["data"] for name, tag in texts.items())
    assert all(tag.get("valueType") == "text" for tag in texts.values())
    assert not {tag.tag for tag in view.iter()} & {"HyperText", "Markdown", "Image"}
    instructions = {"first_instruction", "second_instruction"} if protocol == "joint" else {"first_instruction"}
    assert set(texts) == {"first_response", "second_response"} | instructions
    (choices,) = view.iter("Choices")
    assert (choices.get("name"), choices.get("choice"), choices.get("required")) == (
        "preference", "single-radio", "true",
    )  # fmt: skip
    assert choices.get("toName") in texts
    assert {tag.get("alias"): tag.get("value") for tag in view.iter("Choice")} == CHOICES
    words = " ".join(tag.get("value", "") for tag in view.iter("Header"))
    assert all(name in words for name in ("Accuracy", "Coherence", "Harmlessness"))


def test_another_protocol_has_no_config():
    with pytest.raises(ValueError, match="neither conditional nor joint"):
        labeling_config("pairwise")


# --- round trip ----------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
messages = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts)
items = st.builds(Item, st.lists(messages, min_size=1, max_size=2).map(tuple), texts)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(items, items).filter(lambda pair: pair[0] != pair[1]), max_size=5),
    st.dictionaries(st.integers(1, 4), st.lists(st.sampled_from([0, 1, None]), min_size=5, max_size=5), max_size=3),
)
def test_what_annotators_said_comes_back(pairs, said):
    """`said[who][n]`: whether who prefers item 0 or 1 of candidate n, None for a tie."""
    pairs = list({frozenset(pair): pair for pair in pairs}.values())
    made = tasks([(*pair, f"f:{n}") for n, pair in enumerate(pairs)])
    annotations, expected = [], []
    for n, pair in enumerate(pairs):
        names = {made[n]["data"]["first_uid"]: "first", made[n]["data"]["second_uid"]: "second"}
        here = []
        for who, preferred in said.items():
            p = preferred[n]
            here.append(annotation(10 * n + who, who, choice("tie" if p is None else names[pair[p].id])))
            winner, loser = pair if p is not None else in_shown_order(*pair)
            winner, loser = (loser, winner) if p == 1 else (winner, loser)
            about = {"source": f"f:{n}", "tie": p is None, "origin": "judged", "annotator": f"user:{who}"}
            expected.append(Comparison(winner, loser, **about))
        annotations.append(here)
    for export in both(full(made, annotations)):
        comparisons, report = read(export)
        assert Counter(comparisons) == Counter(expected)
        assert (report["ties"], report["skipped"]) == (sum(c.tie for c in expected), {})
        assert (report["tasks"], report["unanswered"]) == (len(pairs), 0 if said else len(pairs))
        assert adds_up(report)


def test_groups_travel_with_a_task_and_come_back_with_its_answers():
    """The same pair for two countries is two tasks, whose answers agree or not; one person may answer both."""
    german, french = (("country", "DE"), ("topic", "tea")), (("country", "FR"),)
    made = tasks([Candidate(PEAR, BRICK, "a", german), Candidate(BRICK, PEAR, "b", german),
                  Candidate(PEAR, BRICK, "c", french), (PEAR, BLUE, "d")])  # fmt: skip
    assert [task["data"]["source"] for task in made] == ["a", "c", "d"]
    assert made[0]["data"] | {"group_country": "DE", "group_topic": "tea"} == made[0]["data"]
    said = [[annotation(1, 7, choice("first")), annotation(2, 8, choice("tie"))], [annotation(3, 7, choice("first"))],
            [annotation(4, 8, choice("second"))]]  # fmt: skip
    for export in both(full(made, said)):
        comparisons, report = read(export)
        assert Counter((c.annotator, c.groups) for c in comparisons) == Counter(
            [("user:7", german), ("user:8", german), ("user:7", french), ("user:8", ())]
        )
        assert (report["tasks"], report["unanswered"], report["skipped"]) == (3, 0, {})
    made[0]["data"]["group_country"] = ["DE"]
    assert read(full(made, said))[1]["skipped"] == {"a group (country) that is not one value": 2}


def test_the_split_of_a_pair_travels_with_its_task_and_comes_back_with_its_answers():
    pairs = [Candidate(PEAR, BRICK, "a", split="test"), Candidate(PEAR, BLUE, "b", split="train"), (BRICK, BLUE, "c")]
    made = tasks(pairs)
    said = [[annotation(n, 7, choice("first"))] for n in range(3)]
    for export in both(full(made, said)):
        comparisons, report = read(export)
        assert {c.source: c.split for c in comparisons} == {"a": "test", "b": "train", "c": None}
        assert "not_read" not in report
    foreign = {"prompt": "q", "answer1": "x", "answer2": "y", "split": "test"}
    ((comparison,), report) = read(full([{"data": foreign}], [[annotation(1, 7, pairwise("left"))]]))
    assert (comparison.split, report["not_read"]) == (None, ["split"]), "a key of others may say something else"


# --- what cannot be used is counted --------------------------------------------------------------------------------


def one(*annotations: dict[str, Any]) -> list[dict[str, Any]]:
    return full(tasks([(PEAR, BRICK, "f:1")]), [list(annotations)])


def test_the_newest_annotation_of_an_annotator_counts_whatever_the_order_of_the_export():
    early, late = annotation(5, 7, choice("first"), 1), annotation(4, 7, choice("second"), 2)
    for export in (*both(one(early, late)), *both(one(late, early))):
        (comparison,), report = read(export)
        assert comparison.winner == in_shown_order(PEAR, BRICK)[1]
        assert (report["annotations"], report["skipped"]) == (2, {"replaced by a newer annotation": 1})
    same_time = one(annotation(4, 7, choice("tie"), 1), annotation(5, 7, choice("first"), 1))
    assert not read(same_time)[0][0].tie


@pytest.mark.parametrize(
    ("result", "other", "reason"),
    [
        (choice("first"), {"was_cancelled": True}, "cancelled"),
        ([], {}, "empty"),
        ([{**choice("x")[0], "from_name": "comment"}], {}, "empty"),
        (choice("first", "tie"), {}, "contradictory"),
        ([*choice("first"), *choice("second")], {}, "contradictory"),
        (choice("left"), {}, "unknown answer"),
    ],
)
def test_an_unusable_annotation_is_counted_by_reason(result, other, reason):
    good = annotation(2, 8, choice("tie"))
    full_export, minimal_export = both(one(annotation(1, 7, result, **other), good))
    comparisons, report = read(full_export)
    assert [c.annotator for c in comparisons] == ["user:8"]
    assert report["skipped"] == {reason: 1}
    assert adds_up(report)
    seen = {} if reason == "cancelled" else {reason: 1}  # JSON-MIN leaves them out
    assert read(minimal_export)[1]["skipped"] == seen


def test_a_cancelled_newest_annotation_takes_the_answer_back():
    export = one(annotation(1, 7, choice("first"), 1), annotation(2, 7, [], 2, was_cancelled=True))
    assert read(export)[1]["skipped"] == {"replaced by a newer annotation": 1, "cancelled": 1}


def test_choices_by_their_text_and_pairwise_answers_are_understood():
    first, second = in_shown_order(PEAR, BRICK)
    for result, winner in ((choice(CHOICES["second"]), second), (pairwise("left"), first), (pairwise("right"), second)):
        for export in both(one(annotation(1, 7, result))):
            (comparison,), _ = read(export)
            assert (comparison.winner, comparison.tie) == (winner, False)


@pytest.mark.parametrize("key", ["first_response", "second_instruction", "first_uid"])
def test_an_answer_to_an_edited_text_is_no_answer_to_the_item(key):
    for export in both(one(annotation(1, 7, choice("first")))):
        for row in export:
            row.get("data", row)[key] += "!"
        comparisons, report = read(export)
        assert (comparisons, report["skipped"]) == ([], {"text changed": 1})


def test_foreign_tasks_and_unanswered_ones_are_counted():
    made = tasks([(PEAR, BRICK, ""), (PEAR, BLUE, "")])
    export = full([*made, {"data": {"text": "hi"}}], [[annotation(1, 7, choice("first"))], [], [annotation(2, 7, [])]])
    for shape in both(export):
        comparisons, report = read(shape)
        assert len(comparisons) == 1
        assert (report["tasks"], report["unanswered"]) == (3, 1)
        assert report["skipped"] == {"not a task made here": 1}
        assert adds_up(report)


def test_something_else_than_an_export_is_refused():
    with pytest.raises(ValueError, match="not an export of Label Studio"):
        read({"tasks": []})  # type: ignore[arg-type]


# --- annotators ----------------------------------------------------------------------------------------------------


def test_annotators_are_named_by_number_and_never_by_address():
    ann = {"id": 7, "email": "ann@example.org", "first_name": "Ann", "last_name": "B"}
    assert annotator_of(7) == annotator_of("7") == annotator_of(ann) == "user:7"
    by_mail = annotator_of("Ann@example.org")
    assert by_mail is not None
    assert by_mail.startswith("mail:")
    assert by_mail == annotator_of({"email": "ann@example.org"}) != annotator_of("bob@example.org")
    assert "ann" not in by_mail
    assert annotator_of(None) is annotator_of({}) is annotator_of("None") is None


def test_annotations_by_nobody_all_count_but_tell_nothing_about_agreement():
    export = one(annotation(1, None, choice("first")), annotation(2, None, choice("first")))
    comparisons, report = read(export)
    assert [c.annotator for c in comparisons] == [None, None]
    assert report["agreement"]["units"] == 0


def test_agreement_is_of_the_annotations_that_count():
    made = tasks([(PEAR, BRICK, ""), (PEAR, BLUE, ""), (BRICK, BLUE, "")])
    pairs = [("first", "first"), ("second", "second"), ("tie", "first")]
    rows = [[annotation(n, 1, choice(a)), annotation(9 + n, 2, choice(b))] for n, (a, b) in enumerate(pairs)]
    rows[2].append(annotation(30, 2, choice("tie"), minutes=5))  # bob thinks again
    for export in both(full(made, rows)):
        (pair,) = read(export)[1]["agreement"]["cohen"]
        assert (pair["annotators"], pair["units"], pair["raw"], pair["kappa"]) == (["user:1", "user:2"], 3, 1.0, 1.0)
