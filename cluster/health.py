"""Health check of a container, `python -m cluster.health`: exit code 0 while its Ray node answers, or has none.

The node's agent is asked, as Kubernetes' probes do; it needs no token. A container without a Ray node (a driver, a
submitter, `jpo evaluate`) lives as long as its command does, and there is nothing more to ask.
"""

import os
import sys
import urllib.request
from contextlib import suppress

import psutil  # type: ignore[import-untyped]

URL = "http://127.0.0.1:{port}/api/local_raylet_healthz"


def main() -> int:
    """The exit code; what the node said goes to standard error."""
    if not _has_node():
        return 0
    port = os.environ.get("RAY_AGENT_PORT", "52365")  # `ray start --dashboard-agent-listen-port`
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy of the site
        with direct.open(URL.format(port=port), timeout=5) as answer:
            said = answer.read(100).decode("ascii", "replace")
    except OSError as error:
        said = f"{type(error).__name__}: {error}"
    print(said, file=sys.stderr)  # noqa: T201  `docker inspect` shows it
    return 0 if said == "success" else 1


def _has_node() -> bool:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "raylet":
                return True
    return False


if __name__ == "__main__":
    sys.exit(main())
