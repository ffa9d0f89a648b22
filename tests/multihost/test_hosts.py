"""What can be done to a host and its cable, with real Ray nodes: cut, slowed, added, killed, started again."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster.virtual.hosts import VirtualHost, add_host, end_cluster, find_hosts, virtual_hosts
from tests.support.hosts import ask, nodes, ray_answers, wait_until

pytestmark = [pytest.mark.multihost, pytest.mark.slow]

SEND = """
import socket, sys
server = socket.create_server(("0.0.0.0", 7000))
print("ready", flush=True)
while True:
    peer, _ = server.accept()
    peer.sendall(bytes(2 * 10**6))
    peer.close()
"""
RECEIVE = """
import socket, sys, time
started, got = time.monotonic(), 0
with socket.create_connection((sys.argv[1], 7000), timeout=20) as peer:
    while data := peer.recv(65536):
        got += len(data)
print(got / (time.monotonic() - started))
"""


def speed(source: VirtualHost, target: VirtualHost) -> float:
    """Bytes a second of one transfer between two hosts."""
    return float(target.run([sys.executable, "-c", RECEIVE, source.ip]).stdout)


def test_a_cut_link_silences_a_host_and_nothing_else(two_hosts: list[VirtualHost]) -> None:
    head, other = two_hosts
    assert ray_answers(head, other)
    before = other.pids()
    other.set_link(False)
    try:
        assert not ray_answers(head, other)
        assert ray_answers(head, head)
    finally:
        other.set_link(True)
    wait_until(lambda: ray_answers(head, other))
    assert set(before) <= set(other.pids())
    assert nodes(head).keys() == {head.ip, other.ip}


def test_a_slowed_link_carries_what_it_may_both_ways_and_then_all_again(two_hosts: list[VirtualHost]) -> None:
    head, other = two_hosts
    servers = [host.popen([sys.executable, "-c", SEND]) for host in two_hosts]
    try:
        for server in servers:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
        full = [speed(head, other), speed(other, head)]
        other.limit_link("10mbit")
        slow = [speed(head, other), speed(other, head)]
        assert ray_answers(head, other)
        other.limit_link(None)
        again = [speed(head, other), speed(other, head)]
        other.limit_link(None)  # as often as one likes
    finally:
        other.limit_link(None)
        for server in servers:
            server.kill()
    # 2 MB at 1.25 MB/s; the first 128 KB pass at once.
    assert all(0.2e6 < one < 1.5e6 for one in slow), slow
    assert min(*full, *again) > 2 * max(slow), (full, slow, again)


@pytest.mark.nightly
def test_a_host_is_added_killed_and_started_again(two_hosts: list[VirtualHost]) -> None:
    head, other = two_hosts
    hosts = list(two_hosts)
    added = add_host(hosts)
    try:
        assert hosts[2] is added
        wait_until(lambda: len(nodes(head)) == 3)
        before = nodes(head)
        assert before.keys() == {host.ip for host in hosts}
        assert [host.name for host in find_hosts(head.name.split("-")[1])] == [host.name for host in hosts]

        survivors = {pid for host in two_hosts for pid in host.pids()}
        sleeper = added.popen(["sleep", "600"])
        wait_until(lambda: sleeper.pid in added.pids())  # it is a process before it is one of the host's
        killed = added.pids()
        added.kill()
        assert added.pids() == []
        assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in killed)
        assert survivors <= {pid for host in two_hosts for pid in host.pids()}
        assert not ray_answers(head, added)

        added.restart()
        wait_until(lambda: nodes(head).get(added.ip, before[added.ip]) != before[added.ip])
        assert {ip: one for ip, one in nodes(head).items() if ip != added.ip} == {
            ip: one for ip, one in before.items() if ip != added.ip
        }
        assert ray_answers(other, added)
    finally:
        added.kill()
    assert all(ray_answers(head, host) for host in two_hosts)


@pytest.mark.usefixtures("two_hosts")  # needs root as these do
def test_what_others_made_under_the_name_of_a_cluster_is_not_used() -> None:
    folder = Path("/tmp/jpo-zz9")
    folder.mkdir()
    try:
        (folder / "cluster.json").write_text('{"network": "10.77.0"}')
        os.chown(folder, 12345, 12345)
        with pytest.raises(PermissionError, match="uid 12345"):
            end_cluster("zz9")
        assert (folder / "cluster.json").exists()
    finally:
        os.chown(folder, 0, 0)
        end_cluster("zz9")
    assert not folder.exists()


def test_the_token_of_the_hosts_is_in_no_file_that_others_can_read(two_hosts: list[VirtualHost]) -> None:
    head = two_hosts[0]
    folder, token = head.token_file.parent, head.token_file.read_bytes()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    holding = [path for path in folder.rglob("*") if path.is_file() and token in path.read_bytes()]
    assert [(path, stat.S_IMODE(path.stat().st_mode)) for path in holding] == [(head.token_file, 0o600)]
    with pytest.raises(ValueError, match="small letters"), virtual_hosts(1, name="Not/A/Name"):
        pass
    assert subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout.count("Not") == 0


def test_ray_says_where_prometheus_finds_the_metrics_of_every_node(two_hosts: list[VirtualHost]) -> None:
    """docs/watching.md names the file."""
    head = two_hosts[0]
    discovery = head.temp_dir / "prom_metrics_service_discovery.json"

    def serve(name: str) -> set[str]:
        """Hosts of which some address in the file has this metric."""
        found = discovery.exists() and [one for group in json.loads(discovery.read_text()) for one in group["targets"]]
        return {at.rpartition(":")[0] for at in found or [] if name in (ask(head, f"http://{at}/metrics") or "")}

    wait_until(lambda: serve("ray_node_mem_used_host") == {host.ip for host in two_hosts})
