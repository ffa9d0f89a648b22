"""Reading files: what counts as a row, what is refused, and counts that add up."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.data.read import read
from jpo_dist.data.read_report import BadRow
from tests.support.preference_files import GOOD, ROWS, content, expected, write_jsonl

HELPFUL = Path(__file__).parents[3] / "../shared/data/helpful/val_conditional_pref.jsonl"
BAD_LINES = [
    (b"{", "", "not json"),
    (b"", None, None),
    (GOOD + GOOD, "", "not json"),
    (b'{"i_chosen": ' + b"1" * 5000 + b"}", "", "not json"),
    (b"[" * 200_000, "", "not json"),
    (b'"text"', "", "not an object"),
    (b"null", "", "not an object"),
    (b'{"i_chosen": "\xff\xfe"}', "", "not utf-8"),
    (GOOD.replace(b"Pear.", "ä".encode("latin-1")), "", "not utf-8"),
    (json.dumps({"i_chosen": "a", "r_chosen": "b", "i_reject": "c"}).encode(), "r_reject", "missing field"),
    (json.dumps(ROWS[0] | {"r_chosen": None}).encode(), "r_chosen", "not a string"),
    (GOOD.replace(b"Pear.", rb"Pear\ud83c"), "r_chosen", "lone surrogate"),
    (GOOD.replace(b"Pear.", rb"Pear\u0000"), "r_chosen", "nul character"),
    (GOOD.replace(b"1.0", b"NaN"), "weight", "not finite"),
    (GOOD.replace(b"1.0", b"1e999"), "weight", "not finite"),
    (json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}).encode(), "i_chosen", "missing field"),
    (json.dumps(ROWS[0] | {"r_reject": "Pear."}).encode(), "r_reject", "winner equals loser"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "field", "reason"), [bad for bad in BAD_LINES if bad[0]])
def test_one_bad_line_is_one_bad_row_and_the_next_line_is_read(tmp_path, line, field, reason):
    file = tmp_path / "a.jsonl"
    file.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    comparisons, report = read(str(file), on_bad_row="skip")
    assert content(comparisons) == expected([ROWS[0], ROWS[0]])
    assert report.bad_rows == (BadRow(str(file), 2, field, reason),)
    assert report.skipped == {reason: 1}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*BAD_LINES, (GOOD, None, None)]), max_size=30), st.sampled_from([b"\n", b"\r\n"]))
def test_counts_add_up_whatever_the_lines(tmp_path_factory, lines, newline):
    file = tmp_path_factory.mktemp("lines") / "a.jsonl"
    file.write_bytes(newline.join([GOOD] * 31 + [line for line, _, _ in lines]))
    comparisons, report = read(str(file), on_bad_row="skip")
    good = 31 + sum(line == GOOD for line, _, _ in lines)
    reasons = [reason for _, _, reason in lines if reason]
    assert report.rows == report.comparisons + sum(report.skipped.values()) == good + len(reasons)
    assert report.skipped == {reason: reasons.count(reason) for reason in reasons}
    assert len(comparisons) == report.comparisons == good
    assert report.repeated == good - 1
    assert [bad.reason for bad in report.bad_rows] == reasons[:20]


@pytest.mark.parametrize("where", ["", [], ["a.jsonl", ""]])
def test_an_empty_name_is_not_the_folder_one_stands_in(tmp_path, monkeypatch, where):
    write_jsonl(tmp_path / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="nothing is named; name a file"):
        read(where, on_bad_row="error")


def test_a_row_without_its_prompt_does_not_pass_for_an_implicit_one(tmp_path):
    row = {"prompt": "Name a fruit.", "chosen": "It is a pear.", "rejected": "It is a brick."}
    lost = {key: row[key] for key in ("chosen", "rejected")}
    _, report = read(str(write_jsonl(tmp_path / "a.jsonl", [lost, row, row])), on_bad_row="skip")
    assert report.bad_rows == (BadRow(str(tmp_path / "a.jsonl"), 1, "prompt", "missing field"),)
    _, report = read(str(write_jsonl(tmp_path / "b.jsonl", [lost, row, lost])), on_bad_row="skip")
    assert report.bad_rows == (BadRow(str(tmp_path / "b.jsonl"), 2, "", "another layout"),)


def test_unknown_columns_are_named_with_the_known_layouts(tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", [{"said": "a", "reply": "b"}, {"winner": "c"}])
    with pytest.raises(ValueError, match=r"a\.jsonl: its columns \(reply, said, winner\) .* prompt chosen rejected"):
        read(str(file), on_bad_row="skip")


@pytest.mark.parametrize("data", [b"", b"\n\n", b"{\n"])
def test_no_comparison_at_all_is_an_error(tmp_path, data):
    (tmp_path / "a.jsonl").write_bytes(data)
    with pytest.raises(ValueError, match="no comparisons"):
        read(str(tmp_path / "a.jsonl"), on_bad_row="skip")


def test_duplicates_and_contradictions_are_kept_and_reported(tmp_path):
    swapped = {"i_chosen": "Name a fruit.", "r_chosen": "Mud.", "i_reject": "Name a fruit.", "r_reject": "Pear."}
    file = write_jsonl(tmp_path / "a.jsonl", [ROWS[0], ROWS[0], swapped, ROWS[1]])
    comparisons, report = read(str(file), on_bad_row="error")
    assert (len(comparisons), comparisons.num_items) == (4, 4)
    assert (report.repeated, report.contradictions) == (1, 3)
    assert "1 comparisons repeat an earlier one" in "\n".join(report.lines())


def test_the_helpful_validation_file_is_363_conditional_comparisons_of_726_items():
    if not HELPFUL.is_file():
        pytest.skip(f"{HELPFUL} is not here")
    comparisons, report = read(str(HELPFUL), on_bad_row="error")
    assert (report.rows, report.comparisons, report.joint, report.items, report.skipped) == (363, 363, 0, 726, {})
    assert (report.repeated, report.contradictions) == (0, 0)
    raw = [json.loads(line) for line in HELPFUL.read_text(encoding="utf-8").splitlines()]
    assert content(comparisons) == expected([row | {"weight": 1.0} for row in raw])


def test_rotated_losers_of_the_helpful_file_are_joint_and_use_the_same_items(tmp_path):
    if not HELPFUL.is_file():
        pytest.skip(f"{HELPFUL} is not here")
    rows = [json.loads(line) for line in HELPFUL.read_text(encoding="utf-8").splitlines()]
    losers = [{key: row[key] for key in ("i_reject", "r_reject")} for row in rows[1:] + rows[:1]]
    rotated = [row | loser for row, loser in zip(rows, losers, strict=True)]
    joint, report = read(str(write_jsonl(tmp_path / "a.jsonl", rotated)), on_bad_row="error")
    assert (report.joint, report.items) == (363, 726)
    conditional, _ = read(str(HELPFUL), on_bad_row="error")
    assert set(joint.items["id"].to_pylist()) == set(conditional.items["id"].to_pylist())
