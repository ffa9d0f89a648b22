"""What a stage's key follows: all that decides what it makes, however a config names it, and nothing else."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.load import parse_as
from launcher.config.pipeline import PipelineConfig
from launcher.pipeline.contents import Contents, inputs, program_files
from launcher.pipeline.keys import ASKS
from launcher.pipeline.resolve import Stage, resolve_stages

CARD = """---
configs:
- config_name: default
  data_files:
  - {split: train_prefs, path: data/train_prefs.jsonl}
---
"""


def stage_of(folder: Path, command: str, settings: dict[str, Any]) -> Stage:
    config = parse_as(PipelineConfig, {"dir": str(folder), "stages": [{command: settings}]}, "x.yaml")
    (stage,) = resolve_stages(config, "x.yaml", Contents(folder.parent / "memory.json"))
    return stage


def row(file: Path, response: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"prompt": "p", "chosen": response, "rejected": "b"}) + "\n")


@pytest.mark.parametrize("split", [":train_prefs", ":all", ":validation", ""])
def test_the_files_of_every_split_are_read(tmp_path: Path, split: str) -> None:
    copy = tmp_path / "copy"
    row(copy / "data" / "train_prefs.jsonl", "good")
    (copy / "README.md").write_text(CARD)
    sources = {"sources": [{"path": f"{copy}{split}"}]}
    before = stage_of(tmp_path / "run", "build", sources).key
    assert stage_of(tmp_path / "run", "build", sources).key == before
    row(copy / "data" / "train_prefs.jsonl", "another")
    assert stage_of(tmp_path / "run", "build", sources).key != before


def test_a_colon_in_a_name_is_no_split(tmp_path: Path) -> None:
    row(tmp_path / "a:train", "x")
    (tmp_path / "a").mkdir()
    assert inputs({"path": str(tmp_path / "a:train")}, tmp_path / "run") == {
        str(tmp_path / "a:train"): [tmp_path / "a:train"]
    }


def test_data_beside_the_pipelines_folder_are_read_and_its_own_files_are_not(tmp_path: Path) -> None:
    row(tmp_path / "pairs.jsonl", "good")
    (tmp_path / "runs" / "here").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("x")
    assert inputs({"path": str(tmp_path)}, tmp_path / "runs" / "here") == {str(tmp_path): [tmp_path / "pairs.jsonl"]}


@pytest.mark.parametrize("package", ["my_package", "folder_without_init"])
def test_a_program_is_read_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.chdir(tmp_path)
    row(tmp_path / "pairs.jsonl", "x")
    build = {"sources": [{"path": str(tmp_path / "pairs.jsonl"), "checker": "my_checks:length"}]}
    judge = {"candidates": "pairs.jsonl", "kind": "checker", "checker": {"function": f"{package}.inside:length"}}
    program, inside = tmp_path / "my_checks.py", tmp_path / package / "inside.py"
    program.write_text("raise SystemExit('imported')")
    inside.parent.mkdir()
    if package == "my_package":
        (inside.parent / "__init__.py").write_text("raise SystemExit('imported')")
    inside.write_text("")
    before = [stage_of(tmp_path / "run", *one).key for one in (("build", build), ("judge", judge))]
    program.write_text("def length(item): return 1.0")
    inside.write_text("def length(item): return 1.0")
    after = [stage_of(tmp_path / "run", *one).key for one in (("build", build), ("judge", judge))]
    assert not set(before) & set(after)
    assert not {"my_checks", package} & sys.modules.keys()


def test_what_a_program_imports_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed: an edit of a helper changes what the checker says."""
    monkeypatch.chdir(tmp_path)
    written = {
        "my_checks.py": "import json\nimport numpy\nimport my_checks\nfrom my_rules.words import few\n",
        "my_rules/__init__.py": "",
        "my_rules/words.py": "from . import numbers\ndef few():\n    import my_later, no_such_module\n",
        "my_rules/numbers.py": "",
        "my_later.py": "this is no Python",
        "my_other.py": "",
    }
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = [file.relative_to(tmp_path).as_posix() for file in program_files("my_checks:few")]
    assert found == ["my_checks.py", "my_later.py", "my_rules/__init__.py", "my_rules/numbers.py", "my_rules/words.py"]
    row(tmp_path / "pairs.jsonl", "x")
    build = {"sources": [{"path": str(tmp_path / "pairs.jsonl"), "checker": "my_checks:few"}]}
    before = stage_of(tmp_path / "run", "build", build).key
    (tmp_path / "my_later.py").write_text("")
    assert stage_of(tmp_path / "run", "build", build).key != before


