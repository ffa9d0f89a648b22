"""The split of a pair for a judge: from the set that it was made beside to the set of the verdicts."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.data.build import build, lines, write
from jpo_dist.data.config import BuildConfig
from jpo_dist.data.read import read, read_candidates
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.folder import write_set
from jpo_dist.records.split import split_of
from tests.support.rows import write_rows

SPLIT = {"validation": 0.2, "test": 0.2, "seed": 4}
WORDS = ("train", "validation", "test")


def built(tmp_path: Path, **row: Any) -> tuple[Path, str]:
    """A set with candidates, and what its build says of them."""
    rows = [{"instruction": f"Question {n}?", "response": f"Answer {n}.", **row} for n in range(80)]
    source = {"path": write_rows(tmp_path / "a.jsonl", rows), "groups": list(row)}
    settings = {"sources": [source], "candidates": {"policy": "random", "budget": 60, "max_per_item": 4}}
    made = build(BuildConfig.model_validate({**settings, "split": SPLIT, "output": str(tmp_path / "set")}))
    write(made, tmp_path / "set")
    return tmp_path / "set", "\n".join(lines(made.report))


def test_a_candidate_has_the_split_of_both_of_its_instructions(tmp_path: Path) -> None:
    folder, told = built(tmp_path)
    found, _ = read_candidates(str(folder / "candidates.jsonl"), on_bad_row="error")
    for first, second, _, _, split in found:
        assert {split_of(item.instruction_id, 0.2, 0.2, 4) for item in (first, second)} == {split}
    counts = {word: sum(split == word for *_, split in found) for word in WORDS}
    assert min(counts.values()) > 0
    assert f"candidates for a judge: 60 ({', '.join(f'{counts[word]} {word}' for word in WORDS)})" in told


def test_a_group_of_the_name_split_is_left_out_and_told(tmp_path: Path) -> None:
    folder, told = built(tmp_path, split="mine", topic="tea")
    rows = [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
    assert {row["split"] for row in rows} == set(WORDS)
    assert "with groups: topic; without split: a column of this name says something else" in told


def pair(n: int, **more: Any) -> dict[str, Any]:
    return {"instruction": f"q{n}", "response_0": "a", "response_1": "b", **more}


def splits_of(where: Any) -> list[str | None]:
    return [split for *_, split in read_candidates(where, on_bad_row="error")[0]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["test", "train", "validation"], ["test", "train", "validation"]),
        (["train_prefs", "test_prefs", None, 3, ["train"]], [None] * 5),  # words of others: as files without the column
        (["train", "train", "valid1"], [None] * 3),  # nothing is known to be held out
    ],
)
def test_the_column_counts_where_all_rows_say_one_of_three_words(
    words: list[Any], expected: list[str | None], tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "c.jsonl", [pair(n, split=word) for n, word in enumerate(words)])
    assert splits_of(file) == expected
    assert splits_of(write_rows(tmp_path / "bare.jsonl", [pair(0)])) == [None]


def test_a_pair_without_a_split_beside_one_that_is_held_out_is_refused(tmp_path: Path) -> None:
    """In silence it would be left out, for a set with splits is read by its training split."""
    one = write_rows(tmp_path / "one.jsonl", [pair(0, split="train"), pair(1, split="test"), pair(2, split="dev")])
    with pytest.raises(ValueError, match=r"1 of 3 pairs have no split \(the first is one.jsonl:3\).*1 train, 1 test"):
        splits_of(one)
    other = write_rows(tmp_path / "two.jsonl", [pair(3)])
    with pytest.raises(ValueError, match=r"write train, validation or test into their column split, or take the two"):
        splits_of([write_rows(tmp_path / "three.jsonl", [pair(1, split="test")]), other])


def test_the_comparisons_of_a_set_keep_theirs_when_they_are_judged_again(tmp_path: Path) -> None:
    made = [Comparison(Item.of(f"q{n}", "a"), Item.of(f"q{n}", "b"), split=word) for n, word in enumerate(WORDS)]
    write_set(ComparisonSet.build(made), tmp_path / "set")
    assert splits_of(f"{tmp_path / 'set'}:all") == list(WORDS)
    assert splits_of(f"{tmp_path / 'set'}:test") == ["test"]
    assert splits_of(str(tmp_path / "set")) == ["train"]
    again, _ = read([f"{tmp_path / 'set'}:test", f"{tmp_path / 'set'}:train"], on_bad_row="error")
    assert again.comparisons["split"].null_count == 2, "what is read to be trained on, or built, has none of its own"


def test_conversations_of_several_turns_are_in_one_split(tmp_path: Path) -> None:
    """Each row is three comparisons, one a turn, whose preferred responses are turns of the next one's instruction."""
    rows = []
    for n in range(120):
        row: dict[str, Any] = {}
        for turn in ("first", "second", "third"):
            row |= {f"{turn}_turn_response_{letter}": f"answer {turn} {n} {letter}" for letter in "abcd"}
            row |= {f"{turn}_turn_prompt": f"{turn} {n}", f"{turn}_turn_preferred_response": "response_b"}
        rows.append(row)
    source = {"path": write_rows(tmp_path / "c.jsonl", rows)}
    settings = {"sources": [source], "pairs": [], "split": {"validation": 0.1, "test": 0.1}, "output": "o"}
    made = build(BuildConfig.model_validate(settings)).comparisons
    items, splits = made.all_items(), made.comparisons["split"].to_pylist()
    said, held = set(), set()
    for w, v, split in zip(made.winners_C, made.losers_C, splits, strict=True):
        if split == "train":
            turns = items[w].instruction
            said |= {(turns[:k], turn.content) for k, turn in enumerate(turns) if turn.role == "assistant"}
        else:
            held |= {(items[end].instruction, items[end].response) for end in (w, v)}
    assert len(held) > 100
    assert len(said) > 100
    assert not held & said
    assert len(made) == 120 * 9, "nothing crosses"
