"""A real HTTP server that speaks /v1/chat/completions: deterministic verdicts, scripted faults, and a count of what
was asked.

    with openai_server(faults={2: Fault("status", 429, {"Retry-After": "0"})}) as server:
        ...                                     # base_url=server.url
        server.answered                         # how often each question (its whole body) got an answer
"""

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """`kind`: status (with `status` and `headers`), broken (200, JSON cut in the middle), empty (200, no choices),
    drop (connection closed before the head), cut (closed within the body), hang (no answer until the end),
    text (a reply of `text`, not a label), null (content null), no_usage, usage (the counts that `text` is in JSON),
    choices (the choices that `text` is in JSON), error (`text` as the body, with `status`).
    """

    kind: str
    status: int = 500
    headers: Mapping[str, str] = {}
    text: str = "They are equally good."


Judge = Callable[[str], str]


def by_length(prompt: str) -> str:
    """The longer answer wins; equal lengths: (a), whatever is shown as it: a judge with a position bias."""
    a, b = answers_in(prompt)
    return "(b)" if len(b) > len(a) else "(a)"


def by_hash(prompt: str) -> str:
    """A judge without sense or bias: by the hash of the answers, in any order; one in four times the place decides."""
    a, b = answers_in(prompt)
    if hashlib.sha256("".join(sorted((a, b))).encode()).digest()[0] % 4 == 0:
        return "(a)"
    return "(a)" if hashlib.sha256(a.encode()).digest() > hashlib.sha256(b.encode()).digest() else "(b)"


def answers_in(prompt: str) -> tuple[str, str]:
    """What the package's own templates show as (a) and (b)."""
    found = re.search(
        r"ANSWER(?: OF PAIR)? \(a\)\n(.*?)\n\n##### .*?ANSWER(?: OF PAIR)? \(b\)\n(.*?)\n\n##### YOUR",
        prompt,
        re.DOTALL,
    )
    assert found, prompt
    return found[1], found[2]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client that went away, killed or out of patience, is no error here."""


class OpenAIServer:
    def __init__(self, judge: Judge, faults: Mapping[int, Fault] | Callable[[int, str], Fault | None]) -> None:
        self.judge = judge
        self.fault_of = faults if callable(faults) else lambda number, _: faults.get(number)
        self.refuse: Callable[[dict[str, Any]], Fault | None] = lambda body: None
        """A fault by the whole body of a request; it goes before `fault_of`."""
        self.requests = 0
        self.finish_of: Callable[[str], str | None] = lambda prompt: "stop"
        self.answered: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.times: list[float] = []
        """When each request came (time.monotonic)."""
        self.under_way = self.most_under_way = 0
        self.hold_after: int | None = None
        """From this many answers on, requests hang until `let_go` is set."""
        self.let_go = threading.Event()
        self.changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms

            def do_POST(self) -> None:
                outer._handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = _QuietServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def wait_for_answers(self, count: int, timeout: float = 60) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.answered.total() >= count, timeout)

    def _handle(self, http: Any) -> None:
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        question = json.dumps(body, sort_keys=True)
        prompt = body["messages"][0]["content"]
        with self.changed:
            self.requests += 1
            number = self.requests
            self.asked[question] += 1
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self.keys.add(http.headers.get("Authorization", ""))
            self.under_way += 1
            self.changed.notify_all()
            self.most_under_way = max(self.most_under_way, self.under_way)
            held = self.hold_after is not None and self.answered.total() >= self.hold_after
        try:
            if held:
                self.let_go.wait(60)
            self._answer(http, question, prompt, self.refuse(body) or self.fault_of(number, prompt))
        finally:
            with self.changed:
                self.under_way -= 1
                self.changed.notify_all()

    def _answer(self, http: Any, question: str, prompt: str, fault: Fault | None) -> None:
        kind = fault.kind if fault else "answer"
        if kind == "hang":
            self.let_go.wait(60)
        if kind in ("hang", "drop"):
            http.close_connection = True
            return
        status, headers, data = self._written(
            kind, fault or Fault(kind), prompt, str(http.headers.get("Authorization"))
        )
        is_answer = kind in ("answer", "text", "null", "no_usage", "usage", "choices")
        if is_answer:
            with self.changed:
                self.answered[question] += 1
        http.send_response(status)
        http.send_header("Content-Type", "application/json")
        http.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(data[: len(data) // 2] if kind == "cut" else data)
        if kind == "cut":
            http.wfile.flush()
            http.close_connection = True

    def _written(self, kind: str, fault: Fault, prompt: str, key: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer to the prompt, or of what goes wrong with it."""
        if kind == "error":
            return fault.status, {}, fault.text.encode()
        if kind == "status":  # servers quote the key
            error = {"message": f"no, {key}", "type": "x", "code": fault.text.split()[0]}
            return fault.status, dict(fault.headers), json.dumps({"error": error}).encode()
        if kind == "empty":
            return 200, {}, b'{"choices": []}'
        text = {"text": fault.text, "null": None}[kind] if kind in ("text", "null") else self.judge(prompt)
        choices = [
            {"index": 0, "finish_reason": self.finish_of(prompt), "message": {"role": "assistant", "content": text}}
        ]
        reply: dict[str, Any] = {"id": "x", "object": "chat.completion", "created": 0, "model": "judge-1"}
        reply["choices"] = json.loads(fault.text) if kind == "choices" else choices
        if kind != "no_usage":
            words = len(prompt.split())
            counts = {"prompt_tokens": words, "completion_tokens": 2, "total_tokens": words + 2}
            reply["usage"] = json.loads(fault.text) if kind == "usage" else counts
        data = json.dumps(reply).encode()
        return 200, {}, data[: len(data) // 2] if kind == "broken" else data


@contextmanager
def openai_server(
    judge: Judge = by_length,
    faults: Mapping[int, Fault] | Callable[[int, str], Fault | None] = {},  # noqa: B006
) -> Iterator[OpenAIServer]:
    """Requests count from 1 in `faults`, or it is a function of the number and the prompt."""
    server = OpenAIServer(judge, faults)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.let_go.set()
        server.http.shutdown()
        server.http.server_close()
        thread.join()
