"""Several hosts on one machine: network namespaces on one bridge, a Ray node with its own address in each.

For people (`make cluster`) and for tests: real addresses, real links, real `ray start`, one token for all. Never use
`ray stop` near them: it ends every Ray node of the machine.
"""

import json
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cluster.virtual import namespaces
from cluster.virtual.namespaces import NoVirtualHosts
from cluster.virtual.namespaces import require_namespaces as require_virtual_hosts

__all__ = [
    "NoVirtualHosts", "VirtualHost", "add_host", "end_cluster", "find_hosts", "require_virtual_hosts", "virtual_hosts",
]  # fmt: skip

GCS_PORT, DASHBOARD_PORT = 6379, 8265
START_TIMEOUT_S = 120.0
NETWORKS = [f"10.77.{n}" for n in range(16)]
"""First three numbers of a cluster's addresses. A cluster whose addresses exist inside its namespaces only takes the
first: any number of such clusters can have the same ones."""

# `ray job stop` kills after 3 s by default: too early to commit the step at hand (checkpoint.stop_grace_s, 300 s).
NODE_SETTINGS = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "RAY_JOB_STOP_WAIT_TIME_S": "360"}


@dataclass
class VirtualHost:
    """A host: a network namespace with the address `ip`, on a link of its own, and a Ray node in it."""

    name: str
    ip: str
    head_address: str
    """HOST:PORT of the cluster, for ClusterConfig.address."""
    dashboard_address: str
    """http://HOST:PORT of the head's dashboard and job API; reachable from the hosts, and from here if asked for."""
    token_file: Path
    temp_dir: Path
    env: dict[str, str] = field(default_factory=dict, repr=False)
    """Variables that the host's Ray node, and so its workers, have beside those of this process."""
    popens: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def is_head(self) -> bool:
        return self.ip == self.head_address.partition(":")[0]

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a command on this host: this process's, the cluster's token, the host's, then `env`."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        inherited.pop("GLOO_SOCKET_IFNAME", None)
        beside_python = str(Path(sys.executable).parent)
        return {
            **inherited,
            "PATH": os.pathsep.join([beside_python, inherited.get("PATH", os.defpath)]),
            **NODE_SETTINGS,
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            **self.env,
            **(env or {}),
        }

    def run(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, timeout: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` on this host to its end; output is captured. Raises subprocess.TimeoutExpired."""
        return subprocess.run(
            [*namespaces.inside(self.name), *command],
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def popen(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `command` on this host. It is killed with the host at the latest."""
        process = subprocess.Popen(
            [*namespaces.inside(self.name), *command],
            env=self.environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.popens.append(process)
        return process

    def set_link(self, up: bool) -> None:
        """Plug this host's only cable in or out."""
        namespaces.ip("-n", self.name, "link", "set", namespaces.cable_of(self.name), "up" if up else "down")

    def limit_link(self, rate: str | None) -> None:
        """At most `rate` (as tc writes it: `10mbit`) over this host's cable, each way. None: full speed again."""
        namespaces.slow_down(self.name, namespaces.cable_of(self.name), rate)
        namespaces.slow_down(_switch_of(self.name), namespaces.port_of(self.name), rate)

    def pids(self) -> list[int]:
        """Every live process of this host."""
        return namespaces.pids(self.name)

    def kill(self) -> None:
        """SIGKILL to every process of this host. Its kernel still answers; pull the cable first for a lost machine."""
        namespaces.end_processes(self.name)
        for process in self.popens:
            process.kill()
            process.wait(timeout=10)
            if process.stdout is not None:
                process.stdout.close()
        self.popens.clear()

    def restart(self, cpus: int = 1) -> None:
        """Kill what runs here, plug the cable in, and start the Ray node again. Returns when it has joined."""
        self.kill()
        self.set_link(True)
        self.limit_link(None)
        self.start_ray(cpus)

    def start_ray(self, cpus: int) -> None:
        """Start this host's Ray node; the one whose address is the head's is the head. Returns when it has joined."""
        role = (
            ["--head", f"--port={GCS_PORT}", f"--dashboard-host={self.ip}", f"--dashboard-port={DASHBOARD_PORT}"]
            if self.is_head
            else [f"--address={self.head_address}"]
        )
        common = [f"--node-ip-address={self.ip}", f"--num-cpus={cpus}", "--num-gpus=0", "--disable-usage-stats"]
        store = [f"--object-store-memory={128 * 2**20}", f"--temp-dir={self.temp_dir}"]
        ray = str(Path(sys.executable).parent / "ray")
        # Its output goes to a file: the daemons inherit it, and a pipe would stay open as long as they live.
        self.temp_dir.mkdir(mode=0o700, exist_ok=True)
        log = self.temp_dir / "start.log"
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                [*namespaces.inside(self.name), ray, "start", *role, *common, *store],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=START_TIMEOUT_S,
                start_new_session=True,  # Ctrl-C in the terminal is for the one who holds the hosts, not for Ray
                check=False,
            )
        if done.returncode != 0:
            raise RuntimeError(f"ray start failed on {self.name}:\n{log.read_text(encoding='utf-8')[-3000:]}")


@contextmanager
def virtual_hosts(
    count: int,
    cpus: int = 1,
    *,
    head_cpus: int | None = None,
    env: Mapping[str, str] | None = None,
    name: str = "",
    reachable: bool = False,
) -> Iterator[list[VirtualHost]]:
    """Inside, `count` hosts form one Ray cluster with `cpus` CPUs each; the first is the head. Afterwards all are gone.

    `head_cpus=0`: the head takes no workers; losing it is not losing one too. `env` is for the Ray nodes; it is nowhere
    on the disk. By `name`, `find_hosts` finds the cluster from other processes. `reachable`: this machine gets a cable
    and an address too, so that the dashboard can be reached from here. Raises NoVirtualHosts where they cannot be made.
    """
    require_virtual_hosts()
    name = name or secrets.token_hex(2)
    network = next((n for n in NETWORKS if namespaces.is_free(f"{n}.1")), "") if reachable else NETWORKS[0]
    if not network:
        raise NoVirtualHosts(f"all of {NETWORKS[0]}.0/24 to {NETWORKS[-1]}.0/24 is in use on this machine")
    folder = _make_folder(name)
    hosts: list[VirtualHost] = []
    try:
        _write_private(folder / "token", secrets.token_hex(32))
        _write_private(folder / "cluster.json", json.dumps({"network": network}))
        namespaces.make_switch(_switch_of(f"jpo-{name}-h0"))
        if reachable:
            namespaces.plug_in_this_host(_switch_of(f"jpo-{name}-h0"), f"jpo-{name}", f"{network}.254/24")
        for _ in range(count):
            _plug_in_next(hosts, name, env or {})
        for host in hosts:
            host.start_ray(head_cpus if host.is_head and head_cpus is not None else cpus)
        yield hosts
    finally:
        for host in hosts:
            with suppress(OSError, subprocess.SubprocessError):
                host.kill()
        end_cluster(name)


def add_host(hosts: list[VirtualHost], cpus: int = 1) -> VirtualHost:
    """One more host for a running cluster, also appended to `hosts`. Returns when its Ray node has joined."""
    host = _plug_in_next(hosts, hosts[0].name.split("-")[1], hosts[0].env)
    host.start_ray(cpus)
    return host


def find_hosts(name: str) -> list[VirtualHost]:
    """The hosts of the running cluster called `name`, whoever holds it. Raises LookupError."""
    names = sorted(namespaces.named(f"jpo-{name}-h"), key=_index_of)
    if not names:
        raise LookupError(f"no cluster of virtual hosts is called {name!r}; start one with `make cluster`")
    return [_host(name, _index_of(one), {}) for one in names]


def end_cluster(name: str) -> None:
    """End the cluster of this name: its processes, namespaces, files. For a held cluster its holder calls it."""
    for namespace in namespaces.named(f"jpo-{name}-"):
        namespaces.end_processes(namespace)
        namespaces.delete(namespace)
    if _folder_of(name).is_dir():
        shutil.rmtree(_own(_folder_of(name)), ignore_errors=True)


def _plug_in_next(hosts: list[VirtualHost], name: str, env: Mapping[str, str]) -> VirtualHost:
    host = _host(name, 1 + max((_index_of(host.name) for host in hosts), default=-1), env)
    hosts.append(host)
    namespaces.plug_in(_switch_of(host.name), host.name, f"{host.ip}/24")
    return host


def _host(name: str, index: int, env: Mapping[str, str]) -> VirtualHost:
    folder = _own(_folder_of(name))
    network = json.loads((folder / "cluster.json").read_text(encoding="utf-8"))["network"]
    head = f"{network}.1"
    return VirtualHost(
        name=f"jpo-{name}-h{index}",
        ip=f"{network}.{index + 1}",
        head_address=f"{head}:{GCS_PORT}",
        dashboard_address=f"http://{head}:{DASHBOARD_PORT}",
        token_file=folder / "token",
        temp_dir=folder / f"h{index}",
        env=dict(env),
    )


def _index_of(host_name: str) -> int:
    return int(host_name.rpartition("-h")[2])


def _switch_of(host_name: str) -> str:
    return f"{host_name.rpartition('-')[0]}-sw"


def _folder_of(name: str) -> Path:
    # Unix socket paths end at 107 characters, and Ray's session folder takes about 65 of them: no long TMPDIR.
    return Path("/tmp", f"jpo-{name}")


def _make_folder(name: str) -> Path:
    if not re.fullmatch(r"[a-z0-9]{1,8}", name):
        raise ValueError(f"name ({name!r}) must be 1 to 8 small letters and digits: it is part of device names")
    folder = _folder_of(name)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise NoVirtualHosts(
            f"{folder} exists: a cluster called {name!r} runs, or was killed; use another name, or end that one with "
            f"`python -m cluster end --name {name}`"
        ) from None
    return folder


def _own(folder: Path) -> Path:
    """`folder`, if nobody else made it: others can write to /tmp too, and what is in it decides what root runs."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to uid {status.st_uid}, not to this one; remove it")
    return folder


def _write_private(path: Path, text: str) -> None:
    with open(path, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
