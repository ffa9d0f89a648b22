"""A hub of data sets and models on loopback: as much of its HTTP as `datasets` and `transformers` ask for.

with hub({"owner/name": {"train.jsonl": b"..."}, "owner/name@v1": {...}}) as address:
    ...                                     # HF_ENDPOINT=address in the environment of a process
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Sets = Mapping[str, Mapping[str, bytes]]
Answer = tuple[int, bytes, dict[str, str]]
_PLACE = re.compile(r"(?:/api)?(?:/datasets|/models)?/([^/]+/[^/]+)(?:/(resolve|tree|revision)/([^/]+)(?:/(.*))?)?")


def commit_of(key: str) -> str:
    return hashlib.sha1(key.encode()).hexdigest()


def answer(sets: Sets, path: str) -> Answer:
    """A revision that is neither among the keys nor a commit is the main one."""
    place = _PLACE.fullmatch(path.partition("?")[0])
    if place is None or place[1] not in sets:
        return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
    commits = {commit_of(key): key for key in sets if key.partition("@")[0] == place[1]}
    key = commits.get(place[3] or "", f"{place[1]}@{place[3]}")
    key = key if key in sets else place[1]
    files, commit = sets[key], commit_of(key)
    if place[2] == "resolve":
        if place[4] not in files:
            return 404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
        data = files[place[4]]
        return 200, data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit}
    found: object = {"id": place[1], "sha": commit, "tags": [], "siblings": [{"rfilename": name} for name in files]}
    if place[2] == "tree":
        inside = {} if place[4] else files  # there are no folders
        found = [{"type": "file", "path": name, "size": len(data), "oid": "1" * 40} for name, data in inside.items()]
    return 200, json.dumps(found).encode(), {"Content-Type": "application/json"}


@contextmanager
def hub(sets: Sets) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            status, body, headers = answer(sets, self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
