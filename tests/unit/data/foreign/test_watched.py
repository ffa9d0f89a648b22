"""A file that changes while it is read is noticed; no row takes more memory than its limit."""

import gzip
import io
import json
from pathlib import Path

import pytest

from jpo_dist.batches.load import reader_of
from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sft import SftDataConfig
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.examples import read_demonstrations
from jpo_dist.data.file_formats import Columns, rows_of
from jpo_dist.data.foreign import watched
from jpo_dist.data.read import read, read_candidates, read_source
from jpo_dist.data.read_report import BadRowError
from tests.support.rows import write_rows

ROWS = [{"prompt": f"say {n}", "chosen": "yes", "rejected": "no"} for n in range(2000)]
ALL = Columns(None, frozenset())


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path) -> None:
    """It was fewer rows, without a word."""
    file = Path(write_rows(tmp_path / "a.jsonl", ROWS))
    rows = rows_of(file, ALL)
    next(rows)
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)
    with pytest.raises(ValueError, match=rf"{file}: .*changed while it was read"):
        list(rows)


def test_a_line_without_an_end_is_one_bad_row(tmp_path: Path) -> None:
    good = json.dumps(ROWS[0]).encode() + b"\n"
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as file:
        file.write(good + b"\0" * 3_000_000 + b"\n" + good)
    _, report = read(str(tmp_path / "a.jsonl.gz"), on_bad_row="skip", max_row_mib=1)
    assert (report.rows, report.skipped) == (3, {"more than 1 MiB in one row (max_row_mib)": 1})
    assert [row.line for row in report.bad_rows] == [2]


def test_the_limit_of_a_row_is_a_setting_of_runs_and_sources(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [ROWS[0], {**ROWS[1], "chosen": "long " * 300_000}])
    sft = SftDataConfig(train=file, on_bad_row="skip")
    assert read_demonstrations(file, sft)[1].skipped == {}
    assert sum(read_demonstrations(file, sft.model_copy(update={"max_row_mib": 1}))[1].skipped.values()) == 1
    assert len(read_source(SourceConfig(path=file), "error").comparisons) == 2
    with pytest.raises(BadRowError, match="line 2: more than 1 MiB in one row"):
        read_source(SourceConfig(path=file, max_row_mib=1), "error")
    raw = {"model": {"path": "none"}, "data": {"train": file, "max_row_mib": 1}, "run": {"dir": "none"}}
    with pytest.raises(BadRowError, match="line 2: more than 1 MiB in one row"):
        reader_of(JpoConfig.model_validate(raw))(file)


def test_and_of_what_a_judge_is_given(tmp_path: Path) -> None:
    rows = [{"instruction": "k", "response_0": "a", "response_1": text} for text in ("b", "long " * 300_000)]
    file = write_rows(tmp_path / "a.jsonl", rows)
    assert len(read_candidates(file, on_bad_row="error")[0]) == 2
    with pytest.raises(BadRowError, match="line 2: more than 1 MiB in one row"):
        read_candidates(file, on_bad_row="error", max_row_mib=1)


def test_lines_are_those_of_the_stream() -> None:
    data = b"abc\nabcd\nabcdefghijk\n\nab"
    assert list(watched.lines(io.BytesIO(data), 4)) == [b"abc\n", None, None, b"\n", b"ab"]


def test_what_follows_a_defect_is_said_to_be_unread(tmp_path: Path) -> None:
    """Of a list of 1,000 rows 989 were gone, and the report spoke of 11."""
    (tmp_path / "a.json").write_text(json.dumps(ROWS[:1000], indent=1).replace('"say 10"', '"say 10', 1))
    (tmp_path / "a.csv").write_text('prompt,chosen,rejected\n1,a,b\n2,"a,b\n' + "3,a,b\n" * 9)
    for name in ("a.json", "a.csv"):
        _, report = read(str(tmp_path / name), on_bad_row="skip")
        assert "the rest of the file is not read" in " ".join(report.skipped), name
        with pytest.raises(ValueError, match="the rest of the file is not read"):
            read(str(tmp_path / name), on_bad_row="error")


def test_a_cell_over_lines_that_look_like_rows_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"{n},a,b\n" for n in range(50))
    (tmp_path / "a.csv").write_text(f'prompt,chosen,rejected\n1,a,"b\n{rows}2,c,b"\n3,a,b\n')
    assert read(str(tmp_path / "a.csv"), on_bad_row="error")[1].rows == 2
    assert "line 2: its rejected goes on to line 53 over lines that look like rows" in caplog.text
    prose = "".join(f"A line of prose {n},\nof a response.\n" for n in range(50))
    (tmp_path / "b.csv").write_text(f'prompt,chosen,rejected\n1,a,"{prose}"\n')
    assert read(str(tmp_path / "b.csv"), on_bad_row="error")[1].rows == 1
    assert "b.csv" not in caplog.text
