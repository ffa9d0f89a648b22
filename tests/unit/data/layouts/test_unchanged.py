"""Files that were read before layouts were data say exactly what they said: same comparisons, sources and order."""

from pathlib import Path
from typing import Any

import pytest

from jpo_dist.data.read import scan
from tests.support.rows import write_rows


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


Q, HH = "Name a fruit.", "\n\nHuman: Name a fruit.\n\nAssistant: "
PAPER = {"i_chosen": Q, "r_chosen": "A pear.", "i_reject": "Name a color.", "r_reject": "Rope.", "weight": 0.5}
JUDGED = {"instruction": Q, "response_0": "A pear.", "response_1": "A brick.", "confidence": 0.5}
JOINT = {"instruction_0": Q, "response_0": "A pear.", "instruction_1": "Hi", "response_1": "Yes."}
SIDES = {"chosen": chat(Q, "A pear."), "rejected": chat(Q, "A brick.")}
SCORED = {**SIDES, "score_chosen": 2.0, "score_rejected": 1}
RANKED = {"prompt": Q, "responses": ["A pear.", "", "A brick."]}
FILES: dict[str, tuple[list[dict[str, Any]], dict[str, int]]] = {
    "paper": ([PAPER, {**PAPER, "i_reject": Q}, {**PAPER, "r_chosen": " "}], {"empty": 1}),
    "judged": ([{**JUDGED, "feedback": n} for n in (0, 1, 2, 3)], {"not 0, 1 or 2": 1}),
    "joint": ([{**JOINT, "feedback": n} for n in (0, 1, 2)], {}),
    "scored": (
        [SCORED, {**SCORED, "prompt": Q}, {**SCORED, "score_rejected": 2}, {**SCORED, "score_rejected": 3}],
        {"less than score_rejected": 1},
    ),
    "explicit": (
        [
            {**SIDES, "prompt": Q, "response": "x"},
            {"prompt": HH, "chosen": "A", "rejected": "B", "note": "n"},
            {"prompt": "Hi", **SIDES},
        ],
        {"does not start with the prompt": 1},
    ),
    "implicit": (
        [
            SIDES,
            {"chosen": f"{HH}A pear.", "rejected": f"{HH}A brick."},
            {"chosen": "Q: a", "rejected": "Q: b"},
            {**SIDES, "messages": chat("x", "y")},
        ],
        {},
    ),
    "thumbs": (
        [{"prompt": Q, "completion": c, "label": v} for c, v in (("A", True), ("B", 0), ("C", "x"))],
        {"not true or false": 1},
    ),
    "answers": (
        [{"instruction": Q, "answer": c, "finished": v} for c, v in (("A", True), ("", True), ("B", False))],
        {"empty answer": 1, "cut off": 1},
    ),
    "rating": (
        [{"prompt": Q, "completion": c, "score": v} for c, v in (("A", 3), ("B", 1.5), ("A", 2), ("C", None))],
        {"not a number": 1},
    ),
    "helpsteer": (
        [{"prompt": Q, "response": c, "helpfulness": v, "verbosity": 1} for c, v in (("A", 3), ("B", 1))],
        {},
    ),
    "scores": (
        [{**RANKED, "scores": [1, 2, 3]}, {**RANKED, "scores": [1]}],
        {"empty": 1, "not as many as responses": 1},
    ),
    "completions": (
        [
            {
                "instruction": Q,
                "completions": [
                    {"response": "A", "overall_score": 9, "fine-grained_score": 1},
                    {"response": "B", "score": 4},
                    {"response": "C"},
                    "D",
                ],
            }
        ],
        {"missing field": 1, "not an object": 1},
    ),
    "ranking": ([RANKED, {"prompt": "Hi", "responses": ["Yes.", "No."]}], {"empty": 1}),
    "unscored": ([{"instruction": Q, "response": "A"}, {"instruction": Q, "response": None}], {"not a string": 1}),
    "conversation": (
        [{"messages": chat(Q, "A")}, {"messages": chat(Q)}, {"messages": chat(Q, "A", "Hi", "B")}],
        {"last turn not assistant": 1},
    ),
}
FINGERPRINTS = {
    "paper": "6a64e74fa92cd9846bc705e4bf8be1ac",
    "judged": "c5610b045c96904e82b0aab9edabfdad",
    "joint": "17cdecccfe875bef9d8d8a53b98c957d",
    "scored": "e3d5cf7c3ae4a88a5b82111f0a100452",
    "explicit": "9a2a3a923cfbd9f5892be04cc7f0741c",
    "implicit": "12fe4fe1854fe65034cab1b3ea5e560b",
    "thumbs": "3846560b5360cffb60c3c39a811aa92c",
    "answers": "612b697bfa39cd0d15b16adc0c8d1572",
    "rating": "3846560b5360cffb60c3c39a811aa92c",
    "helpsteer": "3846560b5360cffb60c3c39a811aa92c",
    "scores": "98e8a2465bb0d45883ba3ec94166160f",
    "completions": "cbbe4ae13b35f3c05ca26c0b3ab5880a",
    "ranking": "a48fe335ec05a3c456e187cfac1d5a70",
    "unscored": "612b697bfa39cd0d15b16adc0c8d1572",
    "conversation": "06290318ea8318ff17843a1bf5970bff",
}
"""As they were before."""


@pytest.mark.parametrize("name", FILES)
def test_a_file_says_what_it_said(tmp_path: Path, name: str):
    rows, skipped = FILES[name]
    built, report = scan(write_rows(tmp_path / "a.jsonl", rows), on_bad_row="skip")
    assert report.skipped == skipped
    assert built.fingerprint == FINGERPRINTS[name]
