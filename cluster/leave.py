"""`python -m cluster.leave SECONDS`: tells Ray that this host's node goes away in so many seconds.

Whatever warns before it ends a host calls it: the preStop hook of a pod, Slurm's early signal, a spot notice. Ray's
training workers learn of it and can save (ray.train.get_preemption_info); nothing new is placed here; the node ends as
soon as nothing runs on it. Returns then, or when the time is over. Without a Ray node here there is nothing to tell.

The head can be told too, where its host goes: the controller of a training, which asks for no CPU, holds it until the
workers have saved. An idle head ends at once, and every driver with it.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]


def main(seconds: int) -> int:
    """Tell Ray, wait for the node's end; returns the exit code."""
    nodes = list(raylets())
    for node in nodes:
        flags = dict(part.lstrip("-").split("=", 1) for part in node.cmdline() if part.startswith("--") and "=" in part)
        command = [
            str(Path(sys.executable).with_name("ray")), "drain-node",
            "--address", flags["gcs-address"], "--node-id", flags["node_id"],
            "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the host is going away",
            "--deadline-remaining-seconds", str(seconds),
        ]  # fmt: skip
        code = subprocess.run(command, check=False).returncode
        if code != 0:
            return code
    _, alive = psutil.wait_procs(nodes, timeout=seconds)
    return 1 if alive else 0


def raylets() -> Iterator[psutil.Process]:
    """Ray's node processes of this host: those in the same network, where one machine plays several hosts."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.name() == "raylet" and network(process.pid) == network(os.getpid()):
                yield process


def network(pid: int) -> str:
    """The network namespace of a process."""
    return os.readlink(f"/proc/{pid}/ns/net")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
