"""Arrow and Parquet files of strangers end in rows or in a sentence, and never take the process with them."""

import datetime
import decimal
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jpo_dist.data.foreign import tables
from jpo_dist.data.read import read

PAIRS = {"prompt": ["p", "q", "r"], "chosen": ["a", "b", "c"], "rejected": ["x", "y", "z"]}


def write_arrow(table: pa.Table, path: Path) -> str:
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)
    return str(path)


def write_parquet(table: pa.Table, path: Path) -> str:
    pq.write_table(table, path)
    return str(path)


WRITERS = {"arrow": write_arrow, "parquet": write_parquet}
BAD_TEXT = pa.array([b"ok", b"\xff\xfe", b"ok"])


@pytest.mark.parametrize("kind", WRITERS)
def test_what_nobody_reads_spoils_no_row(tmp_path: Path, kind: str) -> None:
    """A date in the year 300,000 and bad UTF-8 in columns beside the pairs made every row a bad one, or a traceback."""
    late = pa.array([0, 10**17, 0], pa.int64()).cast(pa.timestamp("us"))
    table = pa.table({**PAIRS, "when": late, "notes": BAD_TEXT.view(pa.string())})
    found, report = read(WRITERS[kind](table, tmp_path / f"a.{kind}"), on_bad_row="error")
    assert (len(found), report.rows, report.skipped) == (3, 3, {})


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_read_and_bad_spoils_its_row(tmp_path: Path, kind: str) -> None:
    table = pa.table({**PAIRS, "chosen": BAD_TEXT.view(pa.string())})
    found, report = read(WRITERS[kind](table, tmp_path / f"a.{kind}"), on_bad_row="skip")
    assert (len(found), report.rows, report.skipped) == (2, 3, {"not utf-8": 1})


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", "b", "c"]).dictionary_encode(), pa.array(["a", "b", "c"], pa.large_string()),
        pa.array(["a", "b", "c"], pa.string_view()),
    ],
)  # fmt: skip
def test_text_of_every_type_is_text(tmp_path: Path, values: pa.Array) -> None:
    found, _ = read(write_arrow(pa.table({**PAIRS, "chosen": values}), tmp_path / "a.arrow"), on_bad_row="error")
    assert [c["winner"] for c in found.comparisons.to_pylist()] == [0, 2, 4]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("values", "became"),
    [
        (pa.array([b"A wren.", None]), ["A wren.", None]),
        (pa.array([b"A wren."], pa.binary_view()), ["A wren."]),
        (pa.array([b"A wren."]).dictionary_encode(), ["A wren."]),
        (pa.array([b"\x89PNG"]), [b"\x89PNG"]),
        (pa.array([{"bytes": b"\x89PNG", "path": "a.png"}]), [{"bytes": b"\x89PNG", "path": "a.png"}]),
        (pa.array([decimal.Decimal("4.50"), None]), [4.5, None]),
        (pa.array([[decimal.Decimal("4.5"), None], None]), [[4.5, None], None]),
        (pa.array([{"s": decimal.Decimal(2), "t": "x"}]), [{"s": 2.0, "t": "x"}]),
        (pa.array([[[("role", "user"), ("content", "Hi")]]], pa.list_(pa.map_(pa.string(), pa.string()))),
         [[{"role": "user", "content": "Hi"}]]),
        (pa.array([[("score", decimal.Decimal(2)), ("other", None)]], pa.map_(pa.string(), pa.decimal128(3, 1))),
         [{"score": 2.0, "other": None}]),
        (pa.array(['"A wren."', '[{"type": "text"}]', None, "1.5"], pa.json_()),
         ["A wren.", [{"type": "text"}], None, 1.5]),
    ],
)  # fmt: skip
def test_types_that_json_lacks_become_what_it_has(tmp_path: Path, kind: str, values: pa.Array, became: list[Any]):
    path = WRITERS[kind](pa.table({"it": values}), tmp_path / f"a.{kind}")
    rows = tables.arrow_rows if kind == "arrow" else tables.parquet_rows
    found = [row["it"] for _, row in rows(Path(path), None) if isinstance(row, dict)]
    assert found == became
    assert list(map(type, found)) == list(map(type, became))


