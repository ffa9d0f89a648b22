"""Commands in environments that bring trouble: the same losses as without, or one sentence and exit code 2."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.support.commands import Files, Warm, numbers, operator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ODD = "q?x=1/p%20q #é'\"[a]"
DEAD = "http://127.0.0.1:9"


def hostile(tmp_path: Path) -> dict[str, str]:
    """Everything at once: sockets without room, a home that cannot be written to, dead proxies, leftovers."""
    long = tmp_path / ("t" * (119 - len(str(tmp_path))))
    long.mkdir()
    return operator() | {
        "TMPDIR": str(long), "HOME": "/proc/1", "JPO_CACHE": str(tmp_path / "cache"), "RANK": "3", "LOCAL_RANK": "1",
        "HTTP_PROXY": DEAD, "https_proxy": DEAD, "ALL_PROXY": "socks5://127.0.0.1:9", "PYTHONIOENCODING": "ascii",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true", "MLFLOW_REGISTRY_URI": "nonsense", "MLFLOW_EXPERIMENT_NAME": "théirs",
        "TRANSFORMERS_CACHE": "/proc/1/x", "RAY_ADDRESS": "", "JPO_LOG": "info",
    }  # fmt: skip


def trained(tiny: Files, warm: Warm, tmp_path: Path, *words: str) -> Path:
    """The run of `tiny`, below an odd folder with all that it reads, in a hostile environment."""
    folder = tmp_path / ODD
    model, data = shutil.copytree(tiny.model, folder / "model"), shutil.copy(tiny.train, folder / "a b.jsonl")
    run_dir = folder / "runs" / "run"
    done = warm(
        "train", tiny.config, f"run.dir={run_dir}", f"model.path={model}", f"data.train={data}", *words,
        env=hostile(tmp_path),
    ).check()  # fmt: skip
    assert "bytes long, and sockets have room for" in done.err
    assert "RANK=3: left over from another launcher, not read" in done.err
    with sqlite3.connect(run_dir.parent / "mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]
        assert ("théirs",) in database.execute("select name from experiments").fetchall()
        rows = database.execute("select step from metrics where key = 'loss'").fetchall()
    assert sorted(step for (step,) in rows) == [1, 2, 3, 4, 5, 6]
    assert sorted(os.listdir(run_dir.parent)) == [".mlflow.db.lock", "mlartifacts", "mlflow.db", "run"]
    assert "q%3Fx=1" not in os.listdir(tmp_path)
    return run_dir


def test_a_run_in_a_hostile_environment_is_the_same_run(tiny: Files, warm: Warm, alone: Path, tmp_path: Path) -> None:
    assert numbers(trained(tiny, warm, tmp_path, "cluster.workers=0")) == numbers(alone)


@pytest.mark.nightly
def test_so_it_is_under_ray(tiny: Files, warm: Warm, by_ray: Path, tmp_path: Path) -> None:
    """Whose sockets lie in the temporary folder, and whose own files in the run folder."""
    assert numbers(trained(tiny, warm, tmp_path, "cluster.workers=2")) == numbers(by_ray)


def test_the_address_of_a_dead_cluster_is_one_sentence(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    done = warm("train", tiny.config, f"run.dir={tmp_path / 'run'}", "cluster.workers=1", "tracking.uri=none",
                env={"RAY_ADDRESS": "127.0.0.1:1"}).check(2)  # fmt: skip
    assert "RAY_ADDRESS (127.0.0.1:1) must be `auto` or HOST:PORT of a running Ray cluster" in done.said
    assert "Traceback" not in done.said
