"""OpenAssistant's trees, flat and whole: threads, ranks, and messages whose thread is lost."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jpo_dist.config.sections import DataConfig
from jpo_dist.config.sft import SftDataConfig
from jpo_dist.data.examples import read_demonstrations, read_labelled
from tests.support.rows import write_rows
from tests.support.said import said, said_by

BIRD, FISH = "Name a bird.", "And a fish?"


def message(id_: str, parent: str | None, text: str, rank: int | None = None, **more: Any) -> dict[str, Any]:
    role = "prompter" if text.endswith((".", "?")) else "assistant"
    return {
        "message_id": id_, "parent_id": parent, "user_id": "u", "created_date": "d", "text": text, "role": role,
        "lang": "en", "review_count": 3, "review_result": True, "deleted": False, "rank": rank, "synthetic": False,
        "model_name": None, "message_tree_id": "1", "tree_state": "ready_for_export", "labels": None, **more,
    }  # fmt: skip


FLAT = [
    message("1", None, BIRD),
    message("2", "1", "spoon", 2),
    message("3", "1", "wren", 0),
    message("4", "1", "rook", 1),
    message("5", "3", FISH),
    message("7", "5", "fork", 1),
    message("6", "5", "carp", 0),
    message("8", None, "Hi?"),
    message("9", "8", "Hello"),
]
EXPECTED = ["carp > fork", "rook > spoon", "wren > rook", "wren > spoon"]
THREADS = [
    [("user", BIRD)],
    [("user", BIRD), ("assistant", "wren"), ("user", FISH)],
    [("user", "Hi?")],
]


def tree(rows: list[dict[str, Any]], root: str) -> dict[str, Any]:
    """The same messages as a line of *.trees.jsonl."""

    def node(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "replies": [node(one) for one in rows if one["parent_id"] == row["message_id"]]}

    first = next(row for row in rows if row["message_id"] == root)
    return {"message_tree_id": root, "tree_state": "ready_for_export", "prompt": node(first)}


def test_flat_rows_give_every_answer_its_thread_and_siblings_their_ranks(tmp_path: Path):
    found = said(tmp_path, FLAT)
    assert sorted(found.comparisons) == EXPECTED
    assert found.instructions == THREADS
    assert found.scores == {"spoon": -2.0, "wren": 0.0, "rook": -1.0, "fork": -1.0, "carp": 0.0, "Hello": None}
    assert (found.report.rows, found.report.responses, found.report.layouts) == (9, 6, {"oasst": 1})


def test_answers_may_stand_before_what_they_answer(tmp_path: Path):
    assert sorted(said(tmp_path, FLAT[::-1]).comparisons) == EXPECTED


def test_whole_trees_say_what_flat_rows_say(tmp_path: Path):
    trees = said(tmp_path, [tree(FLAT, "1"), tree(FLAT, "8")])
    flat = said(tmp_path, FLAT)
    assert sorted(trees.comparisons) == EXPECTED
    assert trees.scores == flat.scores
    assert sorted(trees.instructions) == sorted(flat.instructions)
    assert (trees.report.rows, trees.report.responses, trees.report.layouts) == (2, 6, {"oasst-trees": 1})


@pytest.mark.parametrize("without", [(), ("message_tree_id",)])
def test_an_export_that_leaves_out_what_is_null(tmp_path: Path, without: Any):
    rows = [{k: v for k, v in row.items() if v is not None and k not in without} for row in FLAT]
    found = said(tmp_path, rows)
    assert sorted(found.comparisons) == EXPECTED
    assert (found.report.rows, found.report.responses) == (9, 6)
    bare = said(tmp_path, [{k: v for k, v in tree(FLAT, "1").items() if k != "tree_state"}])
    assert sorted(bare.comparisons) == EXPECTED


def test_a_parquet_file_of_flat_rows(tmp_path: Path):
    rows = [{name: value for name, value in row.items() if name not in ("labels", "model_name")} for row in FLAT]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "o.parquet")
    assert sorted(said_by(str(tmp_path / "o.parquet")).comparisons) == EXPECTED


@pytest.mark.parametrize("rows", [FLAT, [tree(FLAT, "1"), tree(FLAT, "8")]], ids=["flat", "trees"])
def test_the_best_answers_are_imitated_and_the_worst_undesirable(tmp_path: Path, rows: Any):
    file = write_rows(tmp_path / "o.jsonl", rows)
    first, _ = read_demonstrations(file, SftDataConfig(train="unused"))
    assert sorted(item.response for item in first.all_items()) == ["Hello", "carp", "wren"]
    labelled, report = read_labelled(file, DataConfig(train="unused"))
    assert sorted(item.response for item in labelled.all_items()) == ["carp", "fork", "spoon", "wren"]
    assert (report.undesirable, report.left_out["no label"]) == (2, 1)


def test_ranks_of_two_prompts_are_never_compared(tmp_path: Path):
    rows = [*FLAT[:4], message("20", None, BIRD), message("21", "20", "owl", 0), message("22", "20", "cup", 1)]
    assert sorted(said(tmp_path, rows).comparisons) == sorted([*EXPECTED[1:], "owl > cup"])


def test_what_has_lost_its_thread_is_bad_and_what_is_deleted_is_left_out(tmp_path: Path):
    rows = [
        *FLAT[:4],
        message("30", "gone", "lost"),
        message("31", None, "alone"),
        message("32", "1", "old", deleted=True),
        message("33", "1", ""),
        {**message("34", "1", "said"), "role": "narrator"},
    ]
    rows[-2]["role"] = "assistant"
    found = said(tmp_path, rows, on_bad_row="skip")
    assert sorted(found.comparisons) == EXPECTED[1:]
    assert [(b.line, b.field, b.reason) for b in found.report.bad_rows] == [
        (5, "parent_id", "no such message in this file"),
        (6, "parent_id", "no instruction"),
        (8, "text", "empty"),
        (9, "role", "not prompter or assistant"),
    ]
    assert found.report.skipped["deleted"] == 1


def test_answers_below_a_bad_message_of_a_tree_are_counted(tmp_path: Path):
    whole = tree(FLAT, "1")
    whole["prompt"]["replies"][1]["replies"][0]["text"] = None
    found = said(tmp_path, [whole, whole["prompt"] and {**whole, "prompt": None}], on_bad_row="skip")
    assert sorted(found.comparisons) == EXPECTED[1:]
    assert found.report.skipped == {"not a string": 2, "not an object": 1}


def test_a_thread_that_goes_round_ends(tmp_path: Path):
    rows = [*FLAT[:4], message("40", "41", "round"), message("41", "40", "and round")]
    found = said(tmp_path, rows, on_bad_row="skip")
    assert found.report.skipped == {"no such message in this file": 2}