def test_a_file_of_a_program_is_parsed_once_and_again_when_it_is_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study asks for each of its cells: a program of 600 files took 2.8 seconds every time."""
    parsed: list[bytes] = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda source: parsed.append(source) or parse(source))
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in (("my_rules", "import my_words\n"), ("my_words", "import torch\n")):
        (tmp_path / f"{name}.py").write_text(text)
    files = program_files("my_rules:few")
    assert [file.name for file in files] == ["my_rules.py", "my_words.py"]
    assert program_files("my_rules:few") == files
    assert len(parsed) == 2, "and no file of torch"
    (tmp_path / "my_words.py").write_text("import my_lists, torch\n")
    (tmp_path / "my_lists.py").write_text("")
    assert [file.name for file in program_files("my_rules:few")] == ["my_rules.py", "my_lists.py", "my_words.py"]
    assert len(parsed) == 4


def test_of_an_installed_program_its_own_files_are_read(tmp_path: Path) -> None:
    found = program_files("filelock:FileLock")
    assert found
    assert all("filelock" in file.parts for file in found)


@pytest.mark.parametrize(
    "function", ["jpo_dist.evaluate.constraints:passes", "nowhere_at_all:f", "sys:exit", "", "a b"]
)
def test_programs_that_are_in_no_key(function: str) -> None:
    assert program_files(function) == []


def test_how_a_server_is_asked_is_in_no_key_and_what_it_is_asked_is(tmp_path: Path) -> None:
    row(tmp_path / "pairs.jsonl", "x")
    (tmp_path / "key").write_text("one")

    def key(**endpoint: Any) -> str:
        asked = {"candidates": str(tmp_path / "pairs.jsonl"), "endpoint": {"model": "m", **endpoint}}
        return stage_of(tmp_path / "run", "judge", asked).key

    others: dict[str, Any] = {
        "key_env": None, "key_file": str(tmp_path / "key"), "concurrency": 2, "timeout_s": 5, "max_retries": 1,
        "max_wait_s": 5, "max_failures": 3, "input_price": 1.0, "output_price": 2.0,
    }  # fmt: skip
    assert others.keys() == ASKS.keys()
    assert {key(**{name: value}) for name, value in others.items()} == {key()}
    with_key = key(**others)
    (tmp_path / "key").write_text("another")
    assert key(**others) == with_key == key()
    decide = ({"model": "n"}, {"base_url": "http://localhost/v1"}, {"temperature": 1.0}, {"seed": 1}, {"ask_again": 0})
    assert len({key(), *(key(**one) for one in decide)}) == 6


def test_what_was_paid_for_under_a_key_of_before_is_found(tmp_path: Path) -> None:
    asked = {"candidates": "no/data", "endpoint": {"model": "m", "concurrency": 2}}
    now = stage_of(tmp_path, "judge", asked)
    (before := tmp_path / "judge-bab55852").mkdir()
    assert stage_of(tmp_path, "judge", asked).folder == before
    now.folder.mkdir()
    assert stage_of(tmp_path, "judge", asked) == now


@pytest.mark.parametrize("store", ["s3://bucket/runs", "s3://bucket/runs/?region=x&scheme=http", "file:///mnt/store/"])
def test_each_training_has_a_store_of_its_own(tmp_path: Path, store: str) -> None:
    row(tmp_path / "pairs.jsonl", "x")

    def training(lr: float) -> Stage:
        data = {"train": str(tmp_path / "pairs.jsonl")}
        settings = {"model": {"path": "m"}, "data": data, "optim": {"lr": lr}, "checkpoint": {"storage": store}}
        return stage_of(tmp_path / "run", "train", settings)

    stages = [training(lr) for lr in (1e-6, 5e-6)]
    stores = [stage.settings["checkpoint"]["storage"] for stage in stages]
    place, mark, how = store.partition("?")
    assert stores == [f"{place.rstrip('/')}/{stage.folder.name}{mark}{how}" for stage in stages]
    assert len(set(stores)) == 2
