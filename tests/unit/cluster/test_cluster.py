"""Machines to ranked processes: what a run needs of them, what goes wrong with them, what is left of them."""

import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray.train
import torch
import torch.distributed as dist

from cluster import connection, environment, ray_train, resources
from cluster.config import ClusterConfig
from cluster.errors import ClusterError, ResourceError, WorkerError, is_echo, root_cause
from cluster.resources import Node
from tests.support.disk import fill_up, small_disk

ROOT = Path(__file__).parents[3]
IMPORTABLE = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT)])}
QUICK = {"health_timeout_s": 30, "collective_timeout_s": 60, "start_timeout_s": 60, "cpus_per_worker": 0.5}


# ---- what the workers of these tests run


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


# ---- resources


def node(cpus, gpus=0.0, free=None):
    return Node("10.0.0.1", cpus, gpus, cpus if free is None else free, gpus)


@pytest.mark.parametrize(
    ("placement", "expected"), [("PACK", 5), ("SPREAD", 5), ("STRICT_PACK", 4), ("STRICT_SPREAD", 2)]
)
def test_capacity_follows_the_placement_rule(placement, expected):
    config = ClusterConfig(workers=2, cpus_per_worker=2, placement=placement)
    assert resources.capacity([node(8.5), node(3), node(1.9)], config) == expected


def test_capacity_is_bounded_by_the_scarcer_of_cpus_and_gpus():
    config = ClusterConfig(workers=2, cpus_per_worker=1, gpus_per_worker=0.5)
    assert resources.capacity([node(3, gpus=8), node(64, gpus=1), node(64)], config) == 3 + 2 + 0


def test_many_small_shares_of_a_cpu_are_not_lost_to_rounding():
    assert resources.capacity([node(0.3)], ClusterConfig(workers=3, cpus_per_worker=0.1)) == 3


def test_a_shortage_names_what_was_asked_what_each_node_has_and_the_fix():
    config = ClusterConfig(workers=3, placement="STRICT_SPREAD")
    text = resources.shortage([node(4), node(8, free=2)], config, waited_s=12)
    for part in ("cluster.workers=3", "STRICT_SPREAD", "4 CPU (4 free)", "8 CPU (2 free)", "room for 2 of 3", "12 s"):
        assert part in text
    assert "join 1 more node(s), or use cluster.placement=SPREAD" in text


def test_a_shortage_by_other_users_is_told_from_a_too_small_cluster():
    text = resources.shortage([node(4, free=0)], ClusterConfig(workers=2), waited_s=0)
    assert "in use by others" in text
    assert "cluster.start_timeout_s" in text


def test_dead_nodes_do_not_count():
    records = [
        {"Alive": True, "NodeID": "a", "NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 4.0}},
        {"Alive": False, "NodeID": "b", "NodeManagerAddress": "10.0.0.2", "Resources": {"CPU": 4.0}},
    ]
    assert resources.nodes_of(records, {"a": {"CPU": 1.0}}) == [Node("10.0.0.1", 4.0, 0.0, 1.0, 0.0, "a")]


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
        ray_train.launch(do_nothing, {}, ClusterConfig(**asked), run_name="r", storage=str(tmp_path), env={})
    assert time.monotonic() - start < 5
    assert psutil.Process().children() == children


# ---- errors


def test_the_root_cause_is_a_ranks_own_error_not_the_echoes_of_it():
    echo = WorkerError(0, "RuntimeError", "[gloo] Connection closed by peer [10.0.0.2]", when=1.0)
    peer = WorkerError(2, "PeerError", "reading failed on rank 1: ValueError: no", when=2.0)
    own = WorkerError(1, "ValueError", "no", when=3.0)
    assert root_cause({0: echo, 1: own, 2: peer}, 3) is own


def test_the_earliest_of_several_own_errors_is_the_root_cause():
    first, second = WorkerError(1, "ValueError", "a", when=1.0), WorkerError(0, "KeyError", "b", when=2.0)
    assert root_cause({0: second, 1: first}, 2) is first


def test_a_lost_process_explains_the_echoes_of_the_others():
    echo = WorkerError(0, "RuntimeError", "Connection reset by peer", when=1.0)
    lost = RuntimeError("The actor died.\n\tactor_id: 0a1b\n\tpid: 12\nexit detail: code 137")
    cause = root_cause({0: echo, 1: lost}, 2)
    assert (cause.rank, cause.kind, cause.message) == (1, "WorkerLost", "The actor died. exit detail: code 137")


def test_with_nothing_but_echoes_the_silent_ranks_are_named():
    echo = WorkerError(0, "RuntimeError", "[gloo] Timed out waiting 60000ms for recv", when=1.0)
    assert "rank 1, 3" in root_cause({0: echo, 2: echo}, 4).message


def test_an_ordinary_runtime_error_is_not_an_echo():
    assert not is_echo(WorkerError(0, "RuntimeError", "shape (3, 4) does not match"))
    assert not is_echo(WorkerError(0, "OSError", "Connection refused"))


def test_a_worker_error_survives_pickling_with_its_traceback():
    try:
        raise Unpicklable("inner")
    except Unpicklable as error:
        before = WorkerError.of(3, error)
    after = pickle.loads(pickle.dumps(before))
    assert (after.rank, after.kind, after.message, after.when) == (3, "Unpicklable", "inner", before.when)
    assert 'raise Unpicklable("inner")' in after.log


def test_an_entry_that_workers_cannot_import_is_refused():
    with pytest.raises(ValueError, match="top-level function"):
        ray_train.launch(lambda payload: None, {}, ClusterConfig(), run_name="r", storage="s", env={})


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "nonsense"])
def test_an_address_without_a_cluster_fails_at_once_and_says_what_is_expected(address, tmp_path):
    start = time.monotonic()
    with pytest.raises(ClusterError, match=r"cluster\.address .*HOST:PORT"):
        ray_train.launch(
            do_nothing, {}, ClusterConfig(address=address), run_name="r", storage=str(tmp_path), env={}
        )  # fmt: skip
    assert time.monotonic() - start < 10


