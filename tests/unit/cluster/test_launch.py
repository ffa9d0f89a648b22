"""Machines to ranked processes: what real workers get, what of their errors comes back, and what is left of them."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from cluster import connection, environment, ray_train
from cluster.config import ClusterConfig
from cluster.errors import ClusterError, ResourceError, WorkerError, is_input

ROOT = Path(__file__).parents[3]
IMPORTABLE = {"PYTHONPATH": str(ROOT)}
QUICK = {"health_timeout_s": 30, "collective_timeout_s": 60, "start_timeout_s": 60, "cpus_per_worker": 0.5}


def tell_environment(payload):
    """Each rank writes what it sees; rank 0 also lists every process that belongs to the driver."""
    total = torch.tensor([dist.get_rank() + 1.0])
    dist.all_reduce(total)
    driver = psutil.Process(payload["driver"])
    family = [[p.pid, p.create_time()] for p in driver.children(recursive=True)]
    facts = {"env": dict(os.environ), "sum": total.item(), "family": family, "threads": torch.get_num_threads()}
    facts |= {"cwd": os.getcwd(), "backend": dist.get_backend(), "stranger": knock() if dist.get_rank() == 0 else ""}
    Path(payload["out"], f"rank{dist.get_rank()}.json").write_text(json.dumps(facts))
    report = ray_train.commit_reporter(ClusterConfig())
    for step in (1, 2):
        report(step, {"loss": 1.0 / step})


def knock():
    """What the cluster says to a client of this very user that sends no token."""
    code = "import ray, sys; ray._raylet.GcsClient(address=sys.argv[1])"
    address = ray_train.ray.get_runtime_context().gcs_address
    env = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    return subprocess.run([sys.executable, "-c", code, address], env=env, capture_output=True, text=True).stderr


class Unpicklable(ValueError):
    def __reduce__(self):
        raise TypeError("this exception cannot leave its process")


def fail_on_rank_1(payload):
    if dist.get_rank() == 1:
        raise Unpicklable("comparison 17 has no winner")
    dist.barrier()


def die_once_on_rank_1(payload):
    dist.barrier()
    flag = Path(payload["out"], "died")
    if dist.get_rank() == 1 and not flag.exists():
        flag.touch()
        os._exit(7)
    dist.barrier()


def wait_for_ever(payload):
    driver = psutil.Process(payload["driver"])
    family = [[p.pid, p.create_time()] for p in driver.children(recursive=True)]
    dist.barrier()
    here = Path(payload["out"], f"rank{dist.get_rank()}")
    here.with_suffix(".new").write_text(json.dumps(family))
    here.with_suffix(".new").rename(here)
    threading.Event().wait()


def wrong_input(payload):
    with open(payload["log"], "a") as file:
        file.write("start\n")
    raise ValueError("data.train is wrong")


def always_failing(payload):
    with open(payload["log"], "a") as file:
        file.write("start\n")
    raise RuntimeError("the same thing again")


def do_nothing(payload):
    pass


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.1)


@pytest.mark.parametrize(
    "asked",
    [
        {"workers": 4097, "cpus_per_worker": 1},
        {"workers": 2, "cpus_per_worker": 0.25, "placement": "STRICT_SPREAD"},
        {"workers": 4097, "cpus_per_worker": 0.001, "gpus_per_worker": 1},
    ],
)
def test_what_this_machine_can_never_hold_is_refused_before_ray_starts(asked, tmp_path):
    children, start = psutil.Process().children(), time.monotonic()
    with pytest.raises(
        ResourceError, match=rf"cluster\.workers={asked['workers']}.*room for \d+ of {asked['workers']}"
    ):
        ray_train.launch(do_nothing, {}, ClusterConfig(**asked), run_name="r", storage=str(tmp_path))
    assert time.monotonic() - start < 5
    assert psutil.Process().children() == children


def test_an_entry_that_workers_cannot_import_is_refused():
    with pytest.raises(ValueError, match="top-level function"):
        ray_train.launch(lambda payload: None, {}, ClusterConfig(), run_name="r", storage="s")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "nonsense"])
def test_an_address_without_a_cluster_fails_at_once_and_says_what_is_expected(address, tmp_path):
    start = time.monotonic()
    with pytest.raises(ClusterError, match=r"cluster\.address .*HOST:PORT"):
        ray_train.launch(
            do_nothing, {}, ClusterConfig(address=address), run_name="r", storage=str(tmp_path)
        )  # fmt: skip
    assert time.monotonic() - start < 10


def test_the_address_of_a_dead_cluster_is_wrong_input_and_named_as_it_was_given(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    said = (
        r"^RAY_ADDRESS \(127\.0\.0\.1:1\) must be .*refused.*correct RAY_ADDRESS, or unset it to train on this machine"
    )
    with pytest.raises(ClusterError, match=said) as dead, connection.connected(ClusterConfig()):
        pass
    assert is_input(dead.value)
    with pytest.raises(ClusterError, match=r"^cluster\.address \(127\.0\.0\.1:2\)"), connection.connected(
        ClusterConfig(address="127.0.0.1:2")
    ):  # fmt: skip
        pass
    assert "RAY_ADDRESS (127.0.0.1:1)" in connection.describe()["error"]


def test_describe_starts_nothing(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    children = psutil.Process().children()
    assert connection.describe()["address"] is None
    assert "refused" in connection.describe("127.0.0.1:1")["error"]
    assert psutil.Process().children() == children


@pytest.mark.slow
@pytest.mark.nightly
def test_two_workers_form_a_group_report_their_commits_and_leave_no_process(tmp_path, capfd):
    payload = {"out": str(tmp_path), "driver": os.getpid()}
    config = ClusterConfig(workers=2, **QUICK | {"env": {**IMPORTABLE, "A": "b"}})
    before = {(p.pid, p.create_time()) for p in psutil.process_iter()}  # other tests keep a fork server
    result = ray_train.launch(tell_environment, payload, config, run_name="r", storage=str(tmp_path / "ray"))
    assert result == {"attempts": 1, "metrics": {"step": 2, "loss": 0.5}}
    assert capfd.readouterr().out == ""

    ranks = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in range(2)]
    for r, facts in enumerate(ranks):
        env = facts["env"]
        assert (env["RANK"], env["WORLD_SIZE"], env["LOCAL_RANK"], env["A"]) == (str(r), "2", str(r), "b")
        assert (env["DS_ACCELERATOR"], env["TOKENIZERS_PARALLELISM"]) == ("cpu", "false")
        assert env["CUDA_VISIBLE_DEVICES"] == ""
        assert (facts["sum"], facts["backend"], facts["threads"]) == (3.0, "gloo", 1)
        assert facts["cwd"] == os.getcwd()
        assert env["GLOO_SOCKET_IFNAME"] in psutil.net_if_addrs()
    assert "InvalidAuthToken" in ranks[0]["stranger"]
    alive = {(p.pid, p.create_time()) for p in psutil.process_iter()}
    family = {(pid, created) for facts in ranks for pid, created in facts["family"]}
    started = family - before
    assert len(started) >= 4
    assert not started & alive


@pytest.mark.slow
@pytest.mark.nightly
def test_workers_that_cannot_connect_are_tried_again_and_then_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_train, "SETUP_ATTEMPTS", 2)
    env = {**IMPORTABLE, "GLOO_SOCKET_IFNAME": "nosuch0"}
    config = ClusterConfig(workers=2, max_failures=0, **QUICK | {"env": env})
    with pytest.raises(ClusterError, match=r"\(2 attempts\).*nosuch0.*GLOO_SOCKET_IFNAME"):
        ray_train.launch(do_nothing, {}, config, run_name="r", storage=str(tmp_path))


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_stopped_driver_unwinds_and_leaves_no_process(tmp_path, number, status):
    code = (
        "import os, tests.unit.cluster.test_launch as t\n"
        f"payload = {{'out': {str(tmp_path)!r}, 'driver': os.getpid()}}\n"
        "config = t.ClusterConfig(workers=2, **t.QUICK)\n"
        "try:\n"
        "    t.ray_train.launch(t.wait_for_ever, payload, config, run_name='r', storage=payload['out'])\n"
        "finally:\n"
        "    open(payload['out'] + '/unwound', 'w').close()\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **IMPORTABLE}, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: (tmp_path / "rank1").exists() and (tmp_path / "rank0").exists(), 120)
        family = json.loads((tmp_path / "rank0").read_text())
        driver.send_signal(number)
        driver.communicate(timeout=60)
    finally:
        driver.kill()
    assert driver.returncode == status
    assert (tmp_path / "unwound").exists()
    alive = {(p.pid, p.create_time()) for p in psutil.process_iter()}
    assert len(family) >= 4
    assert not {(pid, created) for pid, created in family} & alive


@pytest.mark.slow
@pytest.mark.nightly
def test_a_driver_stopped_between_two_starts_does_not_begin_the_next(tmp_path):
    """Ray's handler of the first start is still there then, and asks a controller that has nothing left to abort."""
    code = (
        "import signal, tests.unit.cluster.test_launch as t\n"
        "t.ray_train.root_cause = lambda *failures: signal.raise_signal(signal.SIGINT)\n"
        "config = t.ClusterConfig(workers=2, **t.QUICK)\n"
        f"payload = {{'log': {str(tmp_path / 'starts')!r}}}\n"
        f"t.ray_train.launch(t.always_failing, payload, config, run_name='r', storage={str(tmp_path)!r})\n"
    )
    env = {**os.environ, **IMPORTABLE}
    driver = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert driver.returncode == -signal.SIGINT, driver.stderr
    assert "KeyboardInterrupt" in driver.stderr
    assert "abort" not in driver.stderr
    assert (tmp_path / "starts").read_text() == "start\n" * 2  # one for each rank


