"""Two hosts that share nothing but the disk: one worker on each, one process group across the cable."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from cluster.config import ClusterConfig
from cluster.errors import ResourceError, WorkerError
from cluster.ray_train import commit_reporter, launch
from cluster.tasks import run_tasks
from cluster.virtual import hosts
from tests.support.hosts import wait_until

pytestmark = [pytest.mark.multihost, pytest.mark.slow]

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
IMPORTABLE = {"PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])}


def sum_over_the_cable(payload):
    """What each worker does."""
    total = torch.tensor([10.0 ** dist.get_rank()])
    dist.all_reduce(total)
    facts = {"sum": total.item(), "ifname": os.environ["GLOO_SOCKET_IFNAME"], "interfaces": list(psutil.net_if_addrs())}
    facts |= {"local_rank": os.environ["LOCAL_RANK"], "node_rank": os.environ["NODE_RANK"]}
    Path(payload["out"], f"rank{dist.get_rank()}.json").write_text(json.dumps(facts))
    commit_reporter(ClusterConfig())(1, {"sum": total.item()})


def drive(address, out):
    """What the driver does, in a process on the head."""
    placed = {"placement": "STRICT_SPREAD", "address": address, "env": IMPORTABLE}
    try:
        too_large = ClusterConfig(workers=3, start_timeout_s=1, **placed)
        launch(sum_over_the_cable, {"out": out}, too_large, run_name="r", storage=f"{out}/ray")
    except ResourceError as error:
        Path(out, "refused").write_text(str(error))
    config = ClusterConfig(workers=2, start_timeout_s=60, collective_timeout_s=60, **placed)
    result = launch(sum_over_the_cable, {"out": out}, config, run_name="r", storage=f"{out}/ray")
    Path(out, "result.json").write_text(json.dumps(result))


@pytest.mark.nightly
def test_one_worker_on_each_host_and_a_sum_across_the_cable(two_hosts, tmp_path):
    head = two_hosts[0]
    code = f"import test_two_hosts_smoke as test; test.drive({head.head_address!r}, {str(tmp_path)!r})"
    done = head.run([sys.executable, "-c", code], IMPORTABLE, timeout=200)
    assert done.returncode == 0, done.stderr

    assert done.stdout == ""

    refused = (tmp_path / "refused").read_text()
    assert "cluster.workers=3" in refused
    assert all(f"{host.ip} has 1 CPU" in refused for host in two_hosts)
    assert "room for 2 of 3" in refused
    result = json.loads((tmp_path / "result.json").read_text())
    assert result == {"attempts": 1, "metrics": {"step": 1, "sum": 11.0}}

    ranks = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in range(2)]
    assert [facts["sum"] for facts in ranks] == [11.0, 11.0]
    assert [facts["local_rank"] for facts in ranks] == ["0", "0"]
    assert {facts["node_rank"] for facts in ranks} == {"0", "1"}
    # Every worker found the one cable of its own host; the names differ.
    assert all(facts["interfaces"] == ["lo", facts["ifname"]] for facts in ranks)
    assert ranks[0]["ifname"] != ranks[1]["ifname"]


def test_the_cluster_of_the_hosts_is_closed_to_those_without_its_token(two_hosts):
    head = two_hosts[0]
    assert stat.S_IMODE(head.token_file.stat().st_mode) == 0o600
    ask = (
        "import sys, urllib.error, urllib.request as u\n"
        f"request = u.Request('{head.dashboard_address}/api/jobs/')\n"
        "if len(sys.argv) > 1: request.add_header('Authorization', 'Bearer ' + open(sys.argv[1]).read())\n"
        "try: print(u.urlopen(request, timeout=20).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    assert head.run([sys.executable, "-c", ask]).stdout.strip() == "401"
    assert two_hosts[1].run([sys.executable, "-c", ask, str(head.token_file)]).stdout.strip() == "200"


def test_hosts_vanish_with_all_their_processes_even_after_an_error(two_hosts, monkeypatch):
    started = []

    def refuse_the_second(host, cpus):
        started.append((host, host.popen(["sleep", "600"])))
        if len(started) == 2:
            raise RuntimeError("no second node")

    monkeypatch.setattr(hosts.VirtualHost, "start_ray", refuse_the_second)
    with pytest.raises(RuntimeError, match="no second node"), hosts.virtual_hosts(2):
        pass
    assert [process.poll() for _, process in started] == [-9, -9]
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert not any(host.name in left for host, _ in started)
    assert not any(host.temp_dir.parent.exists() for host, _ in started)


def one_fails(payload):
    """The other would go on for ever."""
    there = Path(payload["out"], "pid")
    if payload["fails"]:
        wait_until(there.exists)
        raise ValueError("the task that fails")
    there.with_suffix(".new").write_text(str(os.getpid()))
    there.with_suffix(".new").rename(there)
    threading.Event().wait()


def drive_tasks(address, out):
    payloads = [{"out": out, "fails": fails} for fails in (False, True)]
    config = ClusterConfig(workers=2, start_timeout_s=60, placement="SPREAD", address=address, env=IMPORTABLE)
    try:
        run_tasks(one_fails, payloads, config.model_copy(update={"cpus_per_worker": 64, "start_timeout_s": 1}))
    except ResourceError as error:
        Path(out, "refused").write_text(str(error))
    try:
        run_tasks(one_fails, payloads, config)
    except WorkerError as error:
        Path(out, "said").write_text(str(error))


@pytest.mark.nightly
def test_the_first_task_that_fails_ends_the_others_on_a_cluster_that_stays(two_hosts, tmp_path):
    head = two_hosts[0]
    code = f"import test_two_hosts_smoke as test; test.drive_tasks({head.head_address!r}, {str(tmp_path)!r})"
    done = head.run([sys.executable, "-c", code], IMPORTABLE, timeout=200)
    assert done.returncode == 0, done.stderr
    refused = (tmp_path / "refused").read_text()
    assert "1 x 64 CPU" in refused
    assert "room for 0 of 1" in refused
    assert "the task that fails" in (tmp_path / "said").read_text()
    other = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(other), seconds=30)
