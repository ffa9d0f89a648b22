"""Items to score come in the order in which they are read, each once, from whatever place."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.run import JpoConfig
from jpo_dist.data.read_report import BadRowError
from jpo_dist.evaluate.score import score_policy
from jpo_dist.evaluate.to_score import read_to_score
from jpo_dist.generate.answers import Answer
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Rating
from jpo_dist.records.folder import write_set
from tests.support.rows import write_rows

A, B, C, D = (Item.of("q" if i % 2 else "p", text) for i, text in enumerate("abcd"))


def answers(folder: Path, texts: list[str]) -> str:
    folder.mkdir()
    made = [Answer(i, A.instruction_id, "p", text, True, 1, 0.0, 0, 0, "m", "local") for i, text in enumerate(texts)]
    write_rows(folder / "part-0.jsonl", [answer._asdict() for answer in made])
    return str(folder)


def test_ratings_stay_in_the_order_of_their_rows_whoever_wins(tmp_path: Path) -> None:
    scores = [("p", "one", 1.0), ("q", "x", 5.0), ("p", "two", 3.0), ("p", "one", 2.0), ("q", "y", 5.0)]
    file = write_rows(tmp_path / "a.jsonl", [{"prompt": p, "completion": c, "score": score} for p, c, score in scores])
    built, report = read_to_score(file, "error")
    assert [item.response for item in built.all_items()] == ["one", "x", "two", "y"]
    assert (report.duplicates, report.ties, report.comparisons) == (1, 1, 1)
    winner, loser = built.winners_C[~built.is_tie_C][0], built.losers_C[~built.is_tie_C][0]
    assert [built.all_items()[row].response for row in (winner, loser)] == ["two", "one"]


def test_a_set_keeps_what_nobody_has_compared_and_answers_come_after_it(tmp_path: Path) -> None:
    whole = ComparisonSet.build([Comparison(B, D)], [Rating(A, 2.0, "s"), Rating(C, float("nan"), "")])
    write_set(whole, tmp_path / "set")
    alone, _ = read_to_score(str(tmp_path / "set"), "error")
    assert alone.fingerprint == whole.fingerprint
    folder = answers(tmp_path / "answers", ["fresh", "a", "fresh"])
    built, report = read_to_score([str(tmp_path / "set"), folder], "error")
    assert built.all_items() == [*whole.all_items(), Item.of("p", "fresh")]
    assert built.comparisons.equals(whole.comparisons)
    assert (report.rows, report.responses, report.duplicates) == (4, 3, 1)
    assert built.items["score"].to_pylist() == [None, None, 2.0, None, None]


def test_what_cannot_be_read_is_named_and_nothing_at_all_is_an_error(tmp_path: Path) -> None:
    row = {"prompt": "p", "completion": "c"}
    file = write_rows(tmp_path / "a.jsonl", [row, {"prompt": "p", "completion": ""}])
    with pytest.raises(BadRowError, match="line 2: completion: empty"):
        read_to_score(file, "error")
    built, report = read_to_score(file, "skip")
    assert (built.num_items, report.responses, report.skipped) == (1, 2, {"empty": 1})
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"no items to score"):
        read_to_score(str(tmp_path / "empty.jsonl"), "error")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "part-0.jsonl").write_text(json.dumps({"prompt": 0}) + "\n")
    with pytest.raises(ValueError, match=r"part-0\.jsonl:1 is no answer"):
        read_to_score(str(tmp_path / "torn"), "error")


def test_a_reward_needs_a_reference(tmp_path: Path) -> None:
    objective = {"loss": "simpo", "beta": 2.0}
    sections: dict[str, Any] = {"model": {"path": "m"}, "data": {"train": "d"}, "run": {"dir": str(tmp_path)}}
    config = JpoConfig.model_validate({**sections, "objective": objective, "reference": {"mode": "none"}})
    with pytest.raises(ValueError, match=r"reference.mode \(none\) leaves nothing to measure a reward against; set"):
        score_policy(config, "data", "policy", str(tmp_path))
