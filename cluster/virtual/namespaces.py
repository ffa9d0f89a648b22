"""Hosts without machines: network namespaces on a bridge, with cables that can be pulled and slowed.

Real addresses, real links, real TCP between them; what they share are the disks, the PID space and the kernel. Linux,
root and iproute2 are needed. Nothing here knows of Ray.
"""

import os
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import suppress


class NoVirtualHosts(RuntimeError):
    """This machine cannot make virtual hosts; the message says why and what to do."""


def require_namespaces() -> None:
    """Raises NoVirtualHosts with the reason when this machine cannot make network namespaces."""
    if shutil.which("ip") is None:
        raise NoVirtualHosts("virtual hosts need the `ip` command; install iproute2")
    if os.geteuid() != 0:
        raise NoVirtualHosts(f"virtual hosts need root to make network namespaces; this is uid {os.geteuid()}")
    probe = f"jpo{secrets.token_hex(2)}-probe"
    try:
        ip("netns", "add", probe)
        ip("-n", probe, "link", "add", "br0", "type", "bridge")
    except RuntimeError as error:
        raise NoVirtualHosts(f"this kernel or container allows no network namespaces or bridges: {error}") from None
    finally:
        delete(probe)


def inside(name: str) -> list[str]:
    """What to put before a command so that it runs in a namespace."""
    return ["ip", "netns", "exec", name]


def named(prefix: str) -> list[str]:
    """The namespaces whose names begin so."""
    names = [line.split()[0] for line in ip("netns", "list").splitlines() if line.strip()]
    return sorted(name for name in names if name.startswith(prefix))


def delete(name: str) -> None:
    """Remove a namespace and the cables in it, if it is there."""
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def make_switch(switch: str) -> None:
    """Make a bridge in a namespace of its own: nothing of it appears on the real host."""
    ip("netns", "add", switch)
    ip("-n", switch, "link", "add", "br0", "type", "bridge")
    ip("-n", switch, "link", "set", "br0", "up")


def plug_in(switch: str, name: str, address: str) -> None:
    """Make a namespace with one cable to the switch, and `address` (with its prefix length) on it."""
    port, cable = port_of(name), cable_of(name)
    ip("netns", "add", name)
    ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", cable, "netns", name)
    ip("-n", switch, "link", "set", port, "master", "br0", "up")
    ip("-n", name, "address", "add", address, "dev", cable)
    ip("-n", name, "link", "set", "lo", "up")
    ip("-n", name, "link", "set", cable, "up")


def plug_in_this_host(switch: str, device: str, address: str) -> None:
    """Lay a cable from the switch to the real host, where it is called `device`; it goes with the switch."""
    ip("-n", switch, "link", "add", "outside", "type", "veth", "peer", "name", device, "netns", str(os.getpid()))
    ip("-n", switch, "link", "set", "outside", "master", "br0", "up")
    ip("address", "add", address, "dev", device)
    ip("link", "set", device, "up")


def is_free(address: str) -> bool:
    """Whether no network of this host has `address`: only the default route, if any, leads there."""
    return all(line.startswith("default") for line in ip("route", "list", "match", address).splitlines())


def cable_of(name: str) -> str:
    """Name of the cable's end in the host: another one on every host, as real hosts have."""
    return f"net{name.rpartition('-')[2]}"


def port_of(name: str) -> str:
    """Name of the cable's end in the switch."""
    return f"port{name.rpartition('-')[2]}"


def slow_down(namespace: str, device: str, rate: str | None) -> None:
    """Let at most `rate` (as tc writes it: `10mbit`) leave `namespace` through `device`; None: full speed again."""
    if rate is None:
        done = run("tc", "-n", namespace, "qdisc", "delete", "dev", device, "root")
        if done.returncode != 0 and "No such file" not in done.stderr and "handle of zero" not in done.stderr:
            raise RuntimeError(f"tc qdisc delete on {namespace}: {done.stderr.strip()}")
        return
    # The bucket holds more than one whole segment (64 KB with the kernel's offloading), or nothing would ever pass.
    shaping = ["tbf", "rate", rate, "burst", "128kb", "latency", "200ms"]
    done = run("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", *shaping)
    if done.returncode != 0:
        raise RuntimeError(f"tc ({rate}) on {namespace}: {done.stderr.strip()}; write a rate such as 10mbit")


def pids(name: str) -> list[int]:
    """Process ids of everything that runs in a namespace."""
    return [int(line) for line in ip("netns", "pids", name).split()]


def end_processes(name: str, patience_s: float = 20.0) -> None:
    """Send SIGKILL to what runs in a namespace until nothing does: a dying raylet may still start a worker."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            alive = pids(name)
        except RuntimeError:  # the namespace was never made
            return
        if not alive:
            return
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def ip(*arguments: str) -> str:
    """The output of `ip …`. Raises RuntimeError with what it said."""
    done = run("ip", *arguments)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
