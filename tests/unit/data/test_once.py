"""What a run reads is read once on a host, found again by content, and no kill leaves half of it."""

import json
import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.data import once, read
from jpo_dist.data.once import read_once
from jpo_dist.records.examples import Example, Examples
from jpo_dist.records.folder import write_set
from tests.support.rows import write_rows

ROWS = [{"prompt": f"say {n}", "chosen": "yes", "rejected": "no"} for n in range(30)]
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sets"


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write_rows(tmp_path / "pairs.jsonl", ROWS)


def counted(log: Path, where: Any, on_bad_row: Any = "error") -> Any:
    """Reads, and leaves a line for each row that it parses."""
    found = read.read(where, on_bad_row=on_bad_row)
    with log.open("a") as stream:
        stream.writelines(f"{os.getpid()}\n" for _ in range(found[1].rows))
    return found


def one_rank(where: str, log: Path, results: Any) -> None:
    built, report = read_once(where, partial(counted, log), ["comparisons"])
    results.put((built.fingerprint, report.lines()))


def test_two_ranks_that_start_together_parse_each_row_once(tmp_path: Path, cache: Path, file: str):
    results, log = FORK.Queue(), tmp_path / "log"
    started = [FORK.Process(target=one_rank, args=(file, log, results)) for _ in range(2)]
    for process in started:
        process.start()
    found = [results.get(timeout=60) for _ in started]
    for process in started:
        process.join()
    built, report = read.read(file, on_bad_row="error")
    assert found == [(built.fingerprint, report.lines())] * 2
    assert len(log.read_text().splitlines()) == len(ROWS)


def test_what_is_found_is_what_was_read(cache: Path, file: str):
    plain, report = read.read(file, on_bad_row="error")
    for _ in range(2):
        found, again = read_once(file, partial(read.read, on_bad_row="error"), ["comparisons"])
        assert found.items.equals(plain.items)
        assert found.comparisons.equals(plain.comparisons)
        assert (found.fingerprint, again.lines()) == (plain.fingerprint, report.lines())


@pytest.mark.parametrize("change", ["bytes", "name", "settings", "code"])
def test_it_is_read_anew_when_anything_changes(
    tmp_path: Path, cache: Path, file: str, change: str, monkeypatch: pytest.MonkeyPatch
):
    log = tmp_path / "log"
    read_once(file, partial(counted, log), ["comparisons", "error"])
    settings = ["comparisons", "skip" if change == "settings" else "error"]
    if change == "bytes":
        write_rows(Path(file), [*ROWS[:-1], {**ROWS[-1], "chosen": "YES"}])  # as many bytes
    if change == "name":
        file = str(Path(file).rename(tmp_path / "other.jsonl"))
    if change == "code":
        monkeypatch.setattr(once, "_code", lambda: "another version")
    built, _ = read_once(file, partial(counted, log), settings)
    assert len(log.read_text().splitlines()) == 2 * len(ROWS)
    assert built.comparisons["source"][0].as_py() == f"{Path(file).name}:1"


def dies(where: str) -> None:
    once.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    read_once(where, partial(read.read, on_bad_row="error"), ["comparisons"])


def test_a_kill_while_it_is_written_leaves_nothing_that_counts(cache: Path, file: str):
    killed = FORK.Process(target=dies, args=(file,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    left = [path.name for path in cache.iterdir() if path.is_dir()]
    assert len(left) == 1
    assert left[0].startswith(".")
    built, _ = read_once(file, partial(read.read, on_bad_row="error"), ["comparisons"])
    assert len(built) == len(ROWS)
    assert [path.name[0] for path in cache.iterdir() if path.is_dir()] != ["."]
    assert not (cache / left[0]).exists()


def test_a_damaged_folder_is_made_again_and_an_error_is_not_kept(
    tmp_path: Path, cache: Path, file: str, caplog: pytest.LogCaptureFixture
):
    log = tmp_path / "log"
    read_once(file, partial(counted, log), ["comparisons"])
    (table,) = cache.glob("*/comparisons.arrow")
    table.write_bytes(table.read_bytes()[:-1])
    assert len(read_once(file, partial(counted, log), ["comparisons"])[0]) == len(ROWS)
    (table,) = cache.glob("*/items.arrow")
    whole = table.read_bytes()
    table.write_bytes(whole.replace(b"say 7", b"say 8"))  # as many bytes
    built, _ = read_once(file, partial(counted, log), ["comparisons"])
    assert built.items.equals(read.read(file, on_bad_row="error")[0].items)
    assert f"{table} is damaged" in caplog.text
    (facts,) = cache.glob("*/facts.json")
    facts.write_text(facts.read_text().replace('"fingerprint": "', '"fingerprint": "f'))
    assert len(read_once(file, partial(counted, log), ["comparisons"])[0].fingerprint) == 32
    assert len(log.read_text().splitlines()) == 4 * len(ROWS)
    bad = write_rows(tmp_path / "bad.jsonl", [*ROWS, {"prompt": "x", "chosen": "y"}])
    for _ in range(2):
        with pytest.raises(ValueError, match="missing field"):
            read_once(bad, partial(counted, log), ["comparisons"])


def test_a_split_of_a_set_a_list_and_examples(tmp_path: Path, cache: Path, file: str):
    built, _ = read.read(file, on_bad_row="error")
    write_set(built, tmp_path / "set")
    reads = partial(read.read, on_bad_row="error")
    for where in (f"{tmp_path}/set", [file, f"{tmp_path}/set"], [f"{tmp_path}/pair*.jsonl", file]):
        for _ in range(2):
            assert read_once(where, reads, ["c"])[0].fingerprint == reads(where)[0].fingerprint
    loops = Examples.of([Example(item) for item in built.all_items()])
    for _ in range(2):
        found, _ = read_once(file, lambda _: (loops, once.KeptReport(["so many"])), ["demonstrations"])
        assert isinstance(found, Examples)
        assert found.desirable_C.all()


def test_without_a_cache_everybody_reads(tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JPO_CACHE", str(tmp_path / "file" / "below"))
    assert len(read_once(file, partial(read.read, on_bad_row="error"), ["comparisons"])[0]) == len(ROWS)


def test_facts_are_json(cache: Path, file: str):
    read_once(file, partial(read.read, on_bad_row="error"), ["comparisons"])
    (facts,) = cache.glob("*/facts.json")
    assert json.loads(facts.read_text())["lines"][0].startswith("30 rows: 30 comparisons")
