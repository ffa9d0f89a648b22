"""`cluster.workers: {min, max}` over hosts: one dies, training goes on with fewer ranks; one joins, it is taken in at
the next commit. The losses are those of one undisturbed process.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist

from cluster import connection
from cluster.config import ClusterConfig
from cluster.ray_train import commit_reporter, launch
from cluster.virtual.hosts import NoVirtualHosts, add_host, require_virtual_hosts, virtual_hosts
from tests.support.procs import run_ranks
from tests.support.runs import config_for
from tests.support.tiny import comparisons, save_tiny, write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.multihost, pytest.mark.nightly, pytest.mark.timeout(600)]

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
IMPORTABLE = {"PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])}


def undisturbed(values: dict[str, Any]) -> None:
    from jpo_dist.config.run import JpoConfig
    from jpo_dist.train.loop import run

    run(JpoConfig.model_validate(values), None, 60)


def disturbed(payload: dict[str, Any]) -> None:
    """The worker. Two ranks wait behind the commit of step 2 for a death, one behind that of step 4 for a host."""
    from jpo_dist.config.run import JpoConfig
    from jpo_dist.train.loop import run

    out, report = Path(payload["out"]), commit_reporter(ClusterConfig(**payload["cluster"]))

    def on_commit(step: int, metrics: dict[str, Any], is_last: bool) -> None:
        if (dist.get_world_size(), step) == (2, 2):
            if dist.get_rank() == 0:
                (out / "at-2").write_text("here")  # pipes: both ends wait for each other
            (out / "never").read_text()
        if (dist.get_world_size(), step) == (1, 4):
            (out / "at-4").write_text("here")
            (out / "go-on").read_text()
        report(step, metrics, is_last)

    run(JpoConfig.model_validate(payload["config"]), on_commit, 60, elastic=True)


def drive(payload: dict[str, Any]) -> None:
    """The driver, in a process on the head."""
    connection.SETTLE_S = 3.0
    config, out = ClusterConfig(**payload["cluster"], env=IMPORTABLE), payload["out"]
    result = launch(disturbed, payload, config, run_name="r", storage=f"{out}/ray")
    Path(out, "result.json").write_text(json.dumps(result))


def test_a_lost_host_leaves_fewer_ranks_and_a_new_one_is_taken_in_at_a_commit(tmp_path: Path) -> None:
    try:
        require_virtual_hosts()
    except NoVirtualHosts as reason:
        pytest.skip(str(reason))
    model, data = save_tiny(tmp_path / "model"), write_jsonl(tmp_path / "data.jsonl", comparisons(40))
    settings: dict[str, Any] = {
        "train": {"max_steps": 6, "comparisons_per_step": 6, "tokens_per_micro_step": 400},
        "checkpoint": {"every": 2, "keep": 9}, "optim": {"weight_decay": 0.1},
    }  # fmt: skip
    alone, moved = (config_for(model, data, tmp_path / name, **settings) for name in ("alone", "moved"))
    run_ranks(undisturbed, 1, alone.model_dump(mode="json"), timeout=200)
    for pipe in ("at-2", "at-4", "go-on", "never"):
        os.mkfifo(tmp_path / pipe)
    with virtual_hosts(2, cpus=1) as hosts:
        cluster = {"workers": {"min": 1, "max": 2}, "address": hosts[0].head_address, "max_failures": 3,
                   "collective_timeout_s": 60, "start_timeout_s": 60, "health_timeout_s": 30}  # fmt: skip
        payload = {"out": str(tmp_path), "cluster": cluster, "config": moved.model_dump(mode="json")}
        code = f"import json, test_elastic_hosts; test_elastic_hosts.drive(json.loads({json.dumps(payload)!r}))"
        driver = hosts[0].popen([sys.executable, "-c", code], IMPORTABLE)
        heard(tmp_path / "at-2", driver)
        died = time.monotonic()
        hosts[1].set_link(False)
        hosts[1].kill()
        heard(tmp_path / "at-4", driver)
        seconds = time.monotonic() - died
        add_host(hosts)
        (tmp_path / "go-on").write_text("go")
        said, _ = driver.communicate(timeout=200)
        assert driver.returncode == 0, said[-4000:]
    np.testing.assert_allclose(losses(tmp_path / "moved"), losses(tmp_path / "alone"), atol=2e-6, rtol=0)
    manifests = [
        json.loads((tmp_path / f"moved/checkpoints/step-0000000{s}/manifest.json").read_text()) for s in (2, 4, 6)
    ]
    assert [manifest["num_ranks"] for manifest in manifests] == [2, 1, 2]
    assert json.loads((tmp_path / "result.json").read_text())["attempts"] >= 3
    events = [json.loads(line)["event"] for line in (tmp_path / "ray/cluster.jsonl").read_text().splitlines()]
    # The commit of step 2 was not reported any more; no step was done again for the new host.
    assert events[0] == "failure"
    assert [event for event in events if event != "failure"] == ["commit", "regroup", "commit"]
    print(f"two steps on one rank were done {seconds:.1f} s after the host died")  # noqa: T201


def losses(run_dir: Path) -> np.ndarray:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(7))
    return np.array([line["metrics"]["loss"] for line in lines[1:]])


def heard(pipe: Path, driver: "subprocess.Popen[str]") -> None:
    """Return when something is written into the pipe."""
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    while not os.read(reading, 10):
        if driver.poll() is not None:
            raise AssertionError(f"the driver ended:\n{driver.stdout and driver.stdout.read()[-4000:]}")
        time.sleep(0.1)
    os.close(reading)
