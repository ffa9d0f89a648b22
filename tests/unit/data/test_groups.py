"""Columns that say who judged stay with the comparisons of every layout, and are refused where they are none."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jpo_dist.data.build import build, lines, write
from jpo_dist.data.config import BuildConfig
from jpo_dist.data.read import read, read_candidates, scan
from jpo_dist.data.read_report import BadRowError
from jpo_dist.records.comparisons import Comparison
from jpo_dist.records.folder import write_set
from jpo_dist.records.groups import grouping, groups_of
from jpo_dist.records.unbuilt import comparisons_of
from tests.support.rows import write_rows


def pair(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"say {number}", "chosen": "yes", "rejected": "no", **more}


def told(where: str, *groups: str, **how: Any) -> list[dict[str, str]]:
    built, _ = read(where, on_bad_row="error", groups=groups, **how)
    return [dict(groups_of(c)) for c in comparisons_of(built)]


def test_columns_stay_with_a_comparison_and_a_value_that_is_missing_is_none(tmp_path: Path) -> None:
    rows = [pair(0, country="DE", age=25), pair(1, country=None, age=25.0), pair(2, country=" "), pair(3, age=True)]
    file = write_rows(tmp_path / "a.jsonl", rows)
    assert told(file, "country", "age") == [{"country": "DE", "age": "25"}, {"age": "25"}, {}, {"age": "true"}]
    assert told(file) == [{}] * 4
    plain, _ = read(file, on_bad_row="error")
    assert "groups" not in plain.comparisons.column_names


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected,country,age\nsay 0,yes,no,DE,25\nsay 1,yes,no,,25\n")
    table = pa.table({"prompt": ["say 0", "say 1"], "chosen": ["yes"] * 2, "rejected": ["no"] * 2,
                      "country": ["DE", None], "age": pa.array([25, 25], pa.int32())})  # fmt: skip
    pq.write_table(table, tmp_path / "b.parquet")
    expected = [{"country": "DE", "age": "25"}, {"age": "25"}]
    assert told(str(tmp_path / "a.csv"), "country", "age") == expected
    assert told(str(tmp_path / "b.parquet"), "country", "age") == expected


def test_the_column_annotator_becomes_the_annotator(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [pair(0, annotator="p7", country="DE")])
    built, _ = read(file, on_bad_row="error", groups=["annotator", "country"])
    (made,) = comparisons_of(built)
    assert (made.annotator, made.groups) == ("p7", (("country", "DE"),))


def test_a_column_that_is_nowhere_is_refused_with_those_there_are(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [pair(0, country="DE")])
    with pytest.raises(ValueError, match=r"a\.jsonl: groups \(county\) is in none of its rows.*did you mean country\?"):
        read(file, on_bad_row="skip", groups=["county"])
    write_set(read(file, on_bad_row="error", groups=["country"])[0], tmp_path / "set")
    assert told(str(tmp_path / "set"), "country") == [{"country": "DE"}], "a set has kept its own"
    for where in (str(tmp_path / "set"), [str(tmp_path / "set"), file]):
        with pytest.raises(ValueError, match=r"set: groups \(region\): no comparison has a value of it.*country"):
            read(where, on_bad_row="skip", groups=["region"])


@pytest.mark.parametrize("value", [["DE", "FR"], {"code": "DE"}])
def test_several_values_in_a_cell_are_a_bad_row_by_name(value: Any, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [pair(0, country="DE"), pair(1, country=value)])
    with pytest.raises(BadRowError, match=r"a\.jsonl, line 2: country: not one value"):
        read(file, on_bad_row="error", groups=["country"])
    assert read(file, on_bad_row="skip", groups=["country"])[1].skipped == {"not one value": 1}


def test_the_same_comparison_from_two_groups_is_kept_twice(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [pair(0, country="DE"), pair(0, country="FR"), pair(0, country="FR")])
    built, report = read(file, on_bad_row="error", groups=["country"])
    assert grouping(built, "country").told() == "country: FR 2, DE 1"
    assert (report.comparisons, report.repeated, built.num_items) == (3, 2, 2)


def test_a_comparison_of_scores_has_what_all_its_raters_share(tmp_path: Path) -> None:
    def rating(response: str, score: int, country: str, who: str) -> dict[str, Any]:
        return {"prompt": "2+2?", "completion": response, "score": score, "country": country, "who": who}

    rows = [rating("4", 5, "DE", "a"), rating("5", 1, "DE", "b"), rating("6", 3, "FR", "a"), rating("4", 4, "DE", "c")]
    built, _ = read(write_rows(tmp_path / "r.jsonl", rows), on_bad_row="error", groups=["country", "who"])
    assert {(c.winner.response, c.loser.response): dict(c.groups) for c in comparisons_of(built)} == {
        ("4", "5"): {"country": "DE"},  # 4 is the mean of two raters
        ("4", "6"): {},
        ("6", "5"): {},
    }
    ranking = {"prompt": "Name a fruit.", "responses": ["pear", "plum", "mud"], "country": "US"}
    ranked = write_rows(tmp_path / "ranked.jsonl", [ranking])
    assert told(ranked, "country") == [{"country": "US"}] * 3


def test_groups_whose_scores_have_names_of_their_own_are_kept_apart(tmp_path: Path) -> None:
    """Two countries rate the same two responses, and disagree: each has its comparison."""
    sources = []
    for code, scores in (("DE", (1, 2)), ("FR", (2, 1))):
        rows = [{"prompt": "2+2?", "completion": f"{n}", "score": s, "country": code} for n, s in enumerate(scores)]
        file = write_rows(tmp_path / f"{code}.jsonl", rows)
        sources.append({"path": file, "name": code, "groups": ["country"]})
    split = {"validation": 0, "test": 0}
    settings = {"sources": sources, "split": split, "output": str(tmp_path / "set")}
    made = comparisons_of(build(BuildConfig.model_validate(settings)).comparisons)
    assert {(c.winner.response, c.groups) for c in made} == {("1", (("country", "DE"),)), ("0", (("country", "FR"),))}


def test_a_build_keeps_groups_of_stated_and_scored_comparisons(tmp_path: Path) -> None:
    stated = write_rows(tmp_path / "pairs.jsonl", [pair(n, country="DE" if n % 2 else "FR") for n in range(12)])
    scores = write_rows(
        tmp_path / "scores.jsonl",
        [
            {"prompt": f"tell {n}", "completion": f"{s}", "score": s, "region": "north"}
            for n in range(12)
            for s in (1, 2)
        ],
    )
    settings = {
        "sources": [{"path": stated, "groups": ["country"]}, {"path": scores, "groups": ["region"]}],
        "pairs": [{"policy": "conditional"}, {"policy": "assumed_wins", "budget": 6}],
        "output": str(tmp_path / "set"),
    }
    built = build(BuildConfig.model_validate(settings))
    write(built, tmp_path / "set")
    again, _ = scan(f"{tmp_path / 'set'}:all", on_bad_row="error")
    assert again.fingerprint == built.comparisons.fingerprint

    def expected(c: Comparison) -> tuple[tuple[str, str], ...]:
        if c.pairing == "assumed_wins":
            return ()  # an assumption: nobody has judged it
        number = int(c.winner.instruction[0].content.split()[1])
        return (("region", "north"),) if c.pairing else (("country", "DE" if number % 2 else "FR"),)

    made = list(comparisons_of(again))
    assert {c.pairing for c in made} == {None, "conditional", "assumed_wins"}
    assert all(c.groups == expected(c) for c in made)


def offered(sources: list[dict[str, Any]], tmp_path: Path) -> tuple[list[dict[str, Any]], str]:
    """The lines of candidates.jsonl, and what the build says of them."""
    settings = {
        "sources": sources, "pairs": [], "candidates": {"policy": "random", "budget": 99, "max_per_item": 9},
        "split": {"validation": 0, "test": 0}, "output": str(tmp_path / "set"),
    }  # fmt: skip
    built = build(BuildConfig.model_validate(settings))
    write(built, tmp_path / "set")
    rows = [json.loads(line) for line in (tmp_path / "set" / "candidates.jsonl").read_text().splitlines()]
    return rows, " ".join(lines(built.report))


def test_a_candidate_has_what_both_of_its_items_share_and_judges_find_it(tmp_path: Path) -> None:
    topics = ["fruit", "fruit", "math", None] * 3
    rows = [{"prompt": f"say {n}", "completion": str(n), "topic": topic, "who": "p1"} for n, topic in enumerate(topics)]
    source = {"path": write_rows(tmp_path / "a.jsonl", rows), "groups": ["topic", "who"]}
    found, told_of = offered([source], tmp_path)
    ends = [[topics[int(row[side])] for side in ("response_0", "response_1")] for row in found]
    assert [row.get("topic") for row in found] == [a if a == b else None for a, b in ends]
    assert {"fruit", "math", None} <= {row.get("topic") for row in found}
    assert {"fruit", "math"} in [set(end) for end in ends]
    assert {row["who"] for row in found} == {"p1"}
    assert "with groups: topic, who" in told_of
    pairs, report = read_candidates(str(tmp_path / "set" / "candidates.jsonl"), on_bad_row="error", groups=["topic"])
    assert [dict(groups).get("topic") for *_, groups, _ in pairs] == [row.get("topic") for row in found]
    assert report.skipped == {}


def test_candidates_of_sources_without_groups_are_the_pair_alone(tmp_path: Path) -> None:
    rows = [{"prompt": f"say {n}", "completion": "yes", "topic": "fruit"} for n in range(3)]
    found, told_of = offered([{"path": write_rows(tmp_path / "a.jsonl", rows)}], tmp_path)
    assert {frozenset(row) for row in found} == {
        frozenset({"instruction_0", "response_0", "instruction_1", "response_1", "split"})
    }
    assert "groups" not in told_of


def test_an_item_of_which_two_sources_say_different_things_shares_none_of_them(tmp_path: Path) -> None:
    """A comparison from FR and a rating from DE name the same items; their topic is the same."""
    stated = [{**pair(n), "country": "FR", "topic": "yes or no", "annotator": "p7"} for n in range(2)]
    rated = [
        {"prompt": f"say {n}", "completion": side, "score": 1, "country": "DE", "topic": "yes or no"}
        for n in range(2)
        for side in ("yes", "no")
    ]
    sources = [
        {"path": write_rows(tmp_path / "a.jsonl", stated), "groups": ["country", "topic", "annotator"]},
        {"path": write_rows(tmp_path / "b.jsonl", rated), "groups": ["country", "topic"]},
    ]
    found, _ = offered(sources, tmp_path)
    assert found
    assert all(row.get("country") is None and row["topic"] == "yes or no" for row in found)
    assert not any("annotator" in row for row in found), "somebody else will judge"


def test_a_group_that_would_be_read_as_part_of_the_pair_is_left_out_and_named(tmp_path: Path) -> None:
    rows = [{"prompt": f"say {n}", "completion": "yes", "turn": 1, "topic": "fruit"} for n in range(3)]
    found, told_of = offered([{"path": write_rows(tmp_path / "a.jsonl", rows), "groups": ["turn", "topic"]}], tmp_path)
    assert {row["topic"] for row in found} == {"fruit"}
    assert not any("turn" in row for row in found)
    assert "with groups: topic; without turn: a column of this name says something else" in told_of
