"""docs/clusters.md, block by block, as a person would: a terminal with `make cluster`, a shell beside it, Ctrl-C."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from cluster.virtual import namespaces
from cluster.virtual.hosts import NoVirtualHosts, end_cluster, find_hosts, require_virtual_hosts
from launcher.config.load import parse
from tests.multihost.conftest import ROOT, Commands, Job, Laptop
from tests.multihost.test_secrets import contents
from tests.support.hosts import wait_until
from tests.support.page import FAULTS, JOBS, SUBMIT, Shell, block

pytestmark = [pytest.mark.multihost, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def terminal(shell: Shell) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`make cluster` in a terminal of its own, and what it said."""
    try:
        require_virtual_hosts()
    except NoVirtualHosts as reason:
        pytest.skip(str(reason))
    made = subprocess.Popen(
        ["bash", "-c", block("sh terminal")], env=shell.env, cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said = ""
        assert made.stdout is not None
        while "add a host" not in said:
            line = made.stdout.readline()
            assert line, said
            said += line
        yield made, said
    finally:
        if made.poll() is None:
            os.killpg(made.pid, signal.SIGKILL)
        end_cluster(shell.env["JPO_HOSTS"])


def losses(run_dir: Path) -> list[float]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line["metrics"]["loss"] for line in lines if "loss" in line["metrics"]]


@pytest.mark.nightly
def test_laptop_leaves_no_secret_of_the_shell_anywhere(
    shell: Shell, laptop: Laptop, tiny_config: Path, canaries: dict[str, str], seen_commands: Commands
) -> None:
    places = {
        "run folder": list(contents(laptop.runs / "laptop")),
        "mlflow": [path.read_bytes() for path in laptop.runs.glob("mlflow.db*")],
        "artifacts": list(contents(laptop.runs / "mlartifacts")),
        "files of Ray": list(contents(Path(shell.env["RAY_TMPDIR"]))),
        "command lines": list(seen_commands.seen),
        "output": [laptop.said.encode()],
    }
    control = yaml.safe_load(tiny_config.read_text())["run"]["name"].encode()
    without = [place for place, texts in places.items() if not any(control in text for text in texts)]
    assert without == ["command lines"]  # the name of the run is in the config, and in all the rest
    for name, value in canaries.items():
        assert [place for place, texts in places.items() if any(value.encode() in t for t in texts)] == [], name
    assert len(losses(laptop.runs / "laptop")) == 6


@pytest.mark.nightly
def test_two_hosts_give_the_losses_of_two_ray_workers_of_one(laptop: Laptop, finished_job: Job) -> None:
    assert losses(laptop.runs / "laptop") == losses(finished_job.folder / "run")


@pytest.mark.nightly
def test_virtual_cluster(shell: Shell, laptop: Laptop, terminal: tuple[subprocess.Popen[str], str]) -> None:
    runs, name = laptop.runs, shell.env["JPO_HOSTS"]
    hosts = find_hosts(name)
    shown = terminal[1].replace(f" --name {name}", "").replace(f"jpo-{name}", "jpo-hosts")
    network = hosts[0].ip.removesuffix(".1")
    lines = shown.replace(f"{network}.", "10.77.0.").splitlines()
    assert lines[-len(block("text").splitlines()) :] == block("text").splitlines()

    said = shell(SUBMIT)
    assert "\nray job submit --address http://" in f"\n{said}"
    plan = json.loads((runs / "virtual" / "plan.json").read_text())
    assert sorted(plan["hosts"]) == [f"{network}.{n}" for n in (1, 2, 3)]
    # Three ranks instead of the laptop's two: the same batches, other sums.
    assert losses(runs / "virtual") == pytest.approx(losses(runs / "laptop"), rel=1e-3)

    inside = shell._replace(settings=f'{shell.settings}\neval "$(python -m cluster env)"')
    said = inside(JOBS)
    assert "Job 'mine' was stopped" in said
    said = inside(FAULTS)
    assert f"{network}.4/24" in said
    assert len(find_hosts(name)) == 4


@pytest.mark.nightly
def test_ray_cluster(shell: Shell, terminal: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    """The commands for hosts of one's own, on two of the virtual ones without their Ray, with a token of their own."""
    head, other = find_hosts(shell.env["JPO_HOSTS"])[2:4]
    alone = f"unset RAY_AUTH_TOKEN_PATH; export HOME={tmp_path} RAY_TMPDIR={shell.env['RAY_TMPDIR']} HEAD={head.ip}\n"
    for host, kind in ((head, "sh head"), (other, "sh host")):
        host.kill()
        # Its output in a file: Ray's daemons inherit it, and a pipe would stay open as long as they live.
        log = tmp_path / f"{host.name}.log"
        done = host.run(["bash", "-euo", "pipefail", "-c", f"exec > {log} 2>&1\n{alone}{block(kind)}"])
        assert done.returncode == 0, log.read_text()
    token = tmp_path / ".ray" / "auth_token"
    assert (len(token.read_text()), token.stat().st_mode & 0o777) == (64, 0o600)
    status = ["bash", "-c", alone + "RAY_AUTH_MODE=token ray status --address=$HEAD:6379"]
    # The autoscaler's view, which is some seconds old.
    wait_until(lambda: len(re.findall(r"^ 1 node_", head.run(status).stdout, re.MULTILINE)) == 2)
    refused = head.run(["bash", "-c", alone + "RAY_AUTH_MODE=disabled ray status --address=$HEAD:6379"])
    assert "InvalidAuthToken" in refused.stderr


@pytest.mark.nightly
def test_ctrl_c_ends_everything(shell: Shell, terminal: tuple[subprocess.Popen[str], str]) -> None:
    name, made = shell.env["JPO_HOSTS"], terminal[0]
    pids = [pid for host in find_hosts(name) for pid in host.pids()]
    assert len(pids) > 12
    os.killpg(made.pid, signal.SIGINT)  # what Ctrl-C does
    made.communicate(timeout=60)
    assert namespaces.named(f"jpo-{name}-") == []
    assert not Path(f"/tmp/jpo-{name}").exists()
    assert f"jpo-{name}" not in psutil.net_if_addrs()
    left = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert left == []


def test_what_the_page_says_of_kubernetes_and_of_settings_is_there() -> None:
    paths = re.findall(r"(?:apply -k |^|python - < )(cluster/\S+)", block("sh kubernetes"), re.MULTILINE)
    assert len(paths) == 4
    assert all((ROOT / path).exists() for path in paths)
    assert all((ROOT / path / "kustomization.yaml").exists() for path in paths if "overlays" in path)
    # MLflow refuses a run whose user is not there yet; both pages make it after the server and before the job.
    for page in (block("sh kubernetes"), (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")):
        steps = ("/platform", "secrets.sh", "rollout status deployment/mlflow", "mlflow/user.py", "apply -k", "/job")
        place = 0
        for step in steps:
            place = page.index(step, place) + 1
    assert (ROOT / "cluster/slurm/train.sbatch").exists()
    settings = yaml.safe_load(block("yaml"))
    parse({"model": {"path": "m"}, "data": {"train": "d"}, "run": {"dir": "/r"}, **settings})
