"""What tests ask virtual hosts and their Ray: requests from inside a host, with the token."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from cluster.virtual.hosts import VirtualHost

_ASK = """
import json, sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + open(sys.argv[2]).read()})
print(urllib.request.urlopen(request, timeout=float(sys.argv[3])).read().decode())
"""


def ask(host: VirtualHost, url: str, timeout: float = 20) -> str | None:
    """The answer to a request from a host; None when nobody answers."""
    done = host.run([sys.executable, "-c", _ASK, url, str(host.token_file), str(timeout)])
    return done.stdout if done.returncode == 0 else None


def ray_answers(asking: VirtualHost, asked: VirtualHost) -> bool:
    """Whether the Ray node of one host says to another that it is well."""
    return ask(asking, f"http://{asked.ip}:52365/api/local_raylet_healthz", 1) == "success\n"


def nodes(host: VirtualHost) -> dict[str, str]:
    """Address and Ray's id of every live node."""
    answer = json.loads(ask(host, f"{host.dashboard_address}/nodes?view=summary") or "{}")
    raylets: list[dict[str, Any]] = [node["raylet"] for node in answer["data"]["summary"]]
    return {one["nodeManagerAddress"]: one["nodeId"] for one in raylets if one["state"] == "ALIVE"}


def job(host: VirtualHost, name: str) -> dict[str, Any]:
    """What the job API says of a job."""
    return dict(json.loads(ask(host, f"{host.dashboard_address}/api/jobs/{name}") or "{}"))


def job_log(host: VirtualHost, name: str) -> list[str]:
    """The lines of a job's log, without empty ones."""
    answer = json.loads(ask(host, f"{host.dashboard_address}/api/jobs/{name}/logs") or '{"logs": ""}')
    return [line for line in answer["logs"].splitlines() if line.strip()]


def wait_until(condition: Callable[[], bool], seconds: float = 240, every_s: float = 0.1) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(every_s)
