"""A server that says what bytes it likes, when it likes: HTTP as an enemy, or a broken proxy, speaks it.

with raw_server(flood) as server:
    server.url          # http://127.0.0.1:PORT
    server.heads        # heads of the requests that came
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, create_server, socket


class RawServer:
    """Reads the head of each request and hands the connection to `act`, which may write until `over` is set."""

    def __init__(self, act: Callable[[socket, threading.Event], None]) -> None:
        self.heads: list[str] = []
        self.over = threading.Event()
        self._act, self._listening = act, create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                peer, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket) -> None:
        with peer, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = peer.recv(65536)
                if not piece:
                    return
                head += piece
            self.heads.append(head.decode("latin-1"))
            self._act(peer, self.over)

    def close(self) -> None:
        self.over.set()
        with suppress(OSError):
            self._listening.shutdown(SHUT_RDWR)  # wakes the thread that accepts, which a close does not
        self._listening.close()


@contextmanager
def raw_server(act: Callable[[socket, threading.Event], None]) -> Iterator[RawServer]:
    server = RawServer(act)
    try:
        yield server
    finally:
        server.close()


def drip_head(peer: socket, over: threading.Event) -> None:
    """A head that never ends, a byte at a time."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.05):
        peer.sendall(b"x")


def drip_body(peer: socket, over: threading.Event) -> None:
    """A body that never ends, a byte at a time, as a server sends that keeps a connection alive."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
    while not over.wait(0.05):
        peer.sendall(b" ")


def flood(peer: socket, over: threading.Event) -> None:
    """A body of a gigabyte, as fast as it goes."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(1000):
        if over.is_set():
            return
        peer.sendall(b" " * 1_000_000)


def silent(peer: socket, over: threading.Event) -> None:
    """Nothing: the request was taken, and no answer comes."""
    over.wait()


def whole(body: bytes, status: str = "200 OK", *headers: str) -> Callable[[socket, threading.Event], None]:
    """One answer of these bytes, after which the connection is closed."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]

    def act(peer: socket, over: threading.Event) -> None:
        peer.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode() + body)

    return act
