"""Where rows are: saved data sets, copies of the hub, folders, globs, sets, and names that lead nowhere."""

import os
import subprocess
import sys
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from jpo_dist.data.locate import NotOnHub, Table, open_place
from jpo_dist.data.read import read
from jpo_dist.digests import Damaged, write_digests
from jpo_dist.proxies import VARIABLES
from jpo_dist.records.comparisons import Item
from jpo_dist.records.folder import write_set
from jpo_dist.records.unbuilt import comparisons_of
from tests.support.hub import hub
from tests.support.preference_files import GOOD, ROWS, content, expected, write_csv, write_jsonl
from tests.support.rows import write_rows


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
    assert [Path(name).name for name in report.ignored] == ["README.md", "other.csv", "test-00000-of-00001.jsonl"]
    held, report = read(f"{tmp_path / 'copy'}:test", on_bad_row="skip")
    assert content(held) == expected(ROWS[:1])
    assert [Path(name).name for name in report.ignored] == ["other.csv"], "it was named: the others are known"
    assert report.skipped == {"not json": 1}, "one bad line does not hide the good one"


ROOTS = (
    ["train-00000-of-00001.jsonl", "test-00000-of-00001.jsonl"],
    ["train.jsonl", "validation.jsonl", "data-test.jsonl"],
    ["training_1.jsonl", "training_2.jsonl", "eval0.jsonl", "more.jsonl"],
    ["my train.jsonl", "dev.jsonl", "latest.jsonl", "trained.jsonl"],
)


@pytest.mark.parametrize("names", ROOTS)
def test_a_copy_with_its_files_at_its_root_is_read_as_its_train(tmp_path: Path, names: list[str]) -> None:
    """`datasets` itself says which files these are."""
    for name in names:
        write_rows(tmp_path / name, [{"prompt": name, "chosen": "A wren.", "rejected": "A spoon."}])
    told = datasets.load_dataset_builder(str(tmp_path)).config.data_files
    found, report = read(str(tmp_path), on_bad_row="error")
    assert [one.winner.instruction[0].content for one in comparisons_of(found)] == [
        Path(file).name for file in told["train"]
    ]
    assert set(names) - {Path(file).name for file in told["train"]} == {Path(name).name for name in report.ignored}
    assert report.lines()[1].startswith("  not read: ")
    named, report = read(f"{tmp_path}:train", on_bad_row="error")
    assert named.fingerprint == found.fingerprint


