"""Secrets by reference: where a host has them, never what they are. Imports nothing heavy."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path


class SecretError(ValueError):
    """A secret that this host was to have and has not."""


def load_secrets(secrets: Mapping[str, str]) -> None:
    """Put what ClusterConfig.secrets names into this process's environment, from this host's own files.

    In each process for itself: what Ray carries to the workers can be read in clear by anyone who reaches the cluster.
    """
    for name, where in secrets.items():
        if where == "env":
            value, fix = os.environ.get(name, ""), "set it for `ray start` there, or name a file"
        else:
            fix = "write the file there, readable by the user of Ray"
            try:
                value = Path(where).expanduser().read_text(encoding="utf-8-sig").strip()
            except OSError as error:
                value, fix = "", f"{error.strerror}; {fix}"
        if not value:
            raise SecretError(f"cluster.secrets.{name} ({where}) has nothing on host {socket.gethostname()}: {fix}")
        os.environ[name] = value


def ray_token() -> str | None:
    """The token for a cluster's doors, where Ray's own clients look for it; None: there is none on this host."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"].strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text(encoding="utf-8-sig").strip() or None
    except OSError:
        return None
