"""Values of a row are checked, never changed, guessed or evaluated."""

from jpo_dist.data.read import read
from tests.support.preference_files import ROWS, write_jsonl


def test_text_that_is_python_is_data(tmp_path):
    row = ROWS[0] | {"r_chosen": f"__import__('pathlib').Path({str(tmp_path / 'run')!r}).touch()"}
    comparisons, _ = read(str(write_jsonl(tmp_path / "a.jsonl", [row])), on_bad_row="error")
    assert comparisons.all_items()[0].response == row["r_chosen"]
    assert not (tmp_path / "run").exists()
