"""Bad rows are named with file, line, field and reason, and the rest of them counted."""

import json
import pickle

import pytest

from jpo_dist.data.read import read
from jpo_dist.data.read_report import BadRowError
from tests.support.preference_files import GOOD


def test_error_names_file_line_field_reason_how_many_others_and_the_fix(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"\n".join([GOOD, b"", GOOD.replace(b"Pear.", b" "), GOOD, b"{", b"[]"]))
    with pytest.raises(BadRowError) as caught:
        read(str(file), on_bad_row="error")
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.file, error.line, error.field, error.reason, error.others) == (str(file), 3, "r_chosen", "empty", 2)
    assert isinstance(error, ValueError)
    assert f"{file}, line 3: r_chosen: empty (2 more" in str(error)
    assert "data.on_bad_row=skip" in str(error)


@pytest.mark.parametrize(
    ("bad", "told"), [(1, "r_chosen: empty. Correct"), (2, "empty (1 more bad row in this file). C")]
)
def test_an_error_speaks_of_other_bad_rows_only_where_there_are_some(tmp_path, bad, told):
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([GOOD, *[GOOD.replace(b"Pear.", b" ")] * bad]))
    with pytest.raises(BadRowError) as caught:
        read(str(tmp_path / "a.jsonl"), on_bad_row="error")
    assert told in str(caught.value)


def test_report_for_people_names_twenty_rows_and_counts_the_rest(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([GOOD] + [b"{"] * 25))
    _, report = read(str(tmp_path / "a.jsonl"), on_bad_row="skip")
    lines = report.lines()
    assert lines[0] == "26 rows: 1 comparisons (1 conditional, 0 joint) of 2 items, 25 bad rows skipped"
    assert lines[1] == "  25 x not json"
    assert lines[2] == f"    {tmp_path / 'a.jsonl'}, line 2: not json"
    assert lines[-2] == "    and 5 more"
    assert lines[-1] == f"  {tmp_path / 'a.jsonl'}: layout paper; read: i_chosen, r_chosen, i_reject, r_reject, weight"
    assert json.loads(json.dumps(report.as_dict()))["skipped"] == {"not json": 25}
