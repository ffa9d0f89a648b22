"""The fault matrix: what happens to hosts, links, processes, disks and servers while the real command trains on them.

Every run ends with the losses of the undisturbed one and with one row a step in MLflow, or with one clear error. What
is measured on the way is in docs/reliability.md (`make faults`).
"""

import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.virtual.hosts import NoVirtualHosts, VirtualHost, virtual_hosts
from tests.support import matrix
from tests.support.commands import Files, commits, jpo, lines_of, numbers, tiny_files, torchrun, tracked
from tests.support.disk import fill_up, small_disk
from tests.support.faults import (
    NODE_LIMITS,
    STEPS,
    Moment,
    Trial,
    detected_s,
    is_alive,
    make_whole,
    recovered_s,
    step_seconds,
    train,
    training,
    with_database,
    work_lost,
)
from tests.support.hosts import ask, wait_until
from tests.support.poison import comparison_of_step, poison_model, with_poison

pytestmark = [pytest.mark.slow, pytest.mark.multihost, pytest.mark.nightly, pytest.mark.timeout(900)]
SAME = "same losses, bit for bit"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A tiny model; a commit every two steps."""
    return with_database(tiny_files(tmp_path_factory.mktemp("faults")))


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk that is soon full."""
    with small_disk(tmp_path_factory.mktemp("disk") / "small", mib=16) as folder:
        yield folder


@pytest.fixture(scope="module")
def cluster(disk: Path) -> Iterator[list[VirtualHost]]:
    """A head without workers, and three hosts with room for one each: two ranks and a spare."""
    try:
        with virtual_hosts(4, cpus=1, head_cpus=0, env=NODE_LIMITS) as made:
            yield made
    except NoVirtualHosts as reason:
        pytest.skip(str(reason))


@pytest.fixture
def hosts(cluster: list[VirtualHost]) -> Iterator[list[VirtualHost]]:
    """The whole cluster, head first; what a test did to it is mended afterwards."""
    yield cluster
    make_whole(cluster)


@pytest.fixture(scope="module")
def undisturbed(cluster: list[VirtualHost], files: Files) -> Path:
    """The run folder of two ranks that nothing happened to."""
    trial = train(cluster[0], files, files.folder / "undisturbed")
    trial.ends()
    tracked(trial.run_dir)
    return trial.run_dir


def host_of(trial: Trial, rank: int, hosts: list[VirtualHost]) -> VirtualHost:
    (host,) = [host for host in hosts if host.ip == trial.hosts()[rank]]
    return host


def recovers(name: str, trial: Trial, fault: Moment, undisturbed: Path, also: str = "") -> None:
    """The run gets to its end by itself, as if nothing had been; what it took is recorded, with what the test saw."""
    trial.ends()
    is_undisturbed(trial, undisturbed)
    is_started_again(trial)
    matrix.record(name, detected_s(trial, fault), recovered_s(trial, fault), work_lost(trial, fault), SAME + also)


def goes_on(name: str, trial: Trial, fault: Moment, undisturbed: Path, detected: float | None) -> None:
    """The same command again gets to the end."""
    again = trial.again()
    again.ends()
    is_undisturbed(again, undisturbed)
    is_started_again(again)
    result = f"by the same command: {SAME}"
    matrix.record(name, detected, recovered_s(again, fault), work_lost(again, fault), result)


def is_undisturbed(trial: Trial, undisturbed: Path) -> None:
    assert numbers(trial.run_dir) == numbers(undisturbed)
    assert tracked(trial.run_dir, trial.folder / "mlflow.db")[1] == "FINISHED"


def is_started_again(trial: Trial, times: int = 1) -> None:
    assert len(list((trial.run_dir / "attempts").iterdir())) == 1 + times, trial.events()


# ---- processes and hosts


