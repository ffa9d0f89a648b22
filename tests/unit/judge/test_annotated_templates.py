"""Exports of Label Studio's own templates: pairs, ratings of two sides, rankings; and exports that are damaged.

The shapes are those of tests/unit/judge/test_label_studio.py, with the data of the templates "Human Preference
collection for RLHF", "Pairwise Classification" and "LLM Ranker".
"""

import copy
import json
import random
from collections import Counter
from typing import Any

import pytest

from jpo_dist.judge.label_studio import read, tasks
from jpo_dist.records.comparisons import ComparisonSet, Item, Message
from tests.support.attacks import record
from tests.support.shared import shared
from tests.unit.judge.test_label_studio import annotation, choice, full

DATA = {"prompt": "Name a bird.", "answer1": "A wren.", "answer2": "A spoon."}
WREN, SPOON, OWL = (Item.of("Name a bird.", text) for text in ("A wren.", "A spoon.", "An owl."))


def result(name: str, kind: str, value: Any, to: Any = "x") -> dict[str, Any]:
    return {"id": "r", "type": kind, "from_name": name, "to_name": to, "value": value}


def left(name: str = "comparison") -> list[dict[str, Any]]:
    return [result(name, "pairwise", {"selected": "left"})]


def right(name: str = "comparison") -> list[dict[str, Any]]:
    return [result(name, "pairwise", {"selected": "right"})]


def chosen(*said: str, name: str = "preference") -> list[dict[str, Any]]:
    return [result(name, "choices", {"choices": list(said)})]


def rated(one: Any, other: Any, *to: str) -> list[dict[str, Any]]:
    to = to or ("answer1", "answer2")
    return [result(f"rating{n}", "rating", {"rating": value}, to[n - 1]) for n, value in ((1, one), (2, other))]


def export(data: Any, *annotations: dict[str, Any]) -> list[dict[str, Any]]:
    return full([{"data": data}], [list(annotations)])


