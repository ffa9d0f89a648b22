"""Rated texts as data: nothing that is asked in the end is in a training, and the instruction alone tells nothing."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from jpo_dist.sample import sentiment
from jpo_dist.sample.sentiment import read_texts, write

ROWS = "\r\n".join(
    f"{n}\t{(n % 9) - 4 + 0.123456789}\tText number {n} has quite a few words in it, {n % 7} of them."
    for n in range(200)
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sentiment")
    (folder / "tweets_GroundTruth.txt").write_text(ROWS + "\r\n201\t1.5\tToo short.\r\n")
    write(folder, folder / "out")
    return folder / "out"


def rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def number(text: str) -> int:
    found = re.search(r"number (\d+)", text)
    assert found
    return int(found.group(1))


def test_what_is_asked_in_the_end_is_in_no_training(made: Path) -> None:
    held_out = rows(made / "held_out.jsonl")
    assert all(row["instruction"].startswith("Continue this tweet: Text number ") for row in held_out)
    asked = {number(row["instruction"]) for row in held_out}
    openings = {number(row["instruction"]) for row in rows(made / "openings.jsonl")}
    rated = {number(row["completion"]) for row in rows(made / "rated.jsonl") if "number" in row["completion"]}
    assert asked | openings == set(range(200))
    assert not asked & openings
    assert rated == openings
    assert 5 <= len(asked) <= 40


def test_settings_are_chosen_on_what_is_neither_trained_on_nor_measured_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentiment, "MOST_HELD_OUT", 5)
    monkeypatch.setattr(sentiment, "MOST_TUNING", 4)
    (tmp_path / "tweets_GroundTruth.txt").write_text(ROWS)
    assert sentiment.write(tmp_path, tmp_path / "made")["tuning.jsonl"] == 4
    names = ("openings.jsonl", "held_out.jsonl", "tuning.jsonl")
    asked = [{row["instruction"] for row in rows(tmp_path / "made" / name)} for name in names]
    assert [len(one) for one in asked[1:]] == [5, 4]
    assert len(set.union(*asked)) == sum(map(len, asked))


def test_texts_are_whole_again(made: Path) -> None:
    for row in rows(made / "texts.jsonl"):
        first = row["prompt"].removeprefix("Continue this tweet: ")
        assert first == f"Text number {number(first)} has"
        assert row["completion"] == f"quite a few words in it, {number(first) % 7} of them."


def test_under_one_instruction_a_text_wins_as_it_loses_under_the_other(made: Path) -> None:
    by_text = defaultdict(dict)
    for row in rows(made / "rated.jsonl"):
        by_text[row["completion"]][row["prompt"]] = row["score"]
    assert all(len(found) == 2 and sum(found.values()) == 0 for found in by_text.values())
    sums = defaultdict(float)
    for found in by_text.values():
        for prompt, score in found.items():
            sums[prompt] += score
    assert set(sums) == {"Write a positive tweet.", "Write a negative tweet."}


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no"):
        read_texts(tmp_path)
