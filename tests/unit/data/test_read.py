"""Reading files: what counts as a row, how bad ones are named and counted, and that every format gives the same set."""

import csv
import gzip
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.data.read import read, scan
from jpo_dist.data.read_report import BadRow, BadRowError
from jpo_dist.records.comparisons import ComparisonSet, Item
from jpo_dist.records.folder import write_set
from tests.support.hub import hub

HELPFUL = Path(__file__).parents[3] / "../shared/data/helpful/val_conditional_pref.jsonl"
ROWS = [
    {"i_chosen": "Name a fruit.", "r_chosen": "Pear.", "i_reject": "Name a fruit.", "r_reject": "Mud.", "weight": 1.0},
    {"i_chosen": "Où? 🍐\r\n\"là\", ici", "r_chosen": "NA", "i_reject": "أين؟", "r_reject": "42", "weight": 0.5},
    {"i_chosen": "Name a fruit.", "r_chosen": "Pear.", "i_reject": "أين؟", "r_reject": "null\u2028x", "weight": 2.0},
]  # fmt: skip
GOOD = json.dumps(ROWS[0]).encode()


def expected(rows: list[dict] = ROWS) -> list[tuple[Item, Item, float]]:
    return [(Item.of(r["i_chosen"], r["r_chosen"]), Item.of(r["i_reject"], r["r_reject"]), r["weight"]) for r in rows]


def content(comparisons: ComparisonSet) -> list[tuple[Item, Item, float]]:
    sides = zip(comparisons.winners_C, comparisons.losers_C, comparisons.weights_C, strict=True)
    items = comparisons.all_items()
    return [(items[w], items[v], weight) for w, v, weight in sides]


