"""What SFT imitates and what KTO labels, of every layout, in counts that add up."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.sections import DataConfig
from jpo_dist.config.sft import SftDataConfig
from jpo_dist.data.examples import ExampleReport, read_demonstrations, read_labelled
from jpo_dist.data.read import scan
from jpo_dist.data.read_report import BadRowError
from jpo_dist.generate.answers import Answer
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Rating
from jpo_dist.records.examples import Examples
from jpo_dist.records.folder import write_set
from tests.support.rows import write_rows

PAIRS = [
    {"prompt": "q", "chosen": "good", "rejected": "bad", "weight": 2.0},
    {"prompt": "q", "chosen": "good", "rejected": "worse"},
    {"prompt": "q", "chosen": "bad", "rejected": "worse"},
]
TIE = {"instruction": "q", "response_0": "a", "response_1": "b", "feedback": 2}
RATED = [{"prompt": f"q{i // 3}", "completion": f"r{i}", "score": s} for i, s in enumerate([1, 5, 5, 2, 4, 3])]
THUMBS = [{"prompt": "q", "completion": f"r{i}", "label": i == 0} for i in range(3)]
RANKING = {"prompt": "q", "responses": ["first", "second", "third"]}
CHAT = [{"role": r, "content": c} for r, c in [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]]


def responses(found: Examples, desirable: bool | None = None) -> list[str]:
    items = found.all_items()
    loops = zip(found.winners_C.tolist(), found.desirable_C.tolist(), strict=True)
    return [items[row].response for row, label in loops if desirable in (None, label)]


def adds_up(report: ExampleReport) -> None:
    assert report.named == report.examples + report.repeats + sum(report.left_out.values())


def imitated(path: str | list[str], **settings: Any) -> tuple[Examples, ExampleReport]:
    found, report = read_demonstrations(path, SftDataConfig.model_validate({"train": "unused", **settings}))
    adds_up(report)
    return found, report


def labelled(path: str | list[str], **settings: Any) -> tuple[Examples, ExampleReport]:
    found, report = read_labelled(path, DataConfig.model_validate({"train": "unused", **settings}))
    adds_up(report)
    return found, report


def test_of_pairs_each_winner_once(tmp_path: Path) -> None:
    found, report = imitated(write_rows(tmp_path / "a.jsonl", PAIRS))
    assert responses(found) == ["good", "bad"]
    assert found.weights_C.tolist() == [2.0, 1.0]
    assert (report.rows, report.named, report.repeats) == (3, 6, 1)
    assert report.left_out == {"loser of a comparison": 3}


def test_the_sides_of_pairs_are_labels_and_an_item_may_have_both(tmp_path: Path) -> None:
    found, report = labelled(write_rows(tmp_path / "a.jsonl", PAIRS))
    assert (responses(found, True), responses(found, False)) == (["good", "bad"], ["bad", "worse"])
    assert (report.undesirable, report.repeats) == (2, 2)
    assert "  1 items are both desirable and undesirable, and learned from as both" in report.lines()


@pytest.mark.parametrize("read", [imitated, labelled])
def test_ties_are_left_out_and_alone_are_nothing_to_learn_from(tmp_path: Path, read: Any) -> None:
    _, report = read([write_rows(tmp_path / "a.jsonl", [TIE]), write_rows(tmp_path / "b.jsonl", PAIRS)])
    assert report.left_out["tie"] == 2
    with pytest.raises(ValueError, match=r"nothing there to learn from\n1 rows name 2 items.*2 left out"):
        read(str(tmp_path / "a.jsonl"))


def test_ratings_all_best_or_from_a_score_on(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", RATED)
    assert responses(imitated(file)[0]) == [f"r{i}" for i in range(6)]
    best, report = imitated(file, responses="best")
    assert responses(best) == ["r1", "r4"], "the first of equal ones"
    assert report.left_out == {"not the best of its instruction": 4}
    good, report = imitated(file, min_score=3)
    assert responses(good) == ["r1", "r2", "r4", "r5"]
    assert report.left_out == {"score below data.min_score": 2}


def test_an_item_rated_twice_has_its_mean_score_and_is_a_repeat(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [RATED[0], {**RATED[0], "score": 5}, RATED[3]])
    good, report = imitated(file, min_score=2.5)
    assert (responses(good), report.repeats) == (["r0"], 1)


def test_ratings_need_a_threshold_for_labels(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", RATED)
    with pytest.raises(ValueError, match=r"data\.desirable_from \(now None\) for the 6 rated .* from 1 to 5.*set it"):
        labelled(file)
    found, _ = labelled(file, desirable_from=4)
    assert (responses(found, True), responses(found, False)) == (["r1", "r2", "r4"], ["r0", "r3", "r5"])


def test_thumbs(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", THUMBS)
    found, report = imitated(file)
    assert (responses(found), report.left_out) == (["r0"], {"thumbs down": 2})
    both, _ = labelled(file)
    assert (responses(both, True), responses(both, False)) == (["r0"], ["r1", "r2"])


def test_rankings(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [RANKING])
    found, report = imitated(file)
    assert (responses(found), report.left_out) == (["first"], {"not the first of its ranking": 2})
    both, report = labelled(file)
    assert (responses(both, True), responses(both, False)) == (["first"], ["third"])
    assert report.left_out == {"neither first nor last of its ranking": 1}


def test_unrated_responses_have_no_label_and_no_score(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{"prompt": "q0", "completion": "unrated"}])
    rated = write_rows(tmp_path / "b.jsonl", RATED)
    assert responses(imitated(file)[0]) == ["unrated"]
    _, report = imitated([file, rated], min_score=0)
    assert report.left_out == {"no score, and data.min_score is set": 1}
    best, report = imitated([file, rated], responses="best")
    assert responses(best) == ["r1", "r4"]
    assert report.left_out["no score beside rated ones, of which the best is taken"] == 1
    _, report = labelled([file, rated], desirable_from=3)
    assert report.left_out == {"no label": 1}


NO_SCORE = "no score, and data.min_score is set"


@pytest.mark.parametrize(
    ("row", "left_out"),
    [
        (PAIRS[0], {NO_SCORE: 1, "loser of a comparison": 1}),
        (THUMBS[0], {NO_SCORE: 1}),
        (RANKING, {NO_SCORE: 1, "not the first of its ranking": 2}),
        ({"prompt": "q", "completion": "unrated"}, {NO_SCORE: 1}),
        ({**PAIRS[0], "score_chosen": 3.5, "score_rejected": 1.0},
         {"score below data.min_score": 1, "loser of a comparison": 1}),
    ],
)  # fmt: skip
def test_with_a_least_score_nothing_without_one_is_imitated(tmp_path: Path, row: Any, left_out: Any) -> None:
    """Winners without a score were: NaN is below no number."""
    scored = {"prompt": "p", "chosen": "scored", "rejected": "bad", "score_chosen": 4.0, "score_rejected": 1.0}
    files = [write_rows(tmp_path / name, [one]) for name, one in (("a.jsonl", row), ("b.jsonl", scored))]
    found, report = imitated(files, min_score=4)
    left_out = {**left_out, "loser of a comparison": left_out.get("loser of a comparison", 0) + 1}
    assert (responses(found), report.left_out) == (["scored"], left_out)
    with pytest.raises(ValueError, match="nothing there to learn from"):
        imitated(files[0], min_score=4)


def test_of_a_set_its_winners_and_its_items_without_a_comparison(tmp_path: Path) -> None:
    good, bad, alone = (Item.of("q", name) for name in ("good", "bad", "alone"))
    ratings = [Rating(good, 4.0, "s"), Rating(alone, 2.0, "s")]
    write_set(ComparisonSet.build([Comparison(good, bad)], ratings), tmp_path / "set")
    found, report = imitated(str(tmp_path / "set"))
    assert (responses(found), report.named) == (["good", "alone"], 3)
    assert responses(imitated(str(tmp_path / "set"), min_score=3)[0]) == ["good"]


@pytest.mark.parametrize("field", ["messages", "conversations"])
def test_of_a_conversation_its_last_turn_or_each_of_the_assistant(tmp_path: Path, field: str) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{field: CHAT}])
    (last,) = imitated(file)[0].all_items()
    assert ([turn.content for turn in last.instruction], last.response) == (["a", "b", "c"], "d")
    both = imitated(file, turns="all")[0].all_items()
    assert [([turn.content for turn in item.instruction], item.response) for item in both] == [
        (["a"], "b"),
        (["a", "b", "c"], "d"),
    ]


def test_turns_of_human_and_gpt_and_an_assistant_that_begins(tmp_path: Path) -> None:
    turns = [("gpt", "hello"), ("human", "a"), ("gpt", "b"), ("human", "bye")]
    file = write_rows(tmp_path / "a.jsonl", [{"conversations": [{"from": f, "value": v} for f, v in turns]}])
    (item,) = imitated(file, turns="all")[0].all_items()
    assert [turn.role for turn in item.instruction] == ["assistant", "user"]
    assert item.response == "b"
    with pytest.raises(BadRowError, match=r"line 1: conversations\[3\]\.role: last turn not assistant"):
        imitated(file)


def test_a_conversation_beside_a_pair_is_a_copy(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{**PAIRS[0], "messages": CHAT}])
    assert responses(imitated(file)[0]) == ["good"]


def test_answers_of_jpo_generate_that_end(tmp_path: Path) -> None:
    """As its contract writes them; what was cut off, is empty or cannot be text is counted, and stops nothing."""
    made = [
        Answer(n, f"id{n}", text, answer, finished, 3, 0.7, 0, 0, "m", "local")
        for n, (text, answer, finished) in enumerate(
            [
                ("q0", "whole", True),
                ([{"role": "user", "content": "q1"}], "cut", False),
                ("q2", " ", True),
                ("q3", "a\0b", True),  # a tokenizer of bytes has a token for it, and a model may draw it
                ("q4", "half of \ud83d", True),
            ]
        )
    ]
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers/part-0.jsonl").write_text(
        "".join(json.dumps(answer._asdict()) + "\n" for answer in made), encoding="utf-8"
    )
    found, report = imitated(str(tmp_path / "answers"))
    assert responses(found) == ["whole"]
    assert report.skipped == {"cut off": 1, "empty answer": 1, "nul character": 1, "lone surrogate": 1}
    assert "  1 x cut off" in report.lines()
    built, report = scan(str(tmp_path / "answers"), on_bad_row="error")
    assert (built.num_items, report.responses, sum(report.skipped.values())) == (1, 5, 4)


def test_bad_rows_stop_it_or_are_counted(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [*PAIRS, {"prompt": "q", "chosen": "", "rejected": "b"}])
    with pytest.raises(BadRowError, match="line 4: chosen: empty"):
        imitated(file)
    _, report = imitated(file, on_bad_row="skip")
    assert (report.rows, report.skipped) == (4, {"empty": 1})
    assert report.lines() == [
        "4 rows name 6 items: 2 examples, 1 repeats, 3 left out, 1 rows or responses skipped",
        "  left out: 3 x loser of a comparison",
        "  1 x empty",
        f"    {file}, line 4: chosen: empty",
        f"  {file}: layout explicit; read: prompt, chosen, rejected, weight",
    ]