def test_a_killed_worker_is_replaced(hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@6")
    fault = trial.fired()
    recovers("worker-killed", trial, fault, undisturbed)
    assert work_lost(trial, fault) == 1


def test_a_spare_host_takes_over_from_one_that_is_killed(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path
) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@6@wait")
    trial.fired()
    lost = host_of(trial, 1, hosts)
    fault = trial.now()
    lost.kill()
    recovers("host-killed", trial, fault, undisturbed)
    assert lost.ip not in trial.hosts()


def test_a_host_that_is_cut_off_is_replaced_and_commits_nothing_more(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path
) -> None:
    """Rank 0, which makes commits, is held in one of step 4 until another rank 0 has taken over."""
    trial = train(hosts[0], files, tmp_path, fault="commit:after-manifest@0@4@wait")
    old = trial.fired().pid
    lost = host_of(trial, 0, hosts)
    fault = trial.now()
    lost.set_link(False)
    wait_until(lambda: (trial.run_dir / "attempts" / "000002").exists(), 200)
    assert is_alive(old)
    trial.go_on()
    wait_until(lambda: "may not commit: attempt 2 has started" in logs_of(lost), 60)
    recovers("link-cut", trial, fault, undisturbed, "; the cut-off rank may not commit")
    assert lost.ip not in trial.hosts()
    manifests = [json.loads(path.read_text()) for path in trial.run_dir.glob("checkpoints/step-*/manifest.json")]
    assert {manifest["attempt"] for manifest in manifests} == {2}
    lost.set_link(True)
    wait_until(lambda: not is_alive(old), 120)


def logs_of(host: VirtualHost) -> str:
    """What Ray's workers on a host said."""
    files = host.temp_dir.glob("session_2*/logs/**/*worker*")
    return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())