def minimal(exported: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The export "JSON-MIN": what each control says under its name, as `prettify_result` of the SDK writes it."""
    rows = []
    for task in exported:
        for each in task["annotations"]:
            if each["was_cancelled"]:
                continue
            said: dict[str, Any] = {}
            for one in each["result"]:
                said.setdefault(one["from_name"], []).append((one["type"], one["value"]))
            row = {**task["data"], "id": task["id"]}
            for name, values in said.items():
                plain = [v["choices"][0] if t == "choices" and len(v["choices"]) == 1 else v for t, v in values]
                row[name] = plain[0] if values[-1][0] == "choices" and len(plain) == 1 else plain
            row |= {"annotator": each["completed_by"], "annotation_id": each["id"], "lead_time": 4.2}
            rows.append(row | {key: each[key] for key in ("created_at", "updated_at")})
    return rows


def read_both(exported: list[dict[str, Any]]) -> tuple[list[Any], dict[str, Any]]:
    """What both exports of a project give, which is the same."""
    comparisons, report = read(json.loads(json.dumps(exported)))
    again, other = read(json.loads(json.dumps(minimal(exported))))
    assert (again, other["skipped"]) == (comparisons, report["skipped"])
    return comparisons, report


def edges(comparisons: list[Any]) -> list[tuple[str, str, bool]]:
    return [(c.winner.response, c.loser.response, c.tie) for c in comparisons]


def adds_up(report: dict[str, Any]) -> bool:
    ranked = report.get("rankings", {"annotations": 0, "comparisons": 0})
    counted = report["comparisons"] + report["ties"] + sum(report["skipped"].values())
    return report["annotations"] == counted + ranked["annotations"] - ranked["comparisons"]


def test_the_template_for_preferences_of_rlhf() -> None:
    exported = json.loads(shared("reports/label_studio_rlhf_template.json").read_text())
    (comparison,), report = read_both(exported)
    assert (comparison.winner, comparison.loser, comparison.tie) == (WREN, SPOON, False)
    assert (comparison.origin, comparison.annotator, comparison.source) == ("judged", "user:7", "task 1")
    assert (report["annotations"], report["comparisons"], report["skipped"]) == (1, 1, {})


@pytest.mark.parametrize(
    ("data", "results", "expected"),
    [
        (DATA, right(), ("A spoon.", "A wren.", False)),
        (DATA, left("pw"), ("A wren.", "A spoon.", False)),
        (DATA, [*left(), *chosen("High", name="confidence")], ("A wren.", "A spoon.", False)),
        (DATA, chosen("answer2"), ("A spoon.", "A wren.", False)),
        (DATA, chosen("Answer 2 is better"), ("A spoon.", "A wren.", False)),
        (DATA, chosen("left"), ("A wren.", "A spoon.", False)),
        (DATA, chosen("B is slightly better"), ("A spoon.", "A wren.", False)),
        (DATA, chosen("Tie"), ("A wren.", "A spoon.", True)),
        (DATA, chosen("Both are equally bad"), ("A wren.", "A spoon.", True)),
        (DATA, rated(5, 2), ("A wren.", "A spoon.", False)),
        (DATA, rated(2, 5), ("A spoon.", "A wren.", False)),
        (DATA, rated(3, 3.0), ("A wren.", "A spoon.", True)),
        (DATA, rated(2, 5, "a", "b"), ("A spoon.", "A wren.", False)),
        (DATA, [result("score_b", "number", {"number": 0}), result("score_a", "number", {"number": 1})],
         ("A wren.", "A spoon.", False)),
        ({"question": "q", "response_a": "x", "response_b": "y", "model_a": "m"}, right(), ("y", "x", False)),
        ({"instruction": "q", "left_response": "x", "right_response": "y"}, right(), ("y", "x", False)),
        ({"document": "q", "summary_0": "x", "summary_1": "y"}, chosen("1"), ("y", "x", False)),
        ({"prompt": "q", "Response A": "x", "Response B": "y"}, right(), ("y", "x", False)),
    ],
)  # fmt: skip
def test_what_is_said_of_two_responses(data: Any, results: Any, expected: Any) -> None:
    comparisons, report = read_both(export(data, annotation(1, 7, results)))
    assert edges(comparisons) == [expected]
    assert adds_up(report)


@pytest.mark.parametrize("to", [["answer2", "answer1"], "answer2,answer1"])
def test_left_is_the_first_tag_that_is_compared_where_the_export_tells(to: Any) -> None:
    """JSON-MIN does not tell: there left is the side 1."""
    exported = export(DATA, annotation(1, 7, [{**left()[0], "to_name": to}]))
    assert edges(read(exported)[0]) == [("A spoon.", "A wren.", False)]
    assert edges(read(minimal(exported))[0]) == [("A wren.", "A spoon.", False)]


def test_both_prompts_a_system_turn_and_a_conversation_are_kept() -> None:
    joint = {"prompt1": "One?", "prompt2": "Two?", "answer1": "1", "answer2": "2"}
    (comparison,), _ = read_both(export(joint, annotation(1, 7, left())))
    assert (comparison.winner, comparison.loser) == (Item.of("One?", "1"), Item.of("Two?", "2"))
    turned = [{**left()[0], "to_name": ["answer2", "answer1"]}]
    (comparison,), _ = read(export({**joint, "system": "Be brief."}, annotation(1, 7, turned)))
    assert comparison.winner == Item((Message("system", "Be brief."), Message("user", "Two?")), "2")
    assert read(export({**joint, "context": "c"}, annotation(1, 7, left())))[1]["skipped"] == {
        "more than one instruction (prompt, context)": 1
    }
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "A?"},
    ]
    chat = {"messages": turns, "system_prompt": "Be brief.", "answer1": "1", "answer2": "2"}
    (comparison,), _ = read_both(export(chat, annotation(1, 7, left())))
    assert comparison.winner.instruction == (Message("system", "Be brief."), *(Message(**turn) for turn in turns))


def test_keys_that_nothing_is_read_from_are_named() -> None:
    assert read_both(export({**DATA, "task": "Choose.", "model1": "m"}, annotation(1, 7, left())))[1]["not_read"] == [
        "model1", "task",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "results", "reason"),
    [
        (DATA, [], "empty"),
        (DATA, chosen("High", name="confidence"), "unknown answer"),
        (DATA, chosen("left is not better"), "unknown answer"),
        (DATA, chosen("Answer 1 is bad"), "unknown answer"),
        (DATA, [*left(), *right()], "contradictory"),
        (DATA, chosen("left", "tie"), "contradictory"),
        (DATA, rated(3, "x"), "unknown answer"),
        (DATA, rated(3, 4)[:1], "not one rating for each side"),
        (DATA, [result("similarity", "rating", {"rating": 4}, ["answer1", "answer2"])], "a rating of neither side"),
        ({"text1": "x", "text2": "y"}, left(), "no instruction"),
        ({**DATA, "context": "A garden."}, left(), "more than one instruction (prompt, context)"),
        ({**DATA, "output1": "x", "output2": "y"}, left(), "several pairs of responses"),
        ({**DATA, "answer3": "An owl."}, left(), "more than two responses"),
        ({"prompt": "p", "response_a": "x", "response_b": "y", "response_c": "z"}, left(), "more than two responses"),
        ({**DATA, "answer2": "A wren."}, left(), "equal responses"),
        ({**DATA, "answer2": ""}, left(), "a response that is empty"),
        ({**DATA, "answer2": 7}, left(), "a response that is not a string"),
        ({**DATA, "answer2": "\ud83d"}, left(), "a response that is lone surrogate"),
        ({"image1": "x.png", "image2": "y.png", "prompt": "p"}, left(), "not a task made here"),
        ({"prompt": "p"}, left(), "not a task made here"),
    ],
)
def test_what_cannot_be_used_is_counted_by_reason(data: Any, results: Any, reason: str) -> None:
    comparisons, report = read(export(data, annotation(1, 7, results), annotation(2, 8, results)))
    assert (comparisons, report["skipped"]) == ([], {reason: 2})
    assert adds_up(report)


def test_several_annotators_one_who_skips_and_one_who_thinks_again() -> None:
    exported = export(
        DATA, annotation(1, 7, left()), annotation(2, 8, right()), annotation(3, 9, [], was_cancelled=True),
        annotation(4, 8, left(), minutes=5), annotation(5, 10, chosen("tie")),
    )  # fmt: skip
    comparisons, report = read(exported)
    assert [(c.annotator, c.winner, c.tie) for c in comparisons] == [
        ("user:7", WREN, False), ("user:8", WREN, False), ("user:10", WREN, True),
    ]  # fmt: skip
    assert report["skipped"] == {"replaced by a newer annotation": 1, "cancelled": 1}
    assert (report["tasks"], report["agreement"]["shared"], report["agreement"]["raw"]) == (1, 1, 1 / 3)
    assert adds_up(report)


# --- rankings ------------------------------------------------------------------------------------------------------

LISTED = {
    "task": "Rank them.", "prompt": "Name a bird.",
    "items": [{"id": name, "title": name.title(), "body": item.response}
              for name, item in (("owl", OWL), ("wren", WREN), ("spoon", SPOON))],
}  # fmt: skip


def ranks(value: Any, name: str = "rank") -> list[dict[str, Any]]:
    return [result(name, "ranker", {"ranker": value}, "answers")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"rank": ["wren", "owl", "spoon"]}, [(WREN, OWL), (WREN, SPOON), (OWL, SPOON)]),
        ({"rank": ["spoon", "owl"]}, [(SPOON, OWL)]),
        ({"_": ["owl"], "relevant_results": ["wren"], "biased_results": ["spoon"]}, [(WREN, SPOON)]),
        ({"best": ["wren", "owl"], "worst": ["spoon"], "_": []}, [(WREN, SPOON), (OWL, SPOON)]),
        ({"rank_2": ["owl"], "rank_1": ["wren"], "rank_3": ["spoon"]}, [(WREN, OWL), (WREN, SPOON), (OWL, SPOON)]),
    ],
)
def test_a_ranking_compares_every_two_that_it_puts_in_order(value: Any, expected: list[tuple[Item, Item]]) -> None:
    comparisons, report = read_both(export(LISTED, annotation(1, 7, ranks(value))))
    assert {(c.winner, c.loser) for c in comparisons} == set(expected)
    assert not any(c.tie for c in comparisons)
    assert report["rankings"] == {"annotations": 1, "comparisons": len(expected)}
    assert report["not_read"] == ["task"]
    assert adds_up(report)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"_": ["owl", "wren", "spoon"], "relevant_results": [], "biased_results": []}, "empty"),
        (
            {"_": ["owl"], "relevant_results": ["wren", "spoon"], "biased_results": []},
            "nothing is placed before anything",
        ),
        ({"mine": ["wren"], "yours": ["spoon"]}, "buckets without an order"),
        ({"rank": ["wren", "wren"]}, "contradictory"),
        ({"rank": ["wren", "hen"]}, "unknown answer"),
        ({"rank": "wren"}, "unknown answer"),
        ({"rank": [["wren"], ["owl"]]}, "unknown answer"),
        (["wren", "owl"], "unknown answer"),
    ],
)
def test_a_ranking_that_says_nothing_is_counted_by_reason(value: Any, reason: str) -> None:
    comparisons, report = read(export(LISTED, annotation(1, 7, ranks(value))))
    assert (comparisons, report["skipped"]) == ([], {reason: 1})


def test_annotators_who_rank_agree_on_pairs() -> None:
    exported = export(LISTED, *(annotation(who, who, ranks({"rank": order})) for who, order in (
        (1, ["owl", "wren", "spoon"]), (2, ["wren", "owl", "spoon"]))))  # fmt: skip
    report = read_both(exported)[1]
    assert (report["agreement"]["units"], report["agreement"]["raw"]) == (3, 2 / 3)


# --- damage --------------------------------------------------------------------------------------------------------


def whole_exports() -> list[list[dict[str, Any]]]:
    """One export of each kind, in both forms."""
    ours = full(tasks([(WREN, SPOON, "f:1"), (WREN, Item.of("A tree?", "An oak."), "f:2")]),
                [[annotation(1, 7, choice("first")), annotation(2, {"id": 8, "email": "b@x.org"}, choice("tie"))],
                 [annotation(3, 7, choice("second"))]])  # fmt: skip
    foreign = export(DATA, annotation(1, 7, left()), annotation(2, 8, chosen("tie")), annotation(3, 9, rated(3, 4)))
    rankings = export(LISTED, annotation(1, 7, ranks({"rank": ["wren", "owl", "spoon"]})),
                      annotation(2, 8, ranks({"good": ["wren"], "bad": ["owl"], "_": []})))  # fmt: skip
    made = [ours, foreign, rankings]
    return [*made, *(minimal(one) for one in made)]


WHOLE = whole_exports()
STRANGE: list[Any] = [
    None, True, 0, -1, 7, 10**400, 1e308, float("nan"), "", "left", "tie", "\ud83d", "\0", "²", "9" * 5000,
    "0001-01-01", "9999-12-31T23:59:59-23:59", [], [[]], [None], ["left"], {}, {"id": []}, {"choices": {"a": 1}},
    {"rating": True}, {"selected": ["left"]}, {"ranker": {"rank": [{}]}}, {"role": 7, "content": None},
]  # fmt: skip
NAMES = ["first_uid", "answer1", "items", "annotations", "data", "\ud83d"]


def places_in(node: Any) -> list[tuple[Any, Any]]:
    """Every place below a node, as what holds it and the key there."""
    found = [(node, key) for key in (node if isinstance(node, dict) else range(len(node)))]
    inner = [node[key] for _, key in found if isinstance(node[key], dict | list)]
    return [*found, *(place for one in inner for place in places_in(one))]


def damaged(value: Any, chance: random.Random) -> Any:
    """A copy with one to three places replaced, left out, renamed or doubled."""
    root = [copy.deepcopy(value)]
    for _ in range(chance.randint(1, 3)):
        places = places_in(root)
        node, key = chance.choice(places)
        what = chance.randrange(5)
        if what == 0 and node is not root:
            del node[key]
        elif what == 1 and isinstance(node, dict):
            node[chance.choice(NAMES)] = node.pop(key)
        elif what == 2 and isinstance(node, list) and node is not root:
            node.append(copy.deepcopy(node[key]))
        else:
            other, other_key = chance.choice(places)
            node[key] = copy.deepcopy(chance.choice([*STRANGE, *[other[other_key]] * 9]))
    return root[0]


def survive(seed: int) -> str:
    """Reads a damaged export; what it gives adds up and can be kept. Returns what became of it."""
    exported = damaged(WHOLE[seed % len(WHOLE)], random.Random(seed))
    try:
        comparisons, report = read(exported)
    except ValueError as sentence:
        return "refused" if str(sentence).startswith("not an export of Label Studio") else repr(sentence)
    assert adds_up(report), seed
    json.dumps(report)
    built = ComparisonSet.build(comparisons)
    assert len(built) == len(comparisons)
    return "skipped" if report["skipped"] else "read"


def test_a_damaged_export_is_counted_skips_or_a_sentence() -> None:
    found = [survive(seed) for seed in range(500)]
    assert set(found) == {"read", "skipped", "refused"}
    assert min(found.count(became) for became in ("read", "skipped")) > 50


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_twenty_thousand_damaged_exports() -> None:
    came = Counter(survive(seed) for seed in range(500, 20_500))
    assert set(came) == {"read", "skipped", "refused"}
    words = {"read": "read whole", "skipped": "read, what cannot be used counted", "refused": "refused in a sentence"}
    record("exports", "Label Studio", came.total(), {words[became]: count for became, count in came.items()})


def test_an_export_from_before_label_studio_1_has_its_answers_as_completions() -> None:
    """As Annotation Lab still writes them: every task was one that nobody had answered."""
    plain = export(DATA, annotation(1, 7, right(), 1))
    older = [{("completions" if key == "annotations" else key): value for key, value in plain[0].items()}]
    comparisons, report = read(older)
    assert edges(comparisons) == edges(read(plain)[0]) == [("A spoon.", "A wren.", False)]
    assert (report["annotations"], report["unanswered"]) == (1, 0)


def test_completions_of_a_task_are_its_data() -> None:
    """In JSON-MIN a task's own keys stand beside those of the export."""
    row = {**DATA, "completions": ["A wren.", "A spoon."], "id": 1, "annotator": 7, "annotation_id": 3,
           "comparison": [{"selected": "left"}]}  # fmt: skip
    assert edges(read([row])[0]) == [("A wren.", "A spoon.", False)]


def test_annotations_of_a_target_storage_have_their_task_in_them() -> None:
    """One file each, of which none was an export."""
    plain = export(DATA, annotation(1, 7, right(), 1), annotation(2, 8, right(), 1))
    task = {key: value for key, value in plain[0].items() if key != "annotations"}
    stored = [{**one, "task": task} for one in plain[0]["annotations"]]
    assert read(stored) == read(plain)
    assert edges(read(stored[0])[0]) == edges(read(plain[0])[0])[:1] == [("A spoon.", "A wren.", False)]
