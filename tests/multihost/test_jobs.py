"""Ray jobs for real: what is shipped, how they end, what their log says last."""

import hashlib
import json
import sqlite3
import sys
from pathlib import Path

import pytest

from cluster.virtual.hosts import VirtualHost
from tests.multihost.conftest import NOT_SHIPPED, ROOT, SHIPPED, Job
from tests.support.commands import commits, lines_of, tracked
from tests.support.hosts import job, job_log, wait_until

pytestmark = [pytest.mark.multihost, pytest.mark.slow, pytest.mark.timeout(600)]


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def packages(host: VirtualHost) -> list[Path]:
    """The unpacked copies of shipped code on a host."""
    session = (host.temp_dir / "session_latest").resolve()
    return sorted(session.glob("runtime_resources/working_dir_files/_ray_pkg_*/"))


def test_the_code_is_shipped_and_what_must_stay_at_home_is_not(two_hosts: list[VirtualHost], finished_job: Job) -> None:
    tree = finished_job.tree
    wanted = {name for name in files_of(tree) if name.split("/")[0] in SHIPPED and "__pycache__" not in name}
    wanted = {
        name for name in wanted if not name.startswith(("cluster/image/", "cluster/kubernetes/", "cluster/slurm/"))
    }
    assert len(wanted) > 80
    for host in two_hosts:
        [package] = packages(host)  # of the code a job was given, always the same: what a package is called by
        there = {name for name in files_of(package) if "__pycache__" not in name}
        assert there == wanted
    assert not wanted & set(NOT_SHIPPED)


def test_each_worker_runs_the_shipped_code_and_finds_its_secrets(
    two_hosts: list[VirtualHost], finished_job: Job, canaries: dict[str, str]
) -> None:
    told = [json.loads((finished_job.folder / "told" / str(rank)).read_text()) for rank in (0, 1)]
    digests = {name: hashlib.sha256(value.encode()).hexdigest() for name, value in canaries.items()}
    assert [one["secrets"] for one in told] == [digests, digests]
    places = [str(packages(host)[0]) for host in two_hosts]
    assert sorted(Path(one["file"]).parents[2].as_posix() for one in told) == sorted(places)


def test_a_finished_job_says_so_and_mlflow_knows_which_it_was(two_hosts: list[VirtualHost], finished_job: Job) -> None:
    about = job(two_hosts[0], finished_job.name)
    assert (about["status"], about["driver_exit_code"]) == ("SUCCEEDED", 0)
    assert job_log(two_hosts[0], finished_job.name)[-2] == f"exported model: {finished_job.folder}/run/export"
    with sqlite3.connect(finished_job.folder / "mlflow.db") as database:
        tags = dict(database.execute("select key, value from tags"))
    assert tags["jpo.ray_job"] == finished_job.name


def test_a_job_that_would_lose_its_results_ends_with_the_reason(
    two_hosts: list[VirtualHost], finished_job: Job
) -> None:
    """Ray's command makes 1 of every exit code: code and cause are in the last line of the log."""
    head = two_hosts[0]
    done = head.run(
        ["ray", "job", "submit", "--address", head.dashboard_address, "--submission-id", "relative",
         "--working-dir", str(finished_job.tree), "--",
         "python", "-m", "launcher", "train", str(finished_job.config), "run.dir=runs/lost"],
    )  # fmt: skip
    assert done.returncode == 1
    last = job_log(head, "relative")[-1]
    assert last.startswith("error (exit 2): ConfigError: run.dir (runs/lost) must be absolute in a Ray job")
    about = job(head, "relative")
    assert (about["status"], about["driver_exit_code"]) == ("FAILED", 2)


def test_jpo_submit_prints_the_plain_command_and_returns_the_jobs_own_code(
    two_hosts: list[VirtualHost], finished_job: Job
) -> None:
    head, tree = two_hosts[0], finished_job.tree
    wrong = [f"run.dir={finished_job.folder}/wrong", "cluster.secrets.NOT_THERE=env"]
    submit = ["submit", str(finished_job.config), *wrong, "--address", head.dashboard_address, "--id", "wrong"]
    done = head.run([sys.executable, "-m", "launcher", *submit, "--working-dir", str(tree)], {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 2, done.stdout + done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"ray job submit --address {head.dashboard_address} --submission-id wrong --working-dir ")
    assert first.endswith(f" -- python -m jpo_dist train {finished_job.config} {' '.join(wrong)}")
    last = job_log(head, "wrong")[-1]
    assert last.startswith("error (exit 2): SecretError: cluster.secrets.NOT_THERE (env) has nothing on host ")


@pytest.mark.nightly
def test_a_job_is_followed_and_stopped(two_hosts: list[VirtualHost], finished_job: Job) -> None:
    head, folder = two_hosts[0], finished_job.folder
    long = ["train.epochs=1000", "train.max_steps=3000", "checkpoint.every=0", f"tracking.uri=sqlite:///{folder}/l.db"]
    submit = ["submit", str(finished_job.config), *long, f"run.dir={folder}/long", "--id", "long", "--no-wait"]
    command = [sys.executable, "-m", "launcher", *submit, "--address", head.dashboard_address]
    done = head.run([*command, "--working-dir", str(finished_job.tree)], {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: any(line.startswith("step 2/3000") for line in job_log(head, "long")))
    assert job(head, "long")["status"] == "RUNNING"
    stopped = head.run(["ray", "job", "stop", "--address", head.dashboard_address, "long"])
    assert stopped.returncode == 0, stopped.stderr
    assert job(head, "long")["status"] == "STOPPED"
    last = job_log(head, "long")[-1]
    step = lines_of(folder / "long")[-1]["step"]
    assert last == (
        f"error (exit 143): stopped by SIGTERM; step {step} is committed, and the same command goes on from there"
    )
    assert commits(folder / "long") == [f"step-{step:08d}"]
    assert tracked(folder / "long", folder / "l.db")[1] == "KILLED"
    again = head.run(["ray", "job", "status", "--address", head.dashboard_address, "long"])
    assert "was stopped" in again.stdout + again.stderr
