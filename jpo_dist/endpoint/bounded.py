"""HTTP within bounds: a reply that is too large, too slow as a whole, or somebody else's, is none.

Timeouts of clients bound each wait of a read. A server that drips a byte a second stays within them for ever, and 2 MB
of gzip unfold to 2 GB. The only module that imports httpx2, which openai brings.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import httpx2

LARGEST_REPLY = 64 << 20
"""Bytes of a reply, unpacked: some hundred times what the longest answers take."""
TIMEOUTS = 30
"""A request may last so many times `endpoint.timeout_s`, whatever its server sends to keep it alive."""
_GZIP = 31  # zlib's name for the format: a window of 15 bits, in gzip's header


class BadReply(Exception):
    """A reply is larger than LARGEST_REPLY, or packed in a way that is not read."""


class Redirected(Exception):
    """The server sends the request on to another host."""


def hold_to_bounds(response: httpx2.Response) -> None:
    """An event hook of a client: before a reply is read, bound its size and refuse another host's.

    A redirect within the server (a slash at the end, http to https) is followed. Raises Redirected or BadReply; reading
    the reply raises BadReply.
    """
    location = response.headers.get("location") if response.is_redirect else None
    if location is not None:
        here, there = response.request.url, response.request.url.join(location)
        if not _is_same_server(here, there):
            raise Redirected(f"to {there.scheme}://{there.host}")
    coding = response.headers.pop("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip"):
        raise BadReply(f"it is packed ({coding}), which was not asked for")
    assert isinstance(response.stream, httpx2.SyncByteStream), "a client that is not asynchronous has these"
    response.stream = _Bounded(response.stream, coding == "gzip")


def _is_same_server(here: httpx2.URL, there: httpx2.URL) -> bool:
    upgraded = (here.scheme, there.scheme) == ("http", "https") and here.port is None and there.port is None
    return here.host == there.host and (upgraded or (here.scheme, here.port) == (there.scheme, there.port))


class _Bounded(httpx2.SyncByteStream):
    """A body, unpacked here, so that no more of it than LARGEST_REPLY is ever in memory."""

    def __init__(self, inner: httpx2.SyncByteStream, packed: bool) -> None:
        self._inner, self._packed = inner, packed

    def __iter__(self) -> Iterator[bytes]:
        left, unpack = LARGEST_REPLY, zlib.decompressobj(_GZIP) if self._packed else None
        for piece in self._inner:
            try:
                plain = piece if unpack is None else unpack.decompress(piece, left + 1)
            except zlib.error as error:
                raise BadReply(f"it is no gzip: {error}") from None
            left -= len(plain)
            if left < 0:
                raise BadReply(f"it is over {LARGEST_REPLY >> 20} MB")
            yield plain

    def close(self) -> None:
        self._inner.close()


def settings_of_client(timeout_s: float, **more: Any) -> dict[str, Any]:
    """What an HTTP client is made with so that it keeps these bounds."""
    return {"timeout": timeout_s, "event_hooks": {"response": [hold_to_bounds]}, **more}
