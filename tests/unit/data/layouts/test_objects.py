"""Objects whose keys no layout knows are refused with a layout that reads them; real keys, invented texts."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jpo_dist.data.collected import compile_set
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.read import read_source, scan
from tests.support.rows import write_rows
from tests.support.said import compared, said, said_by

BIRD = "Name a bird."
NUMBER = {"prompt": BIRD, "ground_truth": 3, "completions": [  # aimo2-irpo
    {"answer": 3, "completion": "It is 3.", "ix": 0, "stop_reason": "stop"},
    {"answer": 4, "completion": "It is 4.", "ix": 1, "stop_reason": "stop"},
]}  # fmt: skip
CODE = {"instruction": BIRD, "responses": [{"model": "a", "response": "A"}, {"model": "b", "response": "B"}]}


@pytest.mark.parametrize(
    ("row", "says", "reads"),
    [
        ({"prompt": BIRD, "responses": [{"text": "A", "score": 1}, {"text": "B", "score": 2}]},
         r"\(text, score\), and none has response: ", ["B > A"]),
        ({"prompt": BIRD, "responses": [{"text": "A", "rank": 1}, {"text": "B", "rank": 2}]},
         "and none has response and a score ", ["A > B"]),
        ({"prompt": BIRD, "completions": [{"response": "A", "rank": 2}, {"response": "B", "rank": 1}]},
         r"and none has a score \(fine-grained_score, overall_score, score\)", ["B > A"]),
        ({"instruction": BIRD, "completions": [{"content": "A", "reward": 0.5, "n": 9}, {"content": "B", "reward": 2}]},
         "and none has response and a score", ["B > A"]),
        ({"prompt": BIRD, "responses": {"text": ["A", "B"], "score": [1, 2]}}, "and none has response: ", ["B > A"]),
        (NUMBER, r"\(answer, completion, ix, stop_reason\), and none has response and a score", None),
        (CODE, r"\(model, response\), and none has a score", None),
        ({"prompt": BIRD, "chosen": {"answer": "A", "reasoning": "It flies."},
          "rejected": {"answer": "B", "reasoning": "It does not."}}, r"\(answer, reasoning\): ", ["A > B"]),
        ({"question": BIRD, "chosen": {"model": "a", "text": "A"}, "rejected": {"model": "b", "text": "B"}},
         r"\(model, text\): ", ["A > B"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_objects_without_the_known_keys_are_refused_with_what_to_write(
    tmp_path: Path, row: dict[str, Any], says: str, reads: list[str] | None, on_bad_row: str
) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        said(tmp_path, [row], on_bad_row)
    advised = re.search(r"layout: (\{.*\})$", str(refused.value))
    assert advised is not None
    assert ("score: …" in advised[1]) == (reads is None)
    if reads is not None:
        assert said_by_layout(tmp_path, row, yaml.safe_load(advised[1])) == reads


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"prompt": BIRD, "responses": ["A", "B"]}, {"prompt": None, "responses": [{"role": "user"}]}),
        ({"prompt": BIRD, "chosen": "A", "rejected": "B"},
         {"prompt": BIRD, "chosen": {"answer": "A"}, "rejected": {"answer": "B"}}),
    ],
)  # fmt: skip
def test_objects_in_most_rows_never_hide_rows_that_can_be_read(
    tmp_path: Path, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    """Found by chance in test_collected: three rows of objects and two good ones were refused as a file."""
    file = write_rows(tmp_path / "r.jsonl", [good, *[bad] * 3, good])
    report = scan(file, on_bad_row="skip")[1]
    assert (report.rows, sum(report.skipped.values())) == (5, 3)
    with pytest.raises(ValueError, match="line 2: "):
        scan(file, on_bad_row="error")


def said_by_layout(folder: Path, row: dict[str, Any], layout: dict[str, Any]) -> list[str]:
    """Comparisons of one row by a layout in words; those of scores and ranks, too."""
    if "a" in layout:
        return compared(folder, [row], layout=layout)
    source = SourceConfig.model_validate({"path": write_rows(folder / "s.jsonl", [row]), "layout": layout})
    built = compile_set(read_source(source, "error").said())
    items = built.all_items()
    return [f"{items[w].response} > {items[v].response}" for w, v in zip(built.winners_C, built.losers_C, strict=True)]


def test_a_few_rows_of_objects_among_texts_are_bad_rows(tmp_path: Path) -> None:
    texts = {"prompt": BIRD, "responses": ["A", "B"]}
    found = said(tmp_path, [texts, texts, {**texts, "responses": [{"text": "A"}]}], "skip")
    assert found.comparisons[:1] == ["A > B"]
    assert found.report.skipped == {"missing field": 1}


def test_lists_in_an_object_are_objects_in_a_list(tmp_path: Path) -> None:
    """As `datasets` keeps a Sequence of several keys."""
    row = {
        "instruction": BIRD,
        "completions": {"response": ["A", "B"], "overall_score": [2.0, 8.0], "model": ["a", "b"]},
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    assert said_by(str(tmp_path / "a.parquet")).comparisons == ["B > A"]


def test_a_score_that_no_completion_of_a_row_has_is_not_there(tmp_path: Path) -> None:
    """Parquet gives every completion the keys of all of them; one that has its own among others is bad without it."""

    def row(asked: str, *scores: tuple[float | None, float | None]) -> dict[str, Any]:
        texts = ("A", "B")
        return {"instruction": asked, "completions": [
            {"response": f"{text} {asked}", "overall_score": overall, "fine-grained_score": fine}
            for text, (overall, fine) in zip(texts, scores, strict=True)
        ]}  # fmt: skip

    rows = [row("p", (8, None), (2, None)), row("q", (1, 5), (9, 2)), row("r", (8, 4), (2, None))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = said_by(str(tmp_path / "a.parquet"), "skip")
    assert found.comparisons == ["A p > B p", "A q > B q"]
    assert found.report.skipped == {"not a number": 1}
    assert found.report.bad_rows[0].field == "completions[1].fine-grained_score"


def write_csv(path: Path, row: dict[str, Any]) -> str:
    """One row, its lists as JSON."""
    cells = {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(cells)
    return str(path)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": BIRD, "responses": ["A", "B"], "scores": [1, 2.5]},
        {"instruction": BIRD, "completions": [{"response": "A", "score": 1}, {"response": "B", "score": 2}]},
        {"instruction": BIRD, "generations": ["A", "B"], "ratings": [1, 5]},
        {"prompt": BIRD, "answers": [{"answer": "A", "rank": 2.0}, {"answer": "B", "rank": 1.0}]},
        {"prompt": BIRD, "responses": ["B", "A"]},
    ],
)
def test_json_of_a_list_in_a_cell_is_a_list(tmp_path: Path, row: dict[str, Any]) -> None:
    assert said_by(write_csv(tmp_path / "a.csv", row)).comparisons == ["B > A"]


def test_a_number_for_each_refuses_a_ranking_in_cells_too(tmp_path: Path) -> None:
    row = {"prompt": BIRD, "responses": ["A", "B"], "ranks": [2, 1]}
    with pytest.raises(ValueError, match=r"its column ranks has a number for each \(\[2, 1\]\)"):
        said_by(write_csv(tmp_path / "a.csv", row))


def test_a_list_as_python_writes_it_is_no_list_of_texts(tmp_path: Path) -> None:
    """numpy leaves the commas out, and Python would read two texts without one as one text."""
    path = write_csv(tmp_path / "a.csv", {"prompt": BIRD, "responses": "['A' 'B']"})
    assert said_by(path, "skip").report.skipped == {"not a list": 1}
