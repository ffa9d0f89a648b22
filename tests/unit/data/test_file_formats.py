"""Every file format gives the same set, and numbers its bad rows as an editor would."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.data.file_formats import Columns, rows_of
from jpo_dist.data.foreign import json_window
from jpo_dist.data.read import read, scan
from jpo_dist.data.read_report import BadRow
from jpo_dist.records.comparisons import Item
from tests.support.preference_files import GOOD, ROWS, content, expected, write_csv, write_json, write_jsonl


def write_parquet(path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


def write_arrow_file(path: Path) -> Path:
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    return path


def write_arrow_stream(path: Path) -> Path:
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_jsonl),
        ("a.ndjson", write_jsonl),
        ("a.json", write_jsonl),
        ("a.json", write_json),
        ("a.csv", write_csv),
        ("a.parquet", write_parquet),
        ("a.arrow", write_arrow_file),
        ("a.arrow", write_arrow_stream),
    ],
)
def test_every_format_gives_the_same_comparisons(tmp_path, name, write):
    comparisons, report = read(str(write(tmp_path / name)), on_bad_row="error")
    assert content(comparisons) == expected()
    assert (report.rows, report.comparisons, report.joint, report.items, report.skipped) == (3, 3, 2, 5, {})


cells = st.one_of(
    st.sampled_from(
        ["a", "", " ", "NA", "null", "1", '"', "a,b", "\n", "\r", "\u2028", "x\0y", "'; eval(1)", "\ufeff"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.integers(1, 9).map(lambda n: "long " * 10**n if n < 5 else "🍐" * n),
)
pairs_of_cells = st.fixed_dictionaries({"prompt": cells, "chosen": cells, "rejected": cells})


@settings(max_examples=40, deadline=None)
@given(st.lists(pairs_of_cells, min_size=1, max_size=6))
def test_whatever_the_text_every_format_says_the_same_of_every_row(tmp_path_factory, rows):
    """Huge, empty, repeated and hostile texts: the same comparisons and the same refusals, in the same order."""
    folder = tmp_path_factory.mktemp("formats")
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "a.jsonl").write_bytes(lines)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines, 1))
    (folder / "a.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8", newline="")
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    found = []
    for name in ("a.jsonl", "a.jsonl.gz", "a.json", "a.parquet", "a.csv"):
        built, report = scan(str(folder / name), on_bad_row="skip")
        assert report.rows == len(rows) == report.comparisons + sum(report.skipped.values()), name
        found.append((content(built), [(bad.field, bad.reason) for bad in report.bad_rows]))
    assert found == found[:1] * 5
    good = [r for r in rows if all(t.strip() and "\0" not in t for t in r.values()) and r["chosen"] != r["rejected"]]
    wanted = [(Item.of(r["prompt"], r["chosen"]), Item.of(r["prompt"], r["rejected"]), 1.0) for r in good]
    assert found[0][0] == wanted


def test_bom_crlf_and_blank_lines_are_not_rows_but_lines_are_counted(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n   \n" + GOOD + b"\r\n\n[1]\r\n" + GOOD)
    comparisons, report = read(str(file), on_bad_row="skip")
    assert report.rows == 4
    assert report.bad_rows == (BadRow(str(file), 6, "", "not an object"),)
    assert comparisons.comparisons["source"].to_pylist() == ["a.jsonl:1", "a.jsonl:4", "a.jsonl:7"]


def test_json_list_reports_lines_and_reads_up_to_a_defect(tmp_path):
    file = tmp_path / "a.json"
    good = GOOD.decode()
    file.write_bytes(
        f'\n[\n{good},\n{{"i_chosen":\n1}}, 7,\n{good.replace("Pear", "ÿ")}'.encode("latin-1") + b",\n{oops"
    )
    comparisons, report = read(str(file), on_bad_row="skip")
    assert len(comparisons) == 1
    assert [(bad.line, bad.field, bad.reason.partition(";")[0]) for bad in report.bad_rows] == [
        (4, "r_chosen", "missing field"), (5, "", "not an object"), (6, "", "not utf-8"), (7, "", "not json"),
    ]  # fmt: skip


@pytest.mark.parametrize("tail", ["", "]\n[1]", "] x"])
def test_json_list_that_does_not_end_well_is_not_read_in_silence(tmp_path, tail):
    (tmp_path / "a.json").write_text(f"[{GOOD.decode()}{tail}")
    _, report = read(str(tmp_path / "a.json"), on_bad_row="skip")
    assert [reason.partition(";")[0] for reason in report.skipped] == ["not json"]
    assert list(report.skipped.values()) == [1]


def test_csv_bad_rows(tmp_path):
    file = tmp_path / "a.csv"
    lines = [
        b"\xef\xbb\xbfprompt,chosen,rejected,weight",
        b'"two\nlines",a,b,1',
        b"",
        b"p,a,b,1,extra",
        b"p,a",
        b"p,\xff,b,1",
        b"p,a,b,heavy",
        b"p,a,b,",
        b"p,a,b,nan",
        b"p,,b,1",
        b'p,"a"x,b,1',
        b'p,"never closed',
    ]
    file.write_bytes(b"\r\n".join(lines))
    comparisons, report = read(str(file), on_bad_row="skip")
    assert content(comparisons) == [
        (Item.of("two\nlines", "a"), Item.of("two\nlines", "b"), 1.0),
        (Item.of("p", "a"), Item.of("p", "b"), 1.0),  # an empty weight is none
    ]
    assert [(bad.line, bad.field, bad.reason) for bad in report.bad_rows] == [
        (5, "", "more cells than columns"), (6, "rejected", "missing field"), (7, "chosen", "not utf-8"),
        (8, "weight", "bad weight"), (10, "weight", "not finite"),
        (11, "chosen", "empty"), (12, "", "not csv"), (13, "", "not csv"),
    ]  # fmt: skip


def test_csv_with_a_cell_of_a_megabyte_is_fine(tmp_path):
    (tmp_path / "a.csv").write_text(f"prompt,chosen,rejected\np,{'a' * 2**20},b\n")
    assert len(read(str(tmp_path / "a.csv"), on_bad_row="error")[0]) == 1


def test_parquet_bad_rows_are_counted_by_row(tmp_path):
    texts = pa.array([b"a", b"\xff\xfe", b"a", b"a"]).view(pa.string())  # Arrow does not check what it writes
    table = pa.table(
        {"prompt": ["p", "p", None, "p"], "chosen": texts, "rejected": ["b"] * 4, "weight": [1, 1, 1, None]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    comparisons, report = read(str(tmp_path / "a.parquet"), on_bad_row="skip")
    assert len(comparisons) == 2
    assert [str(bad).split(", ", 1)[1] for bad in report.bad_rows] == [
        "row 2: chosen: not utf-8", "row 3: prompt: not a string",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl.gz", "a.csv.gz"])
def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(GOOD)
    with pytest.raises(ValueError, match=rf"{name}: cannot be read as"):
        read(str(tmp_path / name), on_bad_row="skip")


def test_chat_messages_through_parquet(tmp_path):
    rows = [{"chosen": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": text}],
             "rejected": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "5"}]}
            for text in ("4", "four")]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    comparisons, report = read(str(tmp_path / "a.parquet"), on_bad_row="error")
    assert (report.joint, report.items) == (0, 3)
    assert comparisons.all_items()[0] == Item.of("2+2?", "4")


@pytest.mark.parametrize(
    ("name", "write"), [("a.jsonl.gz", write_jsonl), ("a.json.gz", write_json), ("a.csv.gz", write_csv)]
)
def test_packed_files_are_read_as_what_is_in_them(tmp_path, name, write):
    plain = write(tmp_path / "plain")
    (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes() + b"{" * name.startswith("a.jsonl")))
    comparisons, report = read(str(tmp_path / name), on_bad_row="skip")
    assert content(comparisons) == expected()
    assert [str(bad) for bad in report.bad_rows] == [f"{tmp_path / name}, line 4: not json"] * (name == "a.jsonl.gz")


@pytest.mark.parametrize("window", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("end", ["]", "]\n ", "", "] x", ", {]", '{"prompt": "\udcff'])
def test_a_json_list_is_the_same_however_little_of_it_is_looked_at(tmp_path, monkeypatch, window, end):
    rows = [{"prompt": "é🍐\n", "n": [1, {"x": "]"}]}, 12, {"prompt": "b"}, "text", {"n": 1.5e3}]
    text = "\ufeff \n[" + ",\n\n".join(json.dumps(row, ensure_ascii=False, indent=n % 2) for n, row in enumerate(rows))
    file = tmp_path / "a.json"
    file.write_bytes((text + end).encode("utf-8", "surrogateescape"))

    def read_again() -> list[Any]:
        found = rows_of(file, Columns(None, frozenset()))
        return [(line, row if isinstance(row, dict) else row.reason) for line, row in found]

    whole = read_again()
    monkeypatch.setattr(json_window, "WINDOW", window)
    assert read_again() == whole
    good = [row if isinstance(row, dict) else "not an object" for row in rows]
    assert [row for _, row in whole[: len(rows)]] == good
    assert [line for line, _ in whole[:3]] == [2, 12, 14]
    assert len(whole) == len(rows) + (end.strip() != "]")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_key_that_stands_twice_is_told_wherever_it_is(tmp_path, caplog, name):
    """Also in an object within a row. A key in a text, or one with a backslash, is none of the row."""
    said = [json.dumps({"prompt": '{"a": 1, "a": 2}', "chosen": f"\\\\ {n}", "rejected": "b"}) for n in range(500)]
    said[400] = '{"prompt": [{"role": "user", "content": "p", "content": "q"}], "chosen": "a", "rejected" : "b"}'
    lines = "\n".join(said) if name == "a.jsonl" else "[" + ",\n".join(said) + "]"
    (tmp_path / name).write_text(lines)
    assert read(str(tmp_path / name), on_bad_row="error")[1].rows == 500
    assert f"{name}, line 401: content stands there twice, and the last one counts" in caplog.text
    assert caplog.text.count("stands there twice") == 1


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_colon_in_a_text_hides_no_key_that_stands_twice(tmp_path, caplog, name):
    """The text has one colon behind a quote more than keys, and the key with a space before its colon one less."""
    row = '{"prompt": "say \\":", "chosen": "a", "rejected" :"b", "rejected" :"c"}'
    (tmp_path / name).write_text(row if name == "a.jsonl" else f"[{row}]")
    assert read(str(tmp_path / name), on_bad_row="error")[1].rows == 1
    assert f"{name}, line 1: rejected stands there twice" in caplog.text


def test_a_key_that_stands_twice_is_told_and_1_0_is_no_number(tmp_path, caplog):
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "chosen": "a", "chosen": "c", "rejected": "b"}\n')
    found, _ = read(str(tmp_path / "a.jsonl"), on_bad_row="error")
    assert found.items["response"].to_pylist() == ["c", "b"]
    assert "a.jsonl, line 1: chosen stands there twice, and the last one counts" in caplog.text
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected,weight\np,a,b,1_0\n")
    with pytest.raises(ValueError, match="weight: bad weight"):
        read(str(tmp_path / "a.csv"), on_bad_row="error")


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(("name", "write"), [("a.jsonl", write_jsonl), ("a.json", write_json), ("a.csv", write_csv)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_text_with_a_mark_of_its_encoding_is_the_same_text(tmp_path, monkeypatch, coding, name, write, pack):
    """As Excel and PowerShell write it; however little of it is looked at together."""
    text = write(tmp_path / "plain").read_text(encoding="utf-8").replace("ear", "êar 🍐")
    mark = "\ufeff" if coding == "utf-16-be" else ""  # the others write it themselves
    file = tmp_path / (name + ".gz" * (pack is gzip.compress))
    file.write_bytes(pack((mark + text).encode(coding)))
    plain = tmp_path / f"b.{name[2:]}"
    plain.write_text(text, encoding="utf-8", newline="")
    wanted = content(read(str(plain), on_bad_row="error")[0])
    for window in (1 << 20, 3):
        monkeypatch.setattr(json_window, "WINDOW", window)
        assert content(read(str(file), on_bad_row="error")[0]) == wanted


def test_a_mark_between_two_files_that_were_put_together_is_no_part_of_a_row(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(2 * (b"\xef\xbb\xbf" + GOOD + b"\n"))
    assert read(str(tmp_path / "a.jsonl"), on_bad_row="error")[1].rows == 2


def test_half_a_character_of_utf_16_is_an_error_in_words(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(GOOD.decode().encode("utf-16") + b"\x00")
    with pytest.raises(ValueError, match=r"a\.jsonl: cannot be read as jsonl: 'utf-16"):
        read(str(tmp_path / "a.jsonl"), on_bad_row="skip")


PAIR = {"prompt": "Name a bird.", "chosen": "A wren.", "rejected": "A spoon."}
ANOTHER = {"prompt": "Name a fish.", "chosen": "A cod, or }\n {.", "rejected": "A spoon."}


@pytest.mark.parametrize("between", ["\n", "\n\n", "", " ", ",\n"])
def test_objects_over_several_lines_are_rows(tmp_path, between):
    """As jq prints them: each line was a bad row."""
    (tmp_path / "a.json").write_text(between.join(json.dumps(row, indent=2) for row in (PAIR, ANOTHER)) + "\n")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (PAIR, ANOTHER)))
    found, report = read(str(tmp_path / "a.json"), on_bad_row="error")
    assert content(found) == content(read(str(tmp_path / "b.jsonl"), on_bad_row="error")[0])
    assert report.rows == 2


def test_lines_of_which_the_first_is_cut_off_are_lines_still(tmp_path):
    (tmp_path / "a.json").write_text('{"prompt": "Name a bird.",\n' + json.dumps(PAIR) + "\n")
    _, report = read(str(tmp_path / "a.json"), on_bad_row="skip")
    assert (report.rows, report.comparisons, report.skipped) == (2, 1, {"not json": 1})


@pytest.mark.parametrize(
    ("whole", "says"),
    [
        ({"data": [PAIR, ANOTHER]}, r"its data may be the rows \(2\): .*jq -c '\.data\[\]' FILE"),
        ({"version": "1", "train": [PAIR]}, r"its train may be the rows \(1\): .*jq -c '\.train\[\]' FILE"),
        ({"rows": [{"row_idx": 0, "row": PAIR}]}, r"jq -c '\.rows\[\]\.row' FILE"),
        ({name: {"0": value} for name, value in PAIR.items()}, r'column by column, .*orient="records", lines=True'),
        ({"columns": list(PAIR), "index": [0], "data": [list(PAIR.values())]}, r'orient="records", lines=True'),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_that_is_one_object_is_told_how_to_become_rows(tmp_path, whole, says, indent):
    (tmp_path / "a.json").write_text(json.dumps(whole, indent=indent))
    with pytest.raises(ValueError, match=says):
        read(str(tmp_path / "a.json"), on_bad_row="skip")


def test_a_row_of_no_layout_with_a_list_in_it_is_no_table(tmp_path):
    row = {"question": "Name a bird.", "replies": [{"said": "A wren."}], "turns": [{"role": "user", "content": "Hi"}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError, match="are of no known layout"):
        read(str(tmp_path / "a.jsonl"), on_bad_row="error")


@pytest.mark.parametrize(("between", "told"), [("\t", "tabs"), (";", "semicolons")])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_cells_of_a_spreadsheet_may_stand_between_tabs_or_semicolons(tmp_path, caplog, between, told, quoting):
    rows = [{**PAIR, "score_chosen": "2.5", "score_rejected": "1"}, {**ANOTHER, "score_chosen": 3, "score_rejected": 1}]
    for name, delimiter in (("a.csv", between), ("b.csv", ",")):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, quoting=quoting)
            writer.writeheader()
            writer.writerows(rows)
    found = read(str(tmp_path / "a.csv"), on_bad_row="error")[0]
    assert content(found) == content(read(str(tmp_path / "b.csv"), on_bad_row="error")[0])
    assert caplog.text.count(f"read with {told} between its cells") == 1


def test_a_column_of_one_name_alone_stays_one(tmp_path):
    """A semicolon in a quoted name, or beside commas, separates nothing."""
    (tmp_path / "a.csv").write_text('prompt,chosen,rejected,"note; more"\np,a; b,c,d\n')
    found, _ = read(str(tmp_path / "a.csv"), on_bad_row="error")
    assert found.items["response"].to_pylist() == ["a; b", "c"]