def test_describe_starts_nothing(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    children = psutil.Process().children()
    assert connection.describe()["address"] is None
    assert "refused" in connection.describe("127.0.0.1:1")["error"]
    assert psutil.Process().children() == children


# ---- environment


def test_workers_get_a_closed_list_of_the_drivers_variables_and_no_secrets():
    driver = {
        "HF_HUB_OFFLINE": "1",
        "NCCL_DEBUG": "INFO",
        "HF_TOKEN": "canary",
        "OPENAI_API_KEY": "canary",
        "NCCL_SOCKET_IFNAME": "eth9",
    }
    env = environment.worker_env(ClusterConfig(cpus_per_worker=3.5), driver, {})
    assert env == {
        "OMP_NUM_THREADS": "3",
        "TOKENIZERS_PARALLELISM": "false",
        "DS_ACCELERATOR": "cpu",
        "HF_HUB_OFFLINE": "1",
        "NCCL_DEBUG": "INFO",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    }


def test_the_later_source_of_a_variable_wins():
    config = ClusterConfig(env={"OMP_NUM_THREADS": "5", "HF_HOME": "/config"}, gpus_per_worker=1)
    env = environment.worker_env(config, {"OMP_NUM_THREADS": "4", "HF_HOME": "/shell"}, {"HF_HOME": "/caller"})
    assert (env["OMP_NUM_THREADS"], env["HF_HOME"]) == ("5", "/caller")
    assert "DS_ACCELERATOR" not in env


def test_environment_is_as_before_afterwards(monkeypatch):
    monkeypatch.setenv("JPO_A", "old")
    monkeypatch.delenv("JPO_B", raising=False)
    with suppress(KeyError), environment.environment({"JPO_A": "new", "JPO_B": "new"}):
        assert (os.environ["JPO_A"], os.environ["JPO_B"]) == ("new", "new")
        raise KeyError
    assert os.environ["JPO_A"] == "old"
    assert "JPO_B" not in os.environ


def test_the_interface_of_an_address_is_found():
    assert environment.interface_of("127.0.0.1") == "lo"
    assert environment.interface_of("203.0.113.77") is None


def test_the_limits_of_the_config_become_rays():
    settings = environment.ray_settings(ClusterConfig(health_timeout_s=7, start_timeout_s=8, collective_timeout_s=9))
    assert settings["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] == "7"
    assert settings["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "8"
    assert environment.ray_settings(ClusterConfig())["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "120"
    assert settings["RAY_TRAIN_COLLECTIVE_TIMEOUT_S"] == "9"


def failed_with(*errors):
    """What a start does: raise errors in turn as Ray would, after a commit where one is given; then succeed."""
    waiting = list(errors)

    def start(number):
        if not waiting:
            return
        commit, error = waiting.pop(0)
        if commit:
            commit()
        raise ray.train.WorkerGroupError("lost", {error.rank: error}) if isinstance(error, WorkerError) else error

    return start


def test_the_same_words_twice_end_a_run_only_when_it_got_nowhere_between(tmp_path):
    context = SimpleNamespace(run_config=SimpleNamespace(name="r-1"))
    diary, config = ray_train._Diary(str(tmp_path / "cluster.jsonl")), ClusterConfig(workers=2, max_failures=3)
    diary.num_workers = 2
    error = WorkerError(1, "TypeError", "a")
    with pytest.raises(WorkerError, match="TypeError: a"):
        ray_train._until_done(failed_with((None, error), (None, error)), config, diary, "r")
    commit = lambda: diary.after_report(context, [{"step": 1}], None)  # noqa: E731
    assert ray_train._until_done(failed_with((None, error), (commit, error)), config, diary, "r") == 3
    lost = WorkerError(0, "WorkerLost", "killed")
    assert ray_train._until_done(failed_with(*[(None, lost)] * 3), config, diary, "r") == 4
    leaves = WorkerError(0, "HostLeaves", "step 5")
    assert ray_train._until_done(failed_with(*[(None, leaves)] * 9), config, diary, "r") == 10
    with pytest.raises(WorkerError, match="killed"):
        ray_train._until_done(failed_with(*[(None, lost)] * 4), config, diary, "r")


def test_an_end_that_ray_tells_of_twice_is_one_and_a_torn_line_is_none(tmp_path):
    context = SimpleNamespace(run_config=SimpleNamespace(name="r"))
    diary = ray_train._Diary(str(tmp_path / "cluster.jsonl"))
    for _ in range(2):
        diary.after_exception(context, {0: WorkerError(0, "HostLeaves", "step 5", when=2.0)})
    with open(diary.path, "a") as file:
        file.write('{"ts_ms": 17, "run": "r", "eve\n')
    diary = ray_train._Diary(diary.path)  # of the next start
    diary.after_exception(context, {1: WorkerError(1, "TypeError", "a", when=3.0)})
    assert [len(diary.events("r", kind)) for kind in ("failure", "regroup")] == [1, 1]


def test_after_a_loss_the_workers_are_as_many_as_there_is_room_for(monkeypatch, caplog):
    """Ray counts the places of a host that has gone for a minute. Not even then is `min` enough."""
    room, asked = [8, 8, 7], []
    monkeypatch.setattr(connection, "nodes", list)
    monkeypatch.setattr(connection.resources, "room", lambda nodes, config: room.pop(0))

    def reserved(config, seconds):
        asked.append(config.most)
        return config.most < 8

    monkeypatch.setattr(connection, "reserved", reserved)
    monkeypatch.setattr(connection, "SETTLE_S", 0.0)
    assert connection.workers_now(ClusterConfig(workers={"min": 1, "max": 8})) == 7
    assert asked == [8, 8, 7]
    assert [record.message.partition(":")[0] for record in caplog.records] == ["waiting 600 s for room"]


def test_a_full_disk_costs_the_diary_whole_lines_and_nothing_else(tmp_path):
    context = SimpleNamespace(run_config=SimpleNamespace(name="r"))
    with small_disk(tmp_path / "disk", mib=1) as disk:
        diary = ray_train._Diary(str(disk / "cluster.jsonl"))
        diary.after_report(context, [{"step": 1, "words": "x" * 3000}], None)
        ballast = fill_up(disk)
        for step in (2, 3):
            diary.after_report(context, [{"step": step, "words": "x" * 3000}], None)
        ballast.unlink()
        diary.after_report(context, [{"step": 4}], None)
        assert [event["metrics"]["step"] for event in diary.events("r", "commit")] == [1, 4]


def test_rays_name_for_the_wait_for_a_lost_worker_is_the_one_that_is_set():
    from ray.train import constants

    assert list(ray_train.LEAVING_A_GROUP) == [constants.TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S]


def test_the_ray_token_is_made_once_and_only_its_owner_can_read_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    environment.private_token()
    path = tmp_path / ".ray" / "auth_token"
    token = path.read_text()
    path.chmod(0o644)  # as Ray itself would have written it
    environment.private_token()
    assert path.read_text() == token
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


# ---- real workers


@pytest.mark.slow
def test_two_workers_form_a_group_report_their_commits_and_leave_no_process(tmp_path, capfd):
    payload = {"out": str(tmp_path), "driver": os.getpid()}
    config = ClusterConfig(workers=2, **QUICK)
    before = {(p.pid, p.create_time()) for p in psutil.process_iter()}  # other tests keep a fork server
    result = ray_train.launch(
        tell_environment, payload, config, run_name="r", storage=str(tmp_path / "ray"), env={**IMPORTABLE, "A": "b"}
    )
    assert result == {"attempts": 1, "metrics": {"step": 2, "loss": 0.5}}
    assert capfd.readouterr().out == ""

    ranks = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in range(2)]
    for r, facts in enumerate(ranks):
        env = facts["env"]
        assert (env["RANK"], env["WORLD_SIZE"], env["LOCAL_RANK"], env["A"]) == (str(r), "2", str(r), "b")
        assert (env["DS_ACCELERATOR"], env["TOKENIZERS_PARALLELISM"]) == ("cpu", "false")
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
def test_the_error_of_a_rank_reaches_the_driver_with_its_traceback(tmp_path):
    config = ClusterConfig(workers=2, max_failures=0, **QUICK)
    with pytest.raises(WorkerError) as caught:
        ray_train.launch(fail_on_rank_1, {}, config, run_name="r", storage=str(tmp_path), env=IMPORTABLE)
    error = caught.value
    assert (error.rank, error.kind, error.message) == (1, "Unpicklable", "comparison 17 has no winner")
    assert "in fail_on_rank_1" in error.log
    assert pickle.loads(pickle.dumps(error)).log == error.log


@pytest.mark.slow
def test_a_lost_worker_is_replaced_and_the_loss_recorded(tmp_path, capfd):
    config = ClusterConfig(workers=2, max_failures=1, **QUICK)
    payload = {"out": str(tmp_path)}
    result = ray_train.launch(
        die_once_on_rank_1, payload, config, run_name="r", storage=str(tmp_path), env=IMPORTABLE
    )  # fmt: skip
    assert result["attempts"] == 2
    assert (tmp_path / "died").exists()
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_workers_that_cannot_connect_are_tried_again_and_then_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_train, "SETUP_ATTEMPTS", 2)
    env = {**IMPORTABLE, "GLOO_SOCKET_IFNAME": "nosuch0"}
    config = ClusterConfig(workers=2, max_failures=0, **QUICK)
    with pytest.raises(ClusterError, match=r"\(2 attempts\).*nosuch0.*GLOO_SOCKET_IFNAME"):
        ray_train.launch(do_nothing, {}, config, run_name="r", storage=str(tmp_path), env=env)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_stopped_driver_unwinds_and_leaves_no_process(tmp_path, number, status):
    code = (
        "import os, test_cluster as t\n"
        f"payload = {{'out': {str(tmp_path)!r}, 'driver': os.getpid()}}\n"
        "config = t.ClusterConfig(workers=2, **t.QUICK)\n"
        "try:\n"
        "    t.ray_train.launch(t.wait_for_ever, payload, config, run_name='r', storage=payload['out'], env={})\n"
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
def test_a_driver_stopped_between_two_starts_does_not_begin_the_next(tmp_path):
    """Ray's handler of the first start is still there then, and asks a controller that has nothing left to abort."""
    code = (
        "import signal, test_cluster as t\n"
        "t.ray_train.root_cause = lambda *failures: signal.raise_signal(signal.SIGINT)\n"
        "config = t.ClusterConfig(workers=2, **t.QUICK)\n"
        f"payload = {{'log': {str(tmp_path / 'starts')!r}}}\n"
        f"t.ray_train.launch(t.always_failing, payload, config, run_name='r', storage={str(tmp_path)!r}, env={{}})\n"
    )
    env = {**os.environ, **IMPORTABLE}
    driver = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert driver.returncode == -signal.SIGINT, driver.stderr
    assert "KeyboardInterrupt" in driver.stderr
    assert "abort" not in driver.stderr
    assert (tmp_path / "starts").read_text() == "start\n" * 2  # one for each rank


@pytest.mark.slow
def test_a_run_that_waits_for_room_says_so_and_can_be_stopped(tmp_path):
    code = (
        "import test_cluster as t\n"
        "t.ray.init(address='local', num_cpus=1, include_dashboard=False)\n"
        "t.connection.SETTLE_S = 1.0\n"
        "config = t.ClusterConfig(workers=4, **t.QUICK)\n"
        f"t.ray_train.launch(t.do_nothing, {{}}, config, run_name='r', storage={str(tmp_path)!r}, env={{}})\n"
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


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "starts"), [(wrong_input, 1), (always_failing, 2)])
def test_an_error_that_another_try_cannot_mend_is_not_tried_again(entry, starts, tmp_path):
    """Wrong input at once, any other error when it comes back word for word; three more starts were allowed."""
    config = ClusterConfig(workers=1, max_failures=3, **QUICK)
    with pytest.raises(WorkerError) as caught:
        ray_train.launch(
            entry, {"log": str(tmp_path / "starts")}, config, run_name="hopeless", storage=str(tmp_path), env=IMPORTABLE
        )
    assert caught.value.is_input == (starts == 1)
    assert len((tmp_path / "starts").read_text().splitlines()) == starts
