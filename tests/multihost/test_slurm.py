"""cluster/slurm/train.sbatch on a real Slurm of two virtual hosts: exit code, token, the warning before the end."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from cluster.virtual import namespaces
from tests.support.commands import losses, tiny_files

pytestmark = [pytest.mark.multihost, pytest.mark.nightly, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]

CONF = """
ClusterName=jpo
SlurmctldHost={host}(10.78.0.1)
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=5
TaskProlog={folder}/prolog.sh
NodeName=n1 NodeAddr=10.78.0.1 NodeHostname={host} CPUs={cpus} State=UNKNOWN
NodeName=n2 NodeAddr=10.78.0.2 NodeHostname={host} CPUs={cpus} State=UNKNOWN
PartitionName=p Nodes=ALL Default=YES State=UP MaxTime=INFINITE
"""

# Waits for both nodes, tells how the token lies there, and then for the SIGTERM that asks it to stop. Its actor holds
# the head as the controller of a training does: a node that leaves and has nothing to do ends at once.
COMMAND = """
import os, signal, sys, time
import ray
from ray._private.state import state
ray.init(address="auto", log_to_driver=False)
@ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})
class Controller:
    def here(self): return True
controller = Controller.remote()
assert ray.get(controller.here.remote())
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
while len(ray.nodes()) < 2: time.sleep(0.2)
token = os.environ["RAY_AUTH_TOKEN_PATH"]
modes = [oct(os.stat(path).st_mode & 0o777) for path in (token, os.path.dirname(token))]
print("both nodes", *modes, flush=True)
while all(node["Alive"] for node in ray.nodes()): time.sleep(0.1)
while ray.get_runtime_context().get_node_id() not in state.get_draining_nodes(): time.sleep(0.1)
print("a node has left, the head is told", flush=True)
time.sleep(600)
"""


class Slurm(NamedTuple):
    folder: Path
    head: str
    """Network namespace of the first node, where the controller runs and jobs are submitted."""

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [*inside(self.head), *command], env=self.environment(), cwd=self.folder,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SLURM_"))}
        options = f"--object-store-memory={128 * 2**20} --num-cpus=1"
        own = {"SLURM_CONF": f"{self.folder}/slurm.conf", "JPO_RAY_OPTIONS": options, "JPO_LEAVE_SECONDS": "30"}
        return {**kept, **own, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def submit(self, *command: str, nodes: int = 2, env: Mapping[str, str] | None = None) -> str:
        script = str(ROOT / "cluster" / "slurm" / "train.sbatch")
        options = ["--parsable", "--output=job.log", "--open-mode=truncate", f"--nodes={nodes}"]
        return self.run("env", *(f"{k}={v}" for k, v in (env or {}).items()), "sbatch", *options, script, *command)

    def state(self, job: str) -> dict[str, str]:
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def log(self) -> str:
        path = self.folder / "job.log"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def until(self, what: Callable[[], bool], seconds: float = 240.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, f"not within {seconds:g} s; the job said:\n{self.log()[-3000:]}"
            time.sleep(0.5)

    def end(self, job: str) -> dict[str, str]:
        self.until(lambda: self.state(job)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"))
        return self.state(job)


def inside(name: str) -> list[str]:
    """As `ip netns exec`, which would hide the control groups that slurmd looks for."""
    return ["nsenter", f"--net=/run/netns/{name}"]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    if shutil.which("slurmctld") is None or shutil.which("slurmd") is None:
        pytest.skip("no Slurm here: apt-get install slurm-wlm")
    try:
        namespaces.require_namespaces()
    except namespaces.NoVirtualHosts as reason:
        pytest.skip(str(reason))
    folder = Path(tempfile.mkdtemp(prefix="jpo-slurm-", dir="/tmp"))
    unique = f"jpo{secrets.token_hex(2)}"
    switch, hosts = f"{unique}-sw", [f"{unique}-n1", f"{unique}-n2"]
    made = Slurm(folder, hosts[0])
    host = socket.gethostname().split(".")[0]
    text = CONF.format(folder=folder, host=host, cpus=os.cpu_count())
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    # Both nodes have this machine's /tmp; two Ray nodes in one folder would take each other's sockets.
    prolog = folder / "prolog.sh"
    prolog.write_text(f'#!/bin/sh\necho "export RAY_TMPDIR={folder}/$SLURMD_NODENAME"\n', encoding="utf-8")
    prolog.chmod(0o755)
    for name in ("state", "spool.n1", "spool.n2", "n1", "n2"):
        (folder / name).mkdir()
    try:
        namespaces.make_switch(switch)
        daemons = [(hosts[0], ["slurmctld", "-D", "-c"])]
        for i, name in enumerate(hosts, start=1):
            namespaces.plug_in(switch, name, f"10.78.0.{i}/24")
            daemons.append((name, ["slurmd", "-D", "-N", f"n{i}"]))
        for name, daemon in daemons:
            out = (folder / f"{daemon[-1]}.out").open("w", encoding="utf-8")
            subprocess.Popen([*inside(name), *daemon], env=made.environment(), stdout=out, stderr=out)
        made.until(lambda: ready(made), 60)
        yield made
    finally:
        for name in hosts:
            namespaces.end_processes(name)
        for name in (*hosts, switch):
            namespaces.delete(name)
        shutil.rmtree(folder, ignore_errors=True)


def ready(slurm: Slurm) -> bool:
    try:
        return slurm.run("sinfo", "--noheader", "--format=%T %D") == "idle 2"
    except AssertionError:  # the controller is not up yet
        return False


def test_training_over_the_allocation(slurm: Slurm) -> None:
    files = tiny_files(slurm.folder / "files")
    spread = ["cluster.workers=2", "cluster.placement=STRICT_SPREAD", "train.max_steps=3", "tracking.uri=none"]
    run_dir = slurm.folder / "run"
    state = slurm.end(slurm.submit("jpo", "train", files.config, *spread, f"run.dir={run_dir}"))
    assert (state["JobState"], state["ExitCode"]) == ("COMPLETED", "0:0"), slurm.log()
    assert state["NodeList"] == "n[1-2]"
    assert len(losses(run_dir)) == 3
    assert not list(slurm.folder.glob(".jpo-slurm-*"))  # the token is gone


def test_the_warning_reaches_ray_then_the_command_and_its_exit_code_is_the_jobs(slurm: Slurm) -> None:
    job = slurm.submit("python", "-c", COMMAND)
    slurm.until(lambda: "both nodes" in slurm.log())
    assert "both nodes 0o600 0o700" in slurm.log()
    slurm.run("scancel", "--batch", "--signal=TERM", job)  # as `--signal=B:TERM@300` does
    state = slurm.end(job)
    assert (state["JobState"], state["ExitCode"]) == ("FAILED", "7:0"), slurm.log()
    assert "a node has left, the head is told" in slurm.log()
    assert not list(slurm.folder.glob(".jpo-slurm-*"))
    for host in (slurm.head, slurm.head[:-1] + "2"):  # nothing of Ray is left on either node
        names = [Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() for pid in namespaces.pids(host)]
        assert {name for name in names if "slurm" not in name} == set(), names


def test_on_one_node_the_step_at_hand_is_committed_before_the_end(slurm: Slurm) -> None:
    files = tiny_files(slurm.folder / "one")
    run_dir = slurm.folder / "one" / "run"
    long = ["train.max_steps=100000", "checkpoint.every=100000", "train.eval_every=0", "tracking.uri=none"]
    words = ["jpo", "train", files.config, "cluster.workers=1", *long, f"run.dir={run_dir}"]
    job = slurm.submit(*words, nodes=1, env={"JPO_REQUEUE": "1"})
    metrics = run_dir / "metrics.jsonl"
    slurm.until(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") > 3)
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    slurm.until(lambda: slurm.state(job)["Restarts"] == "1")  # it had not finished
    slurm.run("scancel", job)
    committed = [int(path.name.removeprefix("step-")) for path in (run_dir / "checkpoints").glob("step-*")]
    assert committed, slurm.log()
    assert max(committed) == len(losses(run_dir))


@pytest.mark.parametrize(
    ("env", "reason", "head"),
    [
        ({"JPO_RAY_OPTIONS": "--no-such-option"}, "has ended", "No such option"),
        (
            {"JPO_RAY_OPTIONS": f"--object-store-memory={128 * 2**20} --port=6999", "JPO_RAY_START_SECONDS": "5"},
            ":6379 after",
            "new instance at 10.78.0.",
        ),
    ],
)
def test_a_ray_that_does_not_start_ends_the_job_and_says_why(
    slurm: Slurm, env: Mapping[str, str], reason: str, head: str
) -> None:
    state = slurm.end(slurm.submit("jpo", "train", "never-read.yaml", nodes=1, env=env))
    assert state["JobState"] == "FAILED", slurm.log()
    assert reason in slurm.log()
    assert head in slurm.log()
