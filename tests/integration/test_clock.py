"""Commands on a host whose clock is put back by an hour every two seconds while they work: the same results, no wait
for a moment of that clock, no duration below zero.
"""

import signal
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.support.attacks import record
from tests.support.commands import MEASURED, Files, Warm, lines_of, numbers, operator, tracked
from tests.support.openai_server import Fault, by_hash, openai_server
from tests.support.put_back import put_back
from tests.support.rows import write_rows
from tests.support.told import came, check, jpo_words, told
from tests.support.writing import COMMANDS, config, exported, of_set, prepare

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

HOST = "clock put back"


def under_it(words: tuple[str, ...], folder: Path, part: str, **env: str) -> str:
    """All that a command says under such a clock. It ends well, as elsewhere."""
    code, said, quiet_s = told(jpo_words(words), {**operator(), **put_back(folder), **env})
    check(code, said, quiet_s, may_fail=False)
    record("host", f"{part}, {HOST}", 1, came(code))
    return said


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_made_is_the_same(name: str, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    elsewhere = prepare(name, tmp_path / "elsewhere", tiny, warm)
    warm(*elsewhere.words).check()
    made = prepare(name, tmp_path / "made", tiny, warm)
    under_it(made.words, tmp_path, name)
    assert made.state(made.output) == elsewhere.state(elsewhere.output)


def in_order(run_dir: Path) -> None:
    """No time of a run is before one of what came before it, in metrics.jsonl or MLflow; no duration is below zero."""
    lines = lines_of(run_dir)
    times = [line["ts_ms"] for line in lines]
    assert times == sorted(times)
    measured = [value for line in lines for name, value in line["metrics"].items() if name.startswith(MEASURED)]
    assert measured
    assert min(measured) >= 0
    with sqlite3.connect(run_dir.parent / "mlflow.db") as database:
        ((started, ended),) = database.execute("select start_time, end_time from runs").fetchall()
        of_steps = database.execute("select timestamp from metrics where key = 'loss' order by step").fetchall()
    stamps = [stamp for (stamp,) in of_steps]
    assert [started, *stamps, ended] == sorted([started, *stamps, ended])
    assert ended - started < 600_000, "as long as it took, whatever the clock said"


def test_a_tracked_training(tiny: Files, warm: Warm, alone: Path, tmp_path: Path) -> None:
    """Killed after its first commit, and gone on with where the clock is days behind and put back."""
    run_dir = tmp_path / "here" / "run"
    words = ("train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0")
    manifest = run_dir / "checkpoints" / "step-00000002" / "manifest.json"
    assert warm.killed(manifest.exists, 0.0, *words).code == -signal.SIGKILL
    under_it(words, tmp_path, "train that goes on")
    assert numbers(run_dir) == numbers(alone)
    assert exported(run_dir) == exported(alone)
    assert tracked(run_dir)[1] == "FINISHED"
    in_order(run_dir)


def test_a_training_of_two_ranks_under_ray(tiny: Files, tmp_path: Path) -> None:
    """Put back once, between two steps, for Ray's own processes too: under a clock that is put back all the time Ray's
    scheduler was seen to stand still before any worker of ours began."""
    words = {name: ("train", tiny.config, f"run.dir={tmp_path / name / 'run'}", "cluster.workers=2") for name in "ab"}
    code, said, _ = told(jpo_words(words["a"]), operator())
    assert code == 0, said[-3000:]
    lines, now = tmp_path / "b" / "run" / "metrics.jsonl", tmp_path / "now"
    env, over = {**operator(), **put_back(tmp_path, now)}, threading.Event()
    watching = threading.Thread(target=touch_when, args=(lines.exists, now, over))
    watching.start()
    code, said, quiet_s = told(jpo_words(words["b"]), env)
    over.set()
    watching.join()
    check(code, said, quiet_s, may_fail=False)
    assert now.exists()
    assert numbers(tmp_path / "b" / "run") == numbers(tmp_path / "a" / "run")
    in_order(tmp_path / "b" / "run")
    record("host", "train under Ray, clock put back", 1, came(code))


def touch_when(is_time: Callable[[], bool], file: Path, over: threading.Event) -> None:
    while not over.wait(0.05):
        if is_time():
            file.touch()
            return


def test_a_judge_behind_a_server_that_asks_to_wait_until_a_moment(tmp_path: Path) -> None:
    """By the server's clock, which is a day ahead of this host's."""
    rows = [
        {"instruction_0": f"Say {n}.", "response_0": "a, b", "instruction_1": f"Say {n}.", "response_1": f"a {n}"}
        for n in range(20)
    ]
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    results = []
    for name, faults in (("elsewhere", {}), ("made", {3: Fault("status", 429, {"Retry-After": soon})})):
        with openai_server(by_hash, faults=faults) as server:
            (tmp_path / name).mkdir()
            values = {
                "candidates": write_rows(tmp_path / name / "c.jsonl", rows), "output": str(tmp_path / name / "out"),
                "endpoint": {"base_url": server.url, "model": "judge-1", "key_env": None}, "tracking": {"uri": "none"},
            }  # fmt: skip
            words = ("judge", config(tmp_path / name, values), "cluster.workers=0")
            under_it(words, tmp_path, "judge behind a server", NO_PROXY="127.0.0.1")
            assert max(server.answered.values()) == 1, "nothing is paid for twice"
        results.append(of_set(tmp_path / name / "out"))
    assert results[0] == results[1] is not None
