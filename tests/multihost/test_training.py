"""Two hosts, one ZeRO-3 worker on each, submitted as a Ray job: the losses of two workers on one host."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.virtual_hosts import NoVirtualHosts, require_virtual_hosts, virtual_hosts
from tests.support.tiny import comparisons, save_tiny, write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.multihost, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]

CONFIG = """
model: {{path: {folder}/model, dtype: float32}}
data: {{train: {folder}/data.jsonl, template: "### {{instruction}}\\n>", validation_fraction: 0}}
optim: {{lr: 1e-3}}
train: {{comparisons_per_step: 6, tokens_per_micro_step: 200, max_steps: 6}}
engine: {{param_persistence_threshold: 0, max_live_parameters: 5000, max_reuse_distance: 1, prefetch_bucket_size: 1000}}
checkpoint: {{every: 3}}
tracking: {{uri: none}}
cluster: {{workers: 2}}
run: {{dir: {folder}/run}}
"""


def steps(run_dir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line["metrics"].items() if not k.startswith("perf/")} for line in lines]


def hosts_of_workers(run_dir: Path) -> set[str]:
    """Which addresses the ranks of the run had, by their own word."""
    return set(json.loads((run_dir / "plan.json").read_text())["hosts"])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    save_tiny(tmp_path / "model")
    write_jsonl(tmp_path / "data.jsonl", comparisons(20))
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def test_two_hosts_give_the_losses_of_one(config: Path) -> None:
    try:
        require_virtual_hosts()
    except NoVirtualHosts as reason:
        pytest.skip(str(reason))
    folder = config.parent
    train = [sys.executable, "-m", "launcher", "train", str(config)]
    with virtual_hosts(2, cpus=1) as hosts:
        head = hosts[0]
        job = head.run(
            ["ray", "job", "submit", "--address", head.dashboard_address, "--working-dir", str(ROOT), "--",
             *train, "cluster.placement=STRICT_SPREAD", f"run.dir={folder}/two"],
            timeout=420,
        )  # fmt: skip
        assert job.returncode == 0, job.stdout[-4000:] + job.stderr[-4000:]
        assert hosts_of_workers(folder / "two") == {host.ip for host in hosts}
    here = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*train, f"run.dir={folder}/one"]
    alone = subprocess.run(command, cwd=ROOT, env=here, capture_output=True, text=True, timeout=300, check=False)
    assert alone.returncode == 0, alone.stderr[-4000:]
    assert len(hosts_of_workers(folder / "one")) == 1
    assert steps(folder / "two") == steps(folder / "one")
    assert len(steps(folder / "two")) == 7
