"""Proxies of the environment: checked once, and never in the way of this host and its neighbors."""

import ipaddress
import os
import re
import socket
from collections.abc import Iterable, MutableMapping
from urllib.parse import urlsplit

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
NEVER = ("no_proxy", "NO_PROXY")
SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
HERE = ("localhost", "127.0.0.1", "::1")

_NEAR = re.compile(r"(^|\.)(localhost|local|svc|cluster\.local)$", re.IGNORECASE)
"""Ends of names that no proxy knows: of this machine, of its link, of a Kubernetes cluster."""


def refuse_wrong(environ: MutableMapping[str, str]) -> None:
    """Drop empty proxies. Raises ValueError for one that is no address; it is not repeated, since it may hold a
    password."""
    for name in VARIABLES:
        if name in environ and not environ[name].strip():
            del environ[name]
        elif name in environ and not _is_address(environ[name].strip()):
            raise ValueError(
                f"{name} is no address of a proxy; write http://HOST:PORT (or {', '.join(SCHEMES[2:])}), or unset it"
            )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        return parts.scheme.lower() in SCHEMES and bool(parts.hostname) and parts.port != 0 and " " not in text
    except ValueError:  # a port that is no number, a bracket without its end
        return False


def is_near(host: str) -> bool:
    """Whether `host` is this machine, or one of its own network: no traffic for the outside.

    >>> [is_near(host) for host in ("127.0.0.1", "10.2.3.4", "mlflow", "mlflow.jpo.svc", "example.com", "8.8.8.8")]
    [True, True, True, True, False, False]
    """
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return "." not in host or host.lower() == socket.gethostname().lower() or bool(_NEAR.search(host))
    return address.is_loopback or address.is_private or address.is_link_local


def keep_near_direct(environ: MutableMapping[str, str], hosts: Iterable[str] = ()) -> None:
    """Let traffic to this machine, and to those of `hosts` that are near, go past every proxy.

    Libraries read `no_proxy`, `NO_PROXY` or both, of which the first wins: both get the names of either.
    """
    keep_direct(environ, [*HERE, socket.gethostname(), *(host for host in hosts if is_near(host))])


def keep_direct(environ: MutableMapping[str, str], hosts: Iterable[str]) -> None:
    """Let traffic to `hosts` go past every proxy, near or not."""
    known = [one.strip() for name in NEVER for one in environ.get(name, "").split(",") if one.strip()]
    wanted = [*known, *hosts]
    if any(name in environ for name in VARIABLES):
        environ.update(dict.fromkeys(NEVER, ",".join(dict.fromkeys(wanted))))


def go_direct(url: str, environ: MutableMapping[str, str]) -> bool:
    """Let traffic to the host of `url` go past every proxy, if it is near; returns whether it is."""
    host = urlsplit(url).hostname
    if host is None or not is_near(host):
        return False
    keep_near_direct(environ, [host])
    return True


def no_answer_of_hub(patience_s: float = 5.0) -> str | None:
    """Why the hub cannot be asked, found at once: its library tries for half a minute and says it in 24 lines. None
    where somebody answers, and where that cannot be told: with a proxy, and where nothing may be asked anyway."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or any(os.environ.get(name) for name in VARIABLES):
        return None
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=patience_s).close()
    except OSError as error:
        return f"{address.hostname} does not answer ({error.strerror or error})"
    return None
