"""Several hosts on one machine, for tests: network namespaces on one bridge, a Ray node with its own address in each.

Real addresses, real links, real `ray start`; what they share are the disks, the PID space and the kernel. Linux, root
and iproute2 are needed. Never use `ray stop` near them: it ends every Ray node of the machine.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

GCS_PORT, DASHBOARD_PORT = 6379, 8265
START_TIMEOUT_S = 120.0


class NoVirtualHosts(RuntimeError):
    """This machine cannot make virtual hosts; the message says why and what to do."""


@dataclass
class VirtualHost:
    """One host: a network namespace with the address `ip`, on a link of its own, and a running Ray node."""

    name: str
    ip: str
    head_address: str
    """HOST:PORT of the cluster, for ClusterConfig.address."""
    dashboard_address: str
    """http://HOST:PORT of the head's dashboard and job API, reachable from inside the hosts only."""
    token_file: Path
    temp_dir: Path
    popens: list[subprocess.Popen[str]] = field(default_factory=list)

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a command on this host: this process's, the cluster's token, then `env`."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        inherited.pop("GLOO_SOCKET_IFNAME", None)
        beside_python = str(Path(sys.executable).parent)
        return {
            **inherited,
            "PATH": os.pathsep.join([beside_python, inherited.get("PATH", os.defpath)]),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
            **(env or {}),
        }

    def run(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, timeout: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` on this host to its end; output is captured. Raises subprocess.TimeoutExpired."""
        return subprocess.run(
            [*_inside(self.name), *command],
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def popen(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `command` on this host. It is killed with the host at the latest."""
        process = subprocess.Popen(
            [*_inside(self.name), *command],
            env=self.environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.popens.append(process)
        return process

    def set_link(self, up: bool) -> None:
        """Plug this host's only cable in or out."""
        _ip("-n", self.name, "link", "set", _interface(self.name), "up" if up else "down")

    def pids(self) -> list[int]:
        """Every live process of this host."""
        return [int(line) for line in _ip("netns", "pids", self.name).split()]

    def start_ray(self, cpus: int) -> None:
        """Start this host's Ray node; the one whose address is the head's is the head. Returns when it has joined."""
        head_ip = self.head_address.partition(":")[0]
        role = (
            ["--head", f"--port={GCS_PORT}", f"--dashboard-host={self.ip}", f"--dashboard-port={DASHBOARD_PORT}"]
            if self.ip == head_ip
            else [f"--address={self.head_address}"]
        )
        # Unix socket paths end at 107 characters: Ray's session folder takes about 65 of them.
        common = [f"--node-ip-address={self.ip}", f"--num-cpus={cpus}", "--num-gpus=0", "--disable-usage-stats"]
        store = [f"--object-store-memory={128 * 2**20}", f"--temp-dir={self.temp_dir}"]
        ray = str(Path(sys.executable).parent / "ray")
        # Its output goes to a file: the daemons inherit it, and a pipe would stay open as long as they live.
        log = self.temp_dir / "start.log"
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                [*_inside(self.name), ray, "start", *role, *common, *store],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=START_TIMEOUT_S,
                check=False,
            )
        if done.returncode != 0:
            raise RuntimeError(f"ray start failed on {self.name}:\n{log.read_text(encoding='utf-8')[-3000:]}")


@contextmanager
def virtual_hosts(count: int, cpus: int = 1) -> Iterator[list[VirtualHost]]:
    """`count` hosts that form one Ray cluster with `cpus` CPUs each; the first is the head. All gone afterwards.

    Raises NoVirtualHosts where they cannot be made.
    """
    require_virtual_hosts()
    unique = secrets.token_hex(2)
    folder = Path(tempfile.mkdtemp(prefix=f"vh{unique}-", dir="/tmp"))
    folder.chmod(0o700)
    switch = f"jpo{unique}-sw"
    hosts = [_host(f"jpo{unique}-h{i}", i, folder) for i in range(count)]
    names = [switch, *(host.name for host in hosts)]
    try:
        with open(hosts[0].token_file, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(secrets.token_hex(32))
        _connect(switch, hosts)
        for host in hosts:
            host.temp_dir.mkdir()
            host.start_ray(cpus)
        yield hosts
    finally:
        for host in hosts:
            _end_processes(host)
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def require_virtual_hosts() -> None:
    """Raises NoVirtualHosts with the reason when this machine cannot make network namespaces."""
    if shutil.which("ip") is None:
        raise NoVirtualHosts("virtual hosts need the `ip` command; install iproute2")
    if os.geteuid() != 0:
        raise NoVirtualHosts(f"virtual hosts need root to make network namespaces; this is uid {os.geteuid()}")
    probe = f"jpo{secrets.token_hex(2)}-probe"
    try:
        _ip("netns", "add", probe)
        _ip("-n", probe, "link", "add", "br0", "type", "bridge")
    except RuntimeError as error:
        raise NoVirtualHosts(f"this kernel or container allows no network namespaces or bridges: {error}") from None
    finally:
        subprocess.run(["ip", "netns", "delete", probe], capture_output=True, check=False)


def _host(name: str, index: int, folder: Path) -> VirtualHost:
    # The addresses exist inside the namespaces only, so every cluster on the machine can have the same ones.
    return VirtualHost(
        name=name,
        ip=f"10.77.0.{index + 1}",
        head_address=f"10.77.0.1:{GCS_PORT}",
        dashboard_address=f"http://10.77.0.1:{DASHBOARD_PORT}",
        token_file=folder / "token",
        temp_dir=folder / f"h{index}",
    )


def _interface(host_name: str) -> str:
    """Another name on every host, as real hosts have."""
    return f"net{host_name.rpartition('-')[2]}"


def _connect(switch: str, hosts: Sequence[VirtualHost]) -> None:
    """A bridge in a namespace of its own (nothing appears on the real host) and one cable to each host."""
    _ip("netns", "add", switch)
    _ip("-n", switch, "link", "add", "br0", "type", "bridge")
    _ip("-n", switch, "link", "set", "br0", "up")
    for i, host in enumerate(hosts):
        port, cable = f"port{i}", _interface(host.name)
        _ip("netns", "add", host.name)
        _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", cable, "netns", host.name)
        _ip("-n", switch, "link", "set", port, "master", "br0", "up")
        _ip("-n", host.name, "address", "add", f"{host.ip}/24", "dev", cable)
        _ip("-n", host.name, "link", "set", "lo", "up")
        _ip("-n", host.name, "link", "set", cable, "up")


def _end_processes(host: VirtualHost) -> None:
    """Kill what runs on the host, by pid, until nothing does: a dying raylet may still have started a worker."""
    for process in host.popens:
        process.kill()
        process.wait(timeout=10)
    for _ in range(20):
        try:
            pids = host.pids()
        except RuntimeError:  # the namespace was never made
            break
        if not pids:
            break
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=1)


def _inside(name: str) -> list[str]:
    return ["ip", "netns", "exec", name]


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
