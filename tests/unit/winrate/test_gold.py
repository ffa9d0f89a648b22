"""What is gold in files of each layout, what never is, and what is said of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.data.layouts import LAYOUTS, Layout
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Rating
from jpo_dist.records.folder import write_set
from jpo_dist.winrate.gold import Gold, read_gold
from tests.support.rows import write_rows


def gold(where: str | list[str], groups: tuple[str, ...] = (), on_bad_row: str = "error") -> Gold:
    return read_gold(where, on_bad_row, groups, 256)  # type: ignore[arg-type]


def of_rows(tmp_path: Path, *rows: dict[str, Any], **how: Any) -> Gold:
    return gold(write_rows(tmp_path / "gold.jsonl", list(rows)), **how)


def texts(found: Gold) -> dict[str, str]:
    return {item.instruction[0].content: item.response for item in found.texts.values()}


CHAT = [{"role": "user", "content": "q2"}, {"role": "assistant", "content": "bad"}]
UP = [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "good"}]
GOOD = {"prompt": "q1", "completion": "good"}
ONLY_BAD = {
    "thumbs": (
        [{"prompt": "q2", "completion": "bad", "label": False}, {**GOOD, "label": True}],
        "thumbs down",
    ),
    "thumbs of a response": (
        [{"prompt": "q2", "response": "bad", "label": 0}, {"prompt": "q1", "response": "good", "label": 1}],
        "thumbs down",
    ),
    "thumbs of messages": (
        [{"messages": CHAT, "label": False}, {"messages": UP, "label": True}],
        "thumbs down",
    ),
    "thumbs of alpaca": (
        [
            {"instruction": "q2", "output": "bad", "kto_tag": False},
            {"instruction": "q1", "output": "good", "kto_tag": True},
        ],
        "thumbs down",
    ),
    "0 and 1": (
        [{"prompt": "q2", "completion": "bad", "score": 0}, {**GOOD, "score": 1}],
        "score 0, where all have 0 or 1",
    ),
    "-1 and 1": (
        [{"prompt": "q2", "completion": "bad", "score": -1.0}, {**GOOD, "score": 1.0}],
        "score -1, where all have -1 or 1",
    ),
    "candidates that nobody prefers": (
        [
            {
                "contents": [{"role": "user", "parts": [{"text": name}]}],
                "completions": [
                    {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}
                ],
            }
            for name, text, score in (("q2", "bad", 0), ("q1", "good", 1))
        ],
        "not the first of its ranking",
    ),
    "a pair on two instructions": (
        [{"i_chosen": "q1", "r_chosen": "good", "i_reject": "q2", "r_reject": "bad"}],
        "loser of a comparison",
    ),
    "the best of four": (
        [{"query": "q1", "sample0": "bad", "sample1": "good", "sample2": "bad", "sample3": "bad", "best": 1}],
        "loser of a comparison",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONLY_BAD)
def test_what_is_only_called_bad_is_never_gold_and_counted(tmp_path: Path, kind: str) -> None:
    """`bad` was the gold of q2, and nothing was said."""
    rows, reason = ONLY_BAD[kind]
    found = of_rows(tmp_path, *rows)
    assert (texts(found), found.more, found.no_gold) == ({"q1": "good"}, 0, {reason: 1})


@pytest.mark.parametrize("label", [False, 0])
def test_a_file_of_thumbs_down_alone_has_no_gold(tmp_path: Path, label: Any) -> None:
    with pytest.raises(ValueError, match=r"against \(.*\): no gold response in it \(2 x thumbs down\); name .* good"):
        of_rows(tmp_path, *({"prompt": "q1", "completion": text, "label": label} for text in ("bad", "worse")))


def test_what_is_liked_somewhere_is_gold_and_what_is_liked_by_more_comes_first(tmp_path: Path) -> None:
    rows = [("mixed", True), ("mixed", False), ("liked", True), ("bad", False), ("second", True)]
    found = of_rows(tmp_path, *({"prompt": "q", "completion": text, "label": label} for text, label in rows))
    assert (texts(found), found.more, found.no_gold) == ({"q": "liked"}, 2, {"thumbs down": 1})


def test_the_loser_of_one_pair_and_winner_of_another_may_be_gold(tmp_path: Path) -> None:
    found = of_rows(
        tmp_path,
        {"prompt": "q", "chosen": "b", "rejected": "c"},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"instruction": "q", "response_0": "d", "response_1": "e", "feedback": 2},
        on_bad_row="skip",
    )
    assert (texts(found), found.more, found.no_gold) == ({"q": "b"}, 1, {"loser of a comparison": 1})
    tied = of_rows(
        tmp_path,
        {"instruction": "q", "response_0": "d", "response_1": "e", "feedback": 2},
        {"instruction": "p", "response_0": "good", "response_1": "bad", "feedback": 0},
    )
    assert (texts(tied), tied.no_gold) == ({"p": "good"}, {"loser of a comparison": 1, "tie": 2})


def test_what_nobody_rated_comes_after_what_is_rated_also_below_0(tmp_path: Path) -> None:
    """It counted as 0: before every reward below that."""
    rated = write_rows(tmp_path / "a.jsonl", [{"prompt": "q", "response": n, "score": s} for n, s in SCORED])
    plain = write_rows(tmp_path / "b.jsonl", [{"prompt": "q", "response": "unrated"}])
    found = gold([plain, rated])
    assert (texts(found), found.more, found.lowest) == ({"q": "less bad"}, 2, 0)


SCORED = (("bad", -5.0), ("less bad", -2.0))


def test_scores_of_two_files_do_not_compare(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "a.jsonl", [{"prompt": "q", "response": n, "score": s} for n, s in SCORED])
    second = write_rows(tmp_path / "b.jsonl", [{"prompt": "q", "response": n, "score": 9 - s} for n, s in SCORED])
    assert texts(gold([first, second])) == {"q": "less bad"}
    assert texts(gold([second, first])) == {"q": "bad"}


def test_of_a_response_that_was_rated_twice_the_mean_counts(tmp_path: Path) -> None:
    scores = [("x", 5), ("x", 1), ("y", 4)]
    assert texts(of_rows(tmp_path, *({"prompt": "q", "response": n, "score": s} for n, s in scores))) == {"q": "y"}


def test_gold_with_the_lowest_score_of_its_file_is_counted(tmp_path: Path) -> None:
    scores = [("q1", "a", 1), ("q1", "b", 3), ("q2", "c", 1), ("q3", "d", 1), ("q3", "e", 1)]
    found = of_rows(tmp_path, *({"prompt": q, "response": n, "score": s} for q, n, s in scores))
    assert (texts(found), found.more, found.lowest) == ({"q1": "b", "q2": "c", "q3": "d"}, 2, 2)
    assert of_rows(tmp_path, {"prompt": "q", "response": "a", "score": 1}).lowest == 0


BESIDE = {
    "response": {"instruction": "q", "response": "other"},
    "completion": {"prompt": "q", "completion": "other"},
    "output": {"instruction": "q", "output": "other"},
    "answer": {"question": "q", "answer": "other"},
    "two responses": {"prompt": "q", "completion": "other", "response": "third"},
    "a pair": {"prompt": "q", "chosen": "other", "rejected": "third"},
    "a list": {"prompt": "q", "responses": ["other", "third"]},
    "a score": {"prompt": "q", "completion": "other", "score": 0},
    "a thumb": {"prompt": "q", "completion": "other", "label": False},
    "a copy": {"prompt": "q", "messages": [{**CHAT[0], "content": "q"}, CHAT[1]]},
}  # fmt: skip


@pytest.mark.parametrize("kind", BESIDE)
def test_a_column_gold_response_is_gold_whatever_stands_beside_it(tmp_path: Path, kind: str) -> None:
    found = of_rows(tmp_path, {**BESIDE[kind], "gold_response": "GOLD"})
    assert (texts(found), found.more, found.no_gold) == ({"q": "GOLD"}, 0, {})
    [origin] = found.origin
    assert origin.startswith("gold.jsonl: layout unscored; read: ")
    assert "gold_response" in origin
    assert kind not in origin.partition("read: ")[2].split(", ")


def test_each_file_has_its_own_column(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "a.jsonl", [{"prompt": "q1", "response": "other", "gold_response": "g1"}])
    second = write_rows(tmp_path / "b.jsonl", [{"prompt": "q2", "response": "g2"}])
    third = write_rows(tmp_path / "c.jsonl", [{"prompt": "q3", "response": "g3"}])
    found = gold([first, second, third])
    assert texts(found) == {"q1": "g1", "q2": "g2", "q3": "g3"}
    assert found.origin == (
        "a.jsonl: layout unscored; read: prompt, gold_response",
        "b.jsonl and 1 more: layout unscored; read: prompt, response",
    )


def test_gold_of_a_copy_with_splits_is_of_train_and_says_so(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_rows(tmp_path / f"{split}.jsonl", [{"prompt": split, "response": "A wren."}])
    found = gold(str(tmp_path))
    assert texts(found) == {"train": "A wren."}
    assert found.origin[1:] == (f"not read: {tmp_path / 'test.jsonl'}",)
    assert texts(gold(f"{tmp_path}:test")) == {"test": "A wren."}


def test_a_system_prompt_and_an_input_stay_and_a_row_without_gold_is_bad(tmp_path: Path) -> None:
    row = {
        "instruction": "Name one.",
        "input": "Birds",
        "system": "Be brief.",
        "output": "x",
        "gold_response": "A wren.",
    }
    found = of_rows(tmp_path, row, {"instruction": "q", "output": "x"}, on_bad_row="skip")
    [item] = found.texts.values()
    assert [turn.content for turn in item.instruction] == ["Be brief.", "Name one.\nBirds"]
    assert found.skipped == {"missing field": 1}


def test_groups_may_be_columns_that_are_not_read_otherwise(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "response": "x", "score": n, "gold_response": "g", "label": "hard"} for n in range(2)]
    assert list(of_rows(tmp_path, *rows, groups=("label",)).groups.values()) == [(("label", "hard"),)]


def test_the_groups_are_those_of_the_gold_response(tmp_path: Path) -> None:
    rows = [("bad", False, "FR"), ("good", True, "DE")]
    found = of_rows(
        tmp_path,
        *({"prompt": "q", "completion": text, "label": label, "country": c} for text, label, c in rows),
        groups=("country",),
    )
    assert list(found.groups.values()) == [(("country", "DE"),)]


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"prompt": "q", "completion": "a", "response": "b"}, "response and completion"),
        ({"instruction": "q", "output": "a", "response": "b"}, "response and output"),
        ({"question": "q", "answer": "a", "output": "b"}, "output and answer"),
        ({"prompt": "q", "completion": "a", "response": "b", "score": 3}, "response and completion"),
    ],
)
def test_two_columns_that_may_be_gold_are_refused(tmp_path: Path, row: dict[str, Any], named: str) -> None:
    """The first that some layout knew was taken without a word."""
    with pytest.raises(ValueError, match=rf"gold\.jsonl: each of its columns {named} may be .* gold one gold_response"):
        of_rows(tmp_path, row)
    same = {name: "a" if name in ("completion", "response", "output", "answer") else it for name, it in row.items()}
    assert texts(of_rows(tmp_path, same)) == {"q": "a"}


def test_winners_of_a_set_are_gold_and_so_are_items_that_nobody_compared(tmp_path: Path) -> None:
    good, bad, alone = Item.of("q", "good"), Item.of("q", "bad"), Item.of("p", "alone")
    ratings = [Rating(good, 4.0, "s"), Rating(alone, 2.0, "s")]
    write_set(ComparisonSet.build([Comparison(good, bad)], ratings), tmp_path / "set")
    found = gold(str(tmp_path / "set"))
    assert (texts(found), found.no_gold) == ({"q": "good", "p": "alone"}, {"loser of a comparison": 1})
    assert found.files == ()


def test_an_empty_file_has_no_gold(tmp_path: Path) -> None:
    (tmp_path / "gold.json").write_text(json.dumps([]))
    with pytest.raises(ValueError, match=r"no gold response in it; name instructions with good responses"):
        gold(str(tmp_path / "gold.json"))


WITH_EXAMPLE = [layout for layout in LAYOUTS if layout.example and layout.kind != "candidates"]


@pytest.mark.parametrize("layout", WITH_EXAMPLE, ids=lambda layout: layout.name)
def test_gold_of_each_layout_is_the_response_that_its_example_calls_good(tmp_path: Path, layout: Layout) -> None:
    found = of_rows(tmp_path, *layout.example)
    assert {item.response.removesuffix(", unrated.").rstrip(".") for item in found.texts.values()} <= {
        "A pear", "A wren", "Saw a wren",
    }  # fmt: skip
