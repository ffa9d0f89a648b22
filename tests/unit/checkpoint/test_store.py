"""The small files of a run, fetched for a machine that has none."""

from pathlib import Path

from jpo_dist.checkpoint.store import restore_run_files


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