@pytest.mark.parametrize("kind", WRITERS)
def test_contents_of_several_types_are_read_as_they_were_written(tmp_path: Path, kind: str) -> None:
    """`datasets` keeps contents that are texts here and parts there as JSON: every text had its quotes around it."""

    def chat(*contents: str) -> pa.Array:
        roles = pa.array(["user", "assistant"][: len(contents)])
        turns = pa.StructArray.from_arrays(
            [roles, pa.array(map(json.dumps, contents), pa.json_())], ["role", "content"]
        )
        return pa.ListArray.from_arrays(pa.array([0, len(contents)], pa.int32()), turns)

    asked = "Name a bird."
    table = pa.table({"chosen": chat(asked, "A wren."), "rejected": chat(asked, "A spoon.")})
    found, _ = read(WRITERS[kind](table, tmp_path / f"a.{kind}"), on_bad_row="error")
    assert [(item.instruction[0].content, item.response) for item in found.all_items()] == [
        (asked, "A wren."), (asked, "A spoon."),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pa.array(["{", '"x"'], pa.json_()), "not json"),
        (pa.array([[("a", "x"), ("a", "y")], [("a", "x")]], pa.map_(pa.string(), pa.string())),
         "a map with one key twice"),
    ],
)  # fmt: skip
def test_a_value_that_json_cannot_have_spoils_its_row(tmp_path: Path, values: pa.Array, reason: str) -> None:
    table = pa.table({"prompt": values})
    (_, bad), (_, good) = tables.parquet_rows(Path(write_parquet(table, tmp_path / "a.parquet")), frozenset({"prompt"}))
    assert isinstance(bad, tables.BadField)
    assert (bad.field, bad.reason) == ("prompt", reason)
    assert isinstance(good, dict)


@pytest.mark.parametrize("kind", WRITERS)
def test_two_columns_of_one_name_are_named(tmp_path: Path, kind: str) -> None:
    table = pa.table([*(pa.array(column) for column in PAIRS.values()), pa.array(["1", "2", "3"])], [*PAIRS, "chosen"])
    with pytest.raises(ValueError, match="two columns have the same name: 'chosen'; rename one"):
        read(WRITERS[kind](table, tmp_path / f"a.{kind}"), on_bad_row="error")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[b"\xff"], [], None]).cast(pa.list_(pa.binary())), pa.array([{"a": b"\xff"}, None, {"a": b""}]),
        BAD_TEXT.dictionary_encode(), BAD_TEXT, pa.array([1, 2, 3]),
    ],
)  # fmt: skip
def test_text_is_looked_at_as_bytes_where_it_is_bad(column: pa.Array) -> None:
    found = tables.without_text(column)
    found.validate(full=True)
    assert found.to_pylist() == column.to_pylist()


READS = """
import json, sys
from jpo_dist.data.read import read
try:
    found, report = read(sys.argv[1], on_bad_row="skip")
    print(json.dumps(["read", report.rows]))
except (ValueError, FileNotFoundError) as error:
    print(json.dumps(["refused", str(error)]))
"""


def became_of(file: Path) -> Any:
    done = subprocess.run([sys.executable, "-c", READS, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-500:]}"
    return json.loads(done.stdout)


def test_an_offset_that_leads_out_of_the_file_is_a_sentence(tmp_path: Path) -> None:
    """It was a segmentation fault."""
    path = Path(write_arrow(pa.table(PAIRS), tmp_path / "a.arrow"))
    ends = pa.table(PAIRS)["rejected"].chunk(0).buffers()[1].to_pybytes()[:16]
    whole = path.read_bytes()
    assert whole.count(ends) >= 1
    path.write_bytes(whole.replace(ends, ends[:12] + (1 << 30).to_bytes(4, "little")))
    kind, said = became_of(path)
    assert kind == "refused"
    assert str(path) in said


def test_a_nanosecond_is_no_traceback(tmp_path: Path) -> None:
    times = pa.array([datetime.datetime(2020, 1, 1)] * 3, pa.timestamp("ns"))
    odd = pa.array([1, 2, 3], pa.int64()).cast(pa.timestamp("ns"))
    for column in (times, odd):
        table = pa.table({**PAIRS, "t": column})
        assert len(read(write_arrow(table, tmp_path / "a.arrow"), on_bad_row="error")[0]) == 3
