"""Whether a tracking server or database can be reached at all, found out in seconds, and bounds on what a server says.

MLflow asks its server with timeouts that bound each wait, reads any reply whole, and tries for minutes to open a
database that cannot be written to.
"""

import http.client
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from jpo_dist.deadline import TooSlow, within
from jpo_dist.tracking.run_file import sqlite_path

PROBE_S = 5.0
"""How long a server may take to say anything at all, and a database to be locked for writing."""
LARGEST_REPLY = 64 << 20
"""Bytes of a reply of the server, unpacked."""
LONGEST_REPLY_S = 60.0
"""How long reading the body of one may take."""


def probe(uri: str) -> None:
    """Raise OSError, TooSlow or sqlite3.Error where nothing answers at `uri`, or its database cannot be written to.

    It is cheaper than importing mlflow to find out.
    """
    parts, database = urlsplit(uri), sqlite_path(uri)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database, timeout=PROBE_S, isolation_level=None)) as opened:
            opened.execute("begin immediate")
            opened.execute("rollback")
    elif parts.scheme in ("http", "https") and parts.hostname is not None and not _is_behind_proxy(uri):
        within(PROBE_S, lambda: _say_hello(parts.scheme, str(parts.hostname), parts.port, parts.path))


def _is_behind_proxy(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname or "")


def _say_hello(scheme: str, host: str, port: int | None, path: str) -> None:
    """Ask for the server's health: any answer will do, and none of its body is read."""
    if scheme == "https":  # its certificate is the affair of the client that is used then
        connection = http.client.HTTPConnection(host, port or 443, timeout=PROBE_S)
        connection.connect()
        connection.close()
        return
    with closing(http.client.HTTPConnection(host, port or 80, timeout=PROBE_S)) as connection:
        connection.request("GET", f"{path.rstrip('/')}/health")
        try:
            connection.getresponse()
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP at that address ({type(error).__name__})") from None


def bound_replies(adapter: Any) -> None:
    """Have a class of adapters of requests read no more of a reply than the bounds, and none of another host's."""
    from requests.exceptions import ConnectionError as NoReply

    plain = adapter.send
    if getattr(plain, "bounded", False):
        return

    def send(self: Any, request: Any, **how: Any) -> Any:
        streamed, how["stream"] = how.get("stream", False), True
        reply = plain(self, request, **how)
        if reply.is_redirect:
            there = urlsplit(reply.headers["location"]).hostname
            if there not in (None, urlsplit(request.url).hostname):
                reply.close()
                raise NoReply(f"the tracking server sends requests on to {there}; name that one if it is meant")
        if not streamed:
            _read(reply, NoReply)
        return reply

    send.bounded = True  # type: ignore[attr-defined]
    adapter.send = send


def _read(reply: Any, error: type[Exception]) -> None:
    """Read the body of a reply of requests, as its `content` does, up to the bounds."""

    def pieces() -> Iterator[bytes]:
        left = LARGEST_REPLY
        for piece in reply.iter_content(65_536):
            left -= len(piece)
            if left < 0:
                raise error(f"its reply is over {LARGEST_REPLY >> 20} MB")
            yield piece

    try:  # what `content` returns: requests has no other way to give it
        reply._content = within(LONGEST_REPLY_S, lambda: b"".join(pieces()))
    except TooSlow as slow:  # not closed: that would wait for the read that does not end
        raise error(f"its reply: {slow}") from None
    except error:
        reply.close()
        raise