def test_a_frozen_rank_is_replaced(hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@6@stop")
    fault = trial.fired()
    recovers("rank-stopped", trial, fault, undisturbed)
    assert not is_alive(fault.pid)


def test_a_rank_that_is_stuck_is_replaced(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path
) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@6@hang")
    fault = trial.fired()
    recovers("rank-stuck", trial, fault, undisturbed, "; the log names the rank and its line of code")
    assert not is_alive(fault.pid)
    (failure,) = [event for event in trial.events() if event["event"] == "failure"]
    assert "rank 1" in failure["message"], "the rank that did not arrive is not named"
    warning = r"step 6: a collective has been waiting for \d+ s; rank 1 \([\d.]+\) has not arrived, it is in _hang"
    assert re.search(warning, " ".join(trial.said().split()))


def test_a_notice_that_a_host_leaves_costs_no_step(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path
) -> None:
    """A rank is held in step 5, no commit is due; after the notice it goes on, and a spare host takes over."""
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@5@wait")
    trial.fired()
    leaving = host_of(trial, 1, hosts)
    fault = trial.now()._replace(step=5)
    notice = leaving.popen([sys.executable, "-m", "cluster.leave", "60"])
    wait_until(lambda: any("preemption detected" in logs_of(host) for host in hosts))
    trial.go_on()
    recovers("host-leaves", trial, fault, undisturbed)
    assert work_lost(trial, fault) == 0
    assert [event["kind"] for event in trial.events() if event["event"] != "commit"] == ["HostLeaves"]
    assert leaving.ip not in trial.hosts()
    assert notice.wait(timeout=60) == 0


def test_a_lost_head_costs_the_steps_since_the_last_commit(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path
) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@6@wait")
    trial.fired()
    fault = trial.now()
    hosts[0].kill()
    assert trial.process.poll() is not None
    make_whole(hosts)
    goes_on("head-killed", trial, fault, undisturbed, detected=None)


def test_a_killed_driver_goes_on_by_the_same_command(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path
) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@6@wait")
    rank = trial.fired().pid
    fault = trial.now()
    os.kill(trial.process.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(rank), 60)
    goes_on("driver-killed", trial, fault, undisturbed, detected=(trial.now().ms - fault.ms) / 1000)


def test_an_error_on_one_rank_ends_all_and_is_shown(hosts: list[VirtualHost], files: Files, tmp_path: Path) -> None:
    trial = train(hosts[0], files, tmp_path, "cluster.max_failures=0", fault="train:start@1@0@raise")
    fault = trial.fired()
    done = trial.ends(1)
    seconds = (trial.now().ms - fault.ms) / 1000
    assert "rank 1: OrderedError: this error was ordered by JPO_FAULT" in done.said
    assert "OrderedError" in done.err.splitlines()[-1], done.err
    assert seconds < 25, "the limit of a collective"
    wait_until(lambda: not any(training(host) for host in hosts), 30)
    result = f"all ranks end, exit code 1 after {seconds:.0f} s; the last line is this error"
    matrix.record("raises-at-start", detected_s(trial, fault), None, 0, result)


# ---- checkpoints and disks


def test_a_worker_killed_while_saving_is_replaced(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path
) -> None:
    trial = train(hosts[0], files, tmp_path, fault="commit:mid-shard@1@4")
    fault = trial.fired()
    recovers("killed-while-saving", trial, fault, undisturbed)
    assert work_lost(trial, fault) == 2


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_checkpoint_is_passed_over(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path, damage: str
) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@5@wait")
    rank = trial.fired().pid
    shard = max((trial.run_dir / "checkpoints" / "step-00000004" / "engine").glob("*optim_states.pt"))
    if damage == "truncated":
        os.truncate(shard, shard.stat().st_size // 2)
    else:
        shard.unlink()
    fault = trial.now()
    os.kill(rank, signal.SIGKILL)
    recovers(f"shard-{damage}", trial, fault, undisturbed, "; from the checkpoint before, and says so")
    assert work_lost(trial, fault) == 2
    assert "bad-step-00000004-1" in commits(trial.run_dir)
    assert "did not verify and is set aside: checkpoints/bad-step-00000004-1" in trial.said()
    assert "resumed at step 2" in trial.said()


def test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_room(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path, disk: Path
) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@0@4@wait", run_dir=disk / "run")
    trial.fired()
    ballast = fill_up(disk)
    fault = trial.now()
    trial.go_on()
    done = trial.ends(1)
    detected = (trial.now().ms - fault.ms) / 1000
    assert "DiskFullError: no room for a commit on the disk of run.dir" in done.err.splitlines()[-1]
    assert "step-00000002 is intact" in done.err.splitlines()[-1]
    assert commits(trial.run_dir) == ["step-00000002"]
    ballast.unlink()
    room = trial.now()
    again = trial.again()
    again.ends()
    is_undisturbed(again, undisturbed)
    result = f"ends and says so, the commit before is intact; with room, by the same command: {SAME}"
    matrix.record("disk-full", detected, recovered_s(again, room), work_lost(again, room), result)


# ---- links


def test_a_slow_link_changes_times_only(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path
) -> None:
    trial = train(hosts[0], files, tmp_path, fault="train:step@1@5@wait")
    trial.fired()
    host_of(trial, 1, hosts).limit_link("10mbit")
    trial.go_on()
    trial.ends()
    is_undisturbed(trial, undisturbed)
    ratio = step_seconds(trial.run_dir, 6, 8) / step_seconds(trial.run_dir, 2, 4)
    assert not [event for event in trial.events() if event["event"] != "commit"]
    matrix.record("link-slow", None, None, 0, f"{SAME}; a step takes {ratio:.0f} times as long")


def test_three_hosts_give_the_losses_of_three_ranks_on_one(
    hosts: list[VirtualHost], files: Files, tmp_path: Path
) -> None:
    trial, one = train(hosts[0], files, tmp_path, workers=3), tmp_path / "one"
    trial.ends()
    assert set(trial.hosts()) == {host.ip for host in hosts[1:]}
    settings = [f"run.dir={one}", f"train.max_steps={STEPS}", "tracking.uri=none"]
    torchrun("train", files.config, *settings, ranks=3).check()
    assert numbers(trial.run_dir) == numbers(one)


# ---- numbers


def test_a_step_that_is_not_finite_on_one_rank_is_left_out_on_all(hosts: list[VirtualHost], tmp_path: Path) -> None:
    """The poisoned item is one rank's. Two ranks do what one does, and go on."""
    files = with_database(poison_model(tiny_files(tmp_path)))
    data, reference = with_poison(files, comparison_of_step(files, 3)), files.folder / "sound"
    settings = [f"data.train={data}", f"reference.path={reference}", "train.max_steps=5"]
    trial, one = train(hosts[0], files, tmp_path / "two", *settings), tmp_path / "one"
    trial.ends()
    jpo("train", files.config, f"run.dir={one}", *settings, "cluster.workers=0", "tracking.uri=none").check()
    ours, theirs = lines_of(trial.run_dir)[1:], lines_of(one)[1:]
    for lines in (ours, theirs):
        assert [line["step"] for line in lines if "loss" not in line["metrics"]] == [3]
        assert [line["metrics"]["nonfinite_steps"] for line in lines] == [0, 0, 1, 1, 1]
    for our, their in zip(ours, theirs, strict=True):
        assert our["metrics"].get("loss", -1) == pytest.approx(their["metrics"].get("loss", -1), rel=5e-5)
    assert not [event for event in trial.events() if event["event"] != "commit"]
    matrix.record("not-finite", None, None, 0, "left out on all ranks and counted; goes on as one rank does")


# ---- MLflow


class Tracking:
    """A real MLflow server on a host, which can be killed and started again."""

    def __init__(self, host: VirtualHost, folder: Path) -> None:
        self.host, self.folder, self.url = host, folder, f"http://{host.ip}:5000"

    def start(self) -> None:
        words = [
            str(Path(sys.executable).with_name("mlflow")), "server", "--host", self.host.ip, "--port", "5000",
            "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--workers", "1",
            "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip
        # A session of its own, so that all of it can be killed at once.
        into = f'exec setsid "$@" >>"{self.folder}/server.log" 2>&1'
        own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = self.host.popen(["sh", "-c", into, "sh", *words], own)
        wait_until(lambda: self.process.poll() is not None or ask(self.host, f"{self.url}/health", 2) is not None)
        assert self.process.poll() is None, (self.folder / "server.log").read_text(encoding="utf-8")[-3000:]

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)

    def newest_step(self) -> int:
        with sqlite3.connect(self.folder / "mlflow.db") as connection:
            ((step,),) = connection.execute("select coalesce(max(step), -1) from metrics").fetchall()
        return int(step)


def test_mlflow_comes_and_goes_and_no_step_waits(
    hosts: list[VirtualHost], files: Files, undisturbed: Path, tmp_path: Path
) -> None:
    server = Tracking(hosts[0], tmp_path)
    trial = train(
        hosts[0], files, tmp_path, f"tracking.uri={server.url}", "train.max_steps=60",
        "cluster.collective_timeout_s=150", "cluster.health_timeout_s=150", fault="train:step@0@9@wait",
    )  # fmt: skip
    rank_0 = trial.fired().pid
    assert server.newest_step() == -1
    server.start()  # beside a run that is held, but not its line to MLflow
    wait_until(lambda: server.newest_step() == 8)
    server.kill()
    trial.go_on()
    trial.reaches(20)
    os.kill(rank_0, signal.SIGSTOP)  # or the run might end before the server is back
    missed = trial.now()
    server.start()
    back = trial.now()
    os.kill(rank_0, signal.SIGCONT)
    wait_until(lambda: server.newest_step() >= missed.step)
    recovered = (trial.now().ms - back.ms) / 1000
    trial.ends()
    assert tracked(trial.run_dir)[1] == "FINISHED"
    ratio = max(step_seconds(trial.run_dir, *span) for span in [(3, 8), (10, 20)]) / step_seconds(undisturbed, 3, 8)
    assert ratio < 3, "steps wait for a server that is away"
    result = f"every row once; a step without the server takes {ratio:.1f} times as long as with one"
    matrix.record("mlflow-down", None, recovered, 0, result)