@pytest.mark.slow
@pytest.mark.nightly
def test_a_run_that_waits_for_room_says_so_and_can_be_stopped(tmp_path):
    code = (
        "import tests.unit.cluster.test_launch as t\n"
        "t.ray_train.ray.init(address='local', num_cpus=1, include_dashboard=False)\n"
        "t.connection.SETTLE_S = 1.0\n"
        "config = t.ClusterConfig(workers=4, **t.QUICK)\n"
        f"t.ray_train.launch(t.do_nothing, {{}}, config, run_name='r', storage={str(tmp_path)!r})\n"
    )
    env = {**os.environ, **IMPORTABLE}
    driver = subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE, text=True)
    try:
        said = next(line for line in driver.stderr if "for room" in line)
        assert "asked: cluster.workers=4 x 0.5 CPU" in said
        driver.send_signal(signal.SIGTERM)
        driver.communicate(timeout=20)
    finally:
        driver.kill()
    assert driver.returncode == 143


@pytest.fixture(scope="module")
def one_ray():
    """A Ray for the tests that need no Ray of their own. They stand last: while it lives, `launch` starts no other."""
    config = ClusterConfig(workers=2, **QUICK)
    with environment.environment(environment.ray_settings(config)), connection.connected(config):
        yield


@pytest.mark.slow
def test_the_error_of_a_rank_reaches_the_driver_with_its_traceback(one_ray, tmp_path):
    config = ClusterConfig(workers=2, max_failures=0, **QUICK)
    with pytest.raises(WorkerError) as caught:
        ray_train.launch(fail_on_rank_1, {}, config, run_name="r", storage=str(tmp_path))
    error = caught.value
    assert (error.rank, error.kind, error.message) == (1, "Unpicklable", "comparison 17 has no winner")
    assert "in fail_on_rank_1" in error.log
    assert pickle.loads(pickle.dumps(error)).log == error.log


@pytest.mark.slow
def test_a_lost_worker_is_replaced_and_the_loss_recorded(one_ray, tmp_path, capfd):
    config = ClusterConfig(workers=2, max_failures=1, **QUICK)
    payload = {"out": str(tmp_path)}
    result = ray_train.launch(
        die_once_on_rank_1, payload, config, run_name="r", storage=str(tmp_path)
    )  # fmt: skip
    assert result["attempts"] == 2
    assert (tmp_path / "died").exists()
    assert capfd.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize(("entry", "starts"), [(wrong_input, 1), (always_failing, 2)])
def test_an_error_that_another_try_cannot_mend_is_not_tried_again(one_ray, entry, starts, tmp_path):
    """Wrong input at once, any other error when it comes back word for word; three more starts were allowed."""
    config = ClusterConfig(workers=1, max_failures=3, **QUICK)
    with pytest.raises(WorkerError) as caught:
        ray_train.launch(entry, {"log": str(tmp_path / "starts")}, config, run_name="hopeless", storage=str(tmp_path))
    assert caught.value.is_input == (starts == 1)
    assert len((tmp_path / "starts").read_text().splitlines()) == starts