def write_jsonl(path: Path, rows: list[dict] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_json(path: Path) -> Path:
    path.write_text(json.dumps(ROWS, indent=2), encoding="utf-8")
    return path


def write_csv(path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    return path


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
    file = write_jsonl(tmp_path / "a.jsonl", [{"question": "a", "answer": "b"}, {"winner": "c"}])
    with pytest.raises(
        ValueError, match=r"a\.jsonl: its columns \(answer, question, winner\) .* prompt chosen rejected"
    ):
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


def test_json_list_reports_lines_and_reads_up_to_a_defect(tmp_path):
    file = tmp_path / "a.json"
    good = GOOD.decode()
    file.write_bytes(
        f'\n[\n{good},\n{{"i_chosen":\n1}}, 7,\n{good.replace("Pear", "ÿ")}'.encode("latin-1") + b",\n{oops"
    )
    comparisons, report = read(str(file), on_bad_row="skip")
    assert len(comparisons) == 1
    assert [(bad.line, bad.field, bad.reason) for bad in report.bad_rows] == [
        (4, "r_chosen", "missing field"), (5, "", "not an object"), (6, "", "not utf-8"), (7, "", "not json"),
    ]  # fmt: skip


@pytest.mark.parametrize("tail", ["", "]\n[1]", "] x"])
def test_json_list_that_does_not_end_well_is_not_read_in_silence(tmp_path, tail):
    (tmp_path / "a.json").write_text(f"[{GOOD.decode()}{tail}")
    _, report = read(str(tmp_path / "a.json"), on_bad_row="skip")
    assert report.skipped == {"not json": 1}


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
    assert content(comparisons) == [(Item.of("two\nlines", "a"), Item.of("two\nlines", "b"), 1.0)]
    assert [(bad.line, bad.field, bad.reason) for bad in report.bad_rows] == [
        (5, "", "more cells than columns"), (6, "rejected", "missing field"), (7, "chosen", "not utf-8"),
        (8, "weight", "bad weight"), (9, "weight", "bad weight"), (10, "weight", "not finite"),
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
    assert len(comparisons) == 1
    assert [str(bad).split(", ", 1)[1] for bad in report.bad_rows] == [
        "row 2: not utf-8", "row 3: prompt: not a string", "row 4: weight: bad weight",
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


def test_what_save_to_disk_writes_is_read_split_by_split(tmp_path):
    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(tmp_path / "one")
    parts = datasets.DatasetDict(train=whole.shuffle(seed=1).select([0, 1]), test=whole.select([2]))
    parts.save_to_disk(tmp_path / "several")
    assert content(read(str(tmp_path / "one"), on_bad_row="error")[0]) == expected()
    train = content(read(str(tmp_path / "several"), on_bad_row="error")[0])
    assert train == expected([dict(row) for row in parts["train"]])
    assert content(read(f"{tmp_path / 'several'}:test", on_bad_row="error")[0]) == expected(ROWS[2:])
    assert read(f"{tmp_path / 'several'}:all", on_bad_row="error")[1].rows == 3
    with pytest.raises(FileNotFoundError, match="no split 'dev'; there are: train, test"):
        read(f"{tmp_path / 'several'}:dev", on_bad_row="error")


def test_a_copy_of_a_hub_data_set_is_read_split_by_split_and_row_by_row(tmp_path):
    (tmp_path / "copy/data").mkdir(parents=True)
    write_jsonl(tmp_path / "copy/data/train-00000-of-00001.jsonl")
    write_csv(tmp_path / "copy/data/other.csv")
    (tmp_path / "copy/data/test-00000-of-00001.jsonl").write_bytes(GOOD + b"\n{\n")
    (tmp_path / "copy/README.md").write_text("---\nlicense: mit\n---\n")
    found, report = read(str(tmp_path / "copy"), on_bad_row="error")
    assert content(found) == expected()
    assert [Path(name).name for name in report.ignored] == ["README.md", "other.csv"]
    held, report = read(f"{tmp_path / 'copy'}:test", on_bad_row="skip")
    assert content(held) == expected(ROWS[:1])
    assert report.skipped == {"not json": 1}, "one bad line does not hide the good one"


def test_folders_globs_and_lists_in_order_with_a_layout_for_each_file(tmp_path):
    write_jsonl(tmp_path / "b.jsonl")
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected\np,x,y\n")
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "dataset_info.json").write_text("{}")
    folder, report = read(str(tmp_path), on_bad_row="error")
    assert content(folder) == [(Item.of("p", "x"), Item.of("p", "y"), 1.0), *expected()]
    assert [Path(name).name for name in report.ignored] == ["README.md", "dataset_info.json"]
    assert read(str(tmp_path / "*.[cj]s*[vl]"), on_bad_row="error")[0].fingerprint == folder.fingerprint
    listed, _ = read([str(tmp_path / "b.jsonl"), str(tmp_path / "a.csv")], on_bad_row="error")
    assert content(listed) == [*expected(), (Item.of("p", "x"), Item.of("p", "y"), 1.0)]


def test_moving_the_folder_does_not_change_the_fingerprint(tmp_path):
    sets = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        sets.append(read(str(write_jsonl(tmp_path / place / "a.jsonl")), on_bad_row="error")[0])
    assert sets[0].fingerprint == sets[1].fingerprint


def test_a_comparison_set_folder_reads_as_it_was_written_alone_and_beside_others(tmp_path):
    first, report = read(str(write_jsonl(tmp_path / "a.jsonl")), on_bad_row="error")
    write_set(first, tmp_path / "set", report.as_dict())
    again, report = read(str(tmp_path / "set"), on_bad_row="error")
    assert (again.items.equals(first.items), again.comparisons.equals(first.comparisons)) == (True, True)
    assert (again.fingerprint, report.rows, report.joint) == (first.fingerprint, 3, 2)
    with pytest.raises(ValueError, match="set:train: this set has no splits; name the folder alone"):
        read(f"{tmp_path / 'set'}:train", on_bad_row="error")
    both, report = read([str(tmp_path / "set"), str(tmp_path / "a.jsonl")], on_bad_row="error")
    assert content(both) == expected() * 2
    assert (report.rows, report.items, report.repeated) == (6, 5, 3)
    assert content(read(str(tmp_path / "s*"), on_bad_row="error")[0]) == expected()


@pytest.mark.parametrize(
    ("where", "error", "text"),
    [
        ("missing.jsonl", FileNotFoundError, "no such file or folder"),
        ("owner/missing.jsonl", FileNotFoundError, "no such file or folder"),
        ("./owner/name", FileNotFoundError, "no such file or folder"),
        ("*.jsonl", FileNotFoundError, "no data file matches"),
        ("empty", FileNotFoundError, "files in this folder"),
        ("empty/name", FileNotFoundError, "no such file or folder"),
        ("notes.txt", ValueError, "extension '.txt'"),
        ("package:no_such_module/a.jsonl", FileNotFoundError, "no module 'no_such_module'"),
    ],
)
def test_what_cannot_be_found_is_said(tmp_path, monkeypatch, where, error, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(error, match=text):
        read(where, on_bad_row="error")


@pytest.mark.slow
def test_hub_ids_go_through_datasets_and_what_cannot_be_had_there_is_said(tmp_path):
    """The real loader, over HTTP, from a hub on loopback."""
    lines = write_jsonl(tmp_path / "rows").read_bytes()
    code = """if True:
        from jpo_dist.data.read import read
        found, report = read("owner/name:test", on_bad_row="error")
        print(len(found), report.items, found.comparisons["source"][2])
        for where in ("owner/broken", "owner/name:dev", "owner/none"):
            try:
                read(where, on_bad_row="skip")
            except FileNotFoundError as error:
                print(error)
    """
    sets = {"owner/name": {"test.jsonl": lines, "train.jsonl": lines}, "owner/broken": {"train.jsonl": lines + b"{\n"}}
    with hub(sets) as address:
        settings = {"HF_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": address, "NO_PROXY": "127.0.0.1"}
        env = os.environ | settings | {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
        env.pop("HF_HUB_OFFLINE", None)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    told = done.stdout.splitlines()
    assert told[0] == "3 5 owner/name:test:3", done.stderr
    wrong = [line for line in told if ": neither here" in line]
    assert [line.split(": ")[0] for line in wrong] == ["owner/broken", "owner/name:dev", "owner/none"], done.stderr
    assert "hf download owner/broken --repo-type dataset --local-dir" in done.stdout, "a copy is read row by row"


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


def test_report_for_people_names_twenty_rows_and_counts_the_rest(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([GOOD] + [b"{"] * 25))
    _, report = read(str(tmp_path / "a.jsonl"), on_bad_row="skip")
    lines = report.lines()
    assert lines[0] == "26 rows: 1 comparisons (1 conditional, 0 joint) of 2 items, 25 bad rows skipped"
    assert lines[1] == "  25 x not json"
    assert lines[2] == f"    {tmp_path / 'a.jsonl'}, line 2: not json"
    assert lines[-1] == "    and 5 more"
    assert json.loads(json.dumps(report.as_dict()))["skipped"] == {"not json": 25}


def test_text_that_is_python_is_data(tmp_path):
    row = ROWS[0] | {"r_chosen": f"__import__('pathlib').Path({str(tmp_path / 'run')!r}).touch()"}
    comparisons, _ = read(str(write_jsonl(tmp_path / "a.jsonl", [row])), on_bad_row="error")
    assert comparisons.all_items()[0].response == row["r_chosen"]
    assert not (tmp_path / "run").exists()
