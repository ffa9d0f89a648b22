"""The small files of a run, fetched for a machine that has none."""

import os
from pathlib import Path

import pytest

from jpo_dist.checkpoint.manifest import MANIFEST
from jpo_dist.checkpoint.store import Stored, commits, connect, restore_run_files, retain


def test_a_machine_without_a_run_folder_gets_one_with_what_the_store_has(tmp_path: Path) -> None:
    store, run_dir = tmp_path / "store", tmp_path / "new/run"
    store.mkdir()
    assert restore_run_files(store.as_uri(), run_dir) == []
    (store / "run.json").write_text('{"mlflow": {"run_id": "a"}}')
    assert restore_run_files(store.as_uri(), run_dir) == ["run.json"]
    assert (run_dir / "run.json").read_text() == '{"mlflow": {"run_id": "a"}}'
    (store / "metrics.jsonl").write_text('{"step": 0}\n')
    (store / "run.json").write_text("{}")
    assert restore_run_files(store.as_uri(), run_dir) == ["metrics.jsonl"], "what is here stays"
    assert sorted(path.name for path in run_dir.iterdir()) == ["metrics.jsonl", "run.json"]


@pytest.mark.parametrize("name", ["q?x=1/store", "p%20q/store", "a b/é#1"])
def test_the_address_of_a_folder_leads_to_that_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    assert restore_run_files(folder.as_uri(), tmp_path / "run") == ["run.json"]
    assert os.listdir(tmp_path / "run") == ["run.json"]


def test_a_folder_whose_address_has_a_blank_in_it_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "run.json").write_text("{}")
    assert restore_run_files(f"file://{tmp_path}/a b", tmp_path / "run") == ["run.json"]


def test_a_commit_that_is_spared_stays_beside_the_newest(tmp_path: Path) -> None:
    store = connect(tmp_path.as_uri())
    for step in (1, 2, 3, 4):
        folder = tmp_path / Stored(1, step).name
        folder.mkdir(parents=True)
        (folder / MANIFEST).write_text("{}")
    retain(store, Stored(1, 3), keep=1, spare=frozenset({"step-00000001"}))
    assert [stored.step for stored in commits(store)] == [4, 3, 1]
    retain(store, Stored(1, 4), keep=1)
    assert [stored.step for stored in commits(store)] == [4]
