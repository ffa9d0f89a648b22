"""Ray tasks without ranks: what becomes of them when the hosts that could run them are gone."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from cluster import tasks
from cluster.config import ClusterConfig
from cluster.errors import ResourceError
from tests.support.commands import ROOT
from tests.support.hosts import wait_until


def wait_for_ever(payload: dict[str, Any]) -> dict[str, Any]:
    Path(payload["out"], f"began-{os.getpid()}").touch()
    threading.Event().wait()
    return {}


def drive(out: str) -> None:
    """A driver on a cluster whose only host with CPUs goes when the task runs there."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    host = cluster.add_node(num_cpus=1)
    tasks.LOOK_S = 0.5

    def go_when_it_runs() -> None:
        wait_until(lambda: any(Path(out).glob("began-*")))
        cluster.remove_node(host)

    leaving = threading.Thread(target=go_when_it_runs)
    leaving.start()
    config = ClusterConfig(address=cluster.address, start_timeout_s=5, max_failures=3, env={"PYTHONPATH": str(ROOT)})
    try:
        tasks.run_tasks(wait_for_ever, [{"out": out}], config)
    except ResourceError as error:
        Path(out, "said").write_text(str(error))
    finally:
        leaving.join()
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.nightly
def test_tasks_whose_only_host_is_gone_are_not_waited_for_for_ever(tmp_path: Path) -> None:
    """Ray starts them again where there is room, and says nothing while there is none."""
    code = f"import tests.unit.cluster.test_tasks as test; test.drive({str(tmp_path)!r})"
    env = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no host is left that could run a task: waiting 5 s for one" in done.stderr
    said = (tmp_path / "said").read_text()
    assert said.startswith("asked: cluster.workers=1 x 1 CPU"), said
    assert "room for 0 of 1 workers even when nothing else runs" in said