@pytest.mark.parametrize("names", [["validation.jsonl", "test.csv"], ["dev-1.jsonl", "my-eval.jsonl", "more.jsonl"]])
def test_a_copy_without_train_is_refused_with_the_splits_there_are(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text('{"prompt": "p", "chosen": "x", "rejected": "y"}\n')
    with pytest.raises(FileNotFoundError, match="no split 'train'; there are: validation, test; name one"):
        read(str(tmp_path), on_bad_row="error")


@pytest.mark.parametrize("names", [["a.jsonl", "taste-test.jsonl"], ["test-1.jsonl", "test-2.jsonl"], ["trains.jsonl"]])
def test_files_of_one_split_or_none_are_all_read(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        write_rows(tmp_path / name, [{"prompt": name, "chosen": "A wren.", "rejected": "A spoon."}])
    assert read(str(tmp_path), on_bad_row="error")[1].rows == len(names)


def test_files_of_several_formats_have_splits_too(tmp_path: Path) -> None:
    """Of which `datasets` reads none."""
    write_jsonl(tmp_path / "train.jsonl")
    (tmp_path / "test.csv").write_text("prompt,chosen,rejected\np,x,y\n")
    assert content(read(str(tmp_path), on_bad_row="error")[0]) == expected()
    assert read(f"{tmp_path}:test", on_bad_row="error")[1].rows == 1
    assert read(f"{tmp_path}:all", on_bad_row="error")[1].rows == 4


CONFIG = "---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"


def test_a_readme_says_which_files_are_of_which_split(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write_rows(tmp_path / name, [{"prompt": name, "chosen": "A wren.", "rejected": "A spoon."}])
    files = "".join(f"  - split: {split}\n    path: {name}\n" for split, name in (("train", "b*"), ("test", "a*")))
    (tmp_path / "README.md").write_text(CONFIG.format(files=files))
    found, report = read(str(tmp_path), on_bad_row="error")
    assert [one.source for one in comparisons_of(found)] == ["b.jsonl:1"]
    assert sorted(Path(name).name for name in report.ignored) == ["README.md", "a.jsonl"]
    (tmp_path / "README.md").write_text(CONFIG.format(files=files.replace("test", "held")))
    assert read(f"{tmp_path}:held", on_bad_row="error")[1].rows == 1
    (tmp_path / "README.md").write_text(CONFIG.format(files=files.replace("b*", "../b*")))
    assert read(str(tmp_path), on_bad_row="error")[1].rows == 2, "what lies elsewhere is not read"


def test_what_other_places_left_is_told_beside_what_a_copy_leaves(tmp_path: Path) -> None:
    for folder in ("plain/more", "copy/data"):
        (tmp_path / folder).mkdir(parents=True)
    for place in ("plain/a.jsonl", "copy/data/train-00000-of-00001.jsonl", "copy/data/test-00000-of-00001.jsonl"):
        write_jsonl(tmp_path / place)
    _, report = read([str(tmp_path / "plain"), str(tmp_path / "copy")], on_bad_row="error")
    assert [Path(name).name for name in report.ignored] == ["more", "test-00000-of-00001.jsonl"]


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
def test_a_hub_that_does_not_answer_is_one_sentence_at_once(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotOnHub, match=r"nobody/has-this: not here .* 127.0.0.1 does not answer \(.*refused"):
        read("nobody/has-this", on_bad_row="error")


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


@pytest.mark.parametrize("folder", ["q?x=1", "p%20q", "a [1]*", "é'\"#"])
def test_folders_are_names_whatever_is_in_them_also_before_a_pattern(tmp_path, folder):
    here = tmp_path / folder / "deep [2]"
    here.mkdir(parents=True)
    name = write_jsonl(here / "rows.jsonl").name
    for where in (
        here / name,
        here,
        f"{here}/*.jsonl",
        f"{tmp_path / folder}/*/*.jsonl",
        f"{tmp_path / folder}/**/r*.jsonl",
    ):
        assert content(read(str(where), on_bad_row="error")[0]) == expected(), where


@pytest.mark.parametrize("gone", ["part-00000.jsonl", "part-00001.jsonl", None])
@pytest.mark.parametrize("asked", [True, False])
def test_answers_are_whole_or_refused_also_without_what_was_asked(
    tmp_path: Path, gone: str | None, asked: bool
) -> None:
    for name in ("part-00000.jsonl", "part-00001.jsonl"):
        (tmp_path / name).write_text('{"instruction": "Name a bird.", "response": "A wren.", "score": 1}\n')
    write_digests(tmp_path, ["part-00000.jsonl", "part-00001.jsonl"])
    if asked:
        (tmp_path / "prompts.jsonl").write_text('{"instruction": "Name a bird."}\n')
    if gone is None:
        found = [table for table in open_place(str(tmp_path), []) if isinstance(table, Table)]
        assert [Path(table.name).name for table in found] == ["part-00000.jsonl", "part-00001.jsonl"]
        return
    (tmp_path / gone).unlink()
    with pytest.raises(Damaged, match=rf"{gone} is missing; make the answers again"):
        open_place(str(tmp_path), [])
    for part in tmp_path.glob("part-*"):
        part.unlink()
    if asked:  # without parts or what was asked, a digests.json may be anybody's
        with pytest.raises(Damaged, match=r"part-00000.jsonl is missing"):
            open_place(str(tmp_path), [])


def test_another_programs_digests_beside_parts_are_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "part-0.jsonl").write_bytes(GOOD + b"\n")
    (tmp_path / "digests.json").write_text('{"part-0.jsonl": "md5:1"}')
    assert read(str(tmp_path), on_bad_row="error")[1].rows == 1
