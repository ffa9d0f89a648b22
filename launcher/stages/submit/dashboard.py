"""A job is submitted by the plain `ray job submit`, which is printed, and followed to its end.

What is added: the token is found, and the outcome is the job's own exit code, of which Ray's command makes 1.
"""

import http.client
import json
import os
import shlex
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.errors import ClusterError
from cluster.secrets import ray_token
from jpo_dist.config.explain import ConfigError
from jpo_dist.deadline import TooSlow, within
from jpo_dist.proxies import go_direct, keep_direct
from jpo_dist.redact import visible
from launcher.console import FAILURE, TERMINATED, err, out
from launcher.stages.submit.job import Job

INTERRUPTED = 130
WAIT_S, LONGEST_ANSWER = 60.0, 4 << 20
"""How long the dashboard may take for an answer, and how many bytes of one are read."""


def run(job: Job) -> int:
    """Submit, follow, and return what the job's own process returned. Ctrl-C leaves the job running."""
    token = ray_token()
    if token is None and os.environ.get("RAY_AUTH_MODE") != "disabled":
        raise ConfigError(
            "no Ray token on this host: put the cluster's into a file that only you can read and name it in "
            "RAY_AUTH_TOKEN_PATH (default ~/.ray/auth_token)"
        )
    go_direct(job.address, os.environ)
    _find_dashboard(job.address, token)
    out.print(shlex.join(job.command), markup=False, highlight=False, soft_wrap=True)
    ray = Path(sys.executable).parent / "ray"
    program = str(ray) if ray.exists() else "ray"
    # Ray's command sends no token unless it is told to, and would send it in clear through a proxy of http.
    env = {"RAY_AUTH_MODE": "token", **os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    if not job.address.startswith("https://"):
        keep_direct(env, [str(urlsplit(job.address).hostname)])
    try:
        code = subprocess.run([program, *job.command[1:]], env=env, check=False).returncode
    except KeyboardInterrupt:
        err.print(
            f"the job goes on; `ray job stop --address {job.address} {job.id}` ends it", highlight=False, markup=False
        )
        return INTERRUPTED
    return code if "--no-wait" in job.command else _outcome(job, token, code)


def _find_dashboard(address: str, token: str | None) -> None:
    """Raises ClusterError where nobody listens, since Ray's command would print a page, and where requests are sent on:
    the token is for this address. Anything else is left to Ray's command."""
    try:
        _ask(f"{address}/api/version", token)
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 400:
            there = urlsplit(error.headers.get("Location", "")).hostname or "another address"
            raise ClusterError(
                f"the dashboard at {address} sends requests on to {there}; the token goes to the address that is given "
                "alone: correct --address if that is the one you mean"
            ) from None
    except (OSError, ValueError, TooSlow, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None)
        if isinstance(reason, ConnectionRefusedError | socket.gaierror):
            raise ClusterError(
                f"no Ray dashboard at {address} ({reason.strerror}); correct --address, or start the cluster"
            ) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect an error: urllib would take the token along, to any host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _ask(url: str, token: str | None) -> bytes:
    """The answer of the dashboard, as far as one may be long; a token in clear goes through no proxy."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    direct = [] if url.startswith("https://") else [urllib.request.ProxyHandler({})]
    opener = urllib.request.build_opener(_NoRedirect, *direct)

    def read() -> bytes:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return bytes(answer.read(LONGEST_ANSWER))

    return within(WAIT_S, read)


def _outcome(job: Job, token: str | None, code: int) -> int:
    """The exit code of the job's process. `code` is that of Ray's command: 0 also for a job that was stopped."""
    try:
        about = json.loads(_ask(f"{job.address}/api/jobs/{job.id}", token))
        if not (isinstance(about, dict) and isinstance(about.get("status"), str)):
            raise ValueError("the dashboard's answer has no status in it")
    except (OSError, ValueError, RecursionError, TooSlow, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code == 404:  # it was never accepted
            return code or FAILURE
        err.print(f"the outcome of {job.id} is not known: {visible(str(error))}", highlight=False, markup=False)
        return code or FAILURE
    match about["status"]:
        case "SUCCEEDED":
            return 0
        case "STOPPED":
            return TERMINATED
        case "FAILED":
            own = about.get("driver_exit_code")
            return code or FAILURE if not isinstance(own, int) else 128 - own if own < 0 else own
        case status:
            err.print(
                f"{job.id} is {visible(status)[:40]}; `ray job logs --address {job.address} -f {job.id}` follows it",
                markup=False,
            )
            return code or FAILURE
