"""Many requests at a time to one server: each at most once, within a budget, a reply on the disk before it counts."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

from jpo_dist.endpoint.budget import Budget, Spent
from jpo_dist.endpoint.config import BudgetConfig, EndpointConfig
from jpo_dist.endpoint.replies import Replies, Reply

log = logging.getLogger(__name__)


class Request(NamedTuple):
    """One request: `key` is the SHA-256 of the server's name and of all that is sent."""

    key: str
    body: dict[str, Any]


@dataclass
class Sent:
    """What became of the requests of a call."""

    failed: dict[str, str] = field(default_factory=dict)
    """Reasons why no reply came, by key."""
    tries: Counter[str] = field(default_factory=Counter)
    exhausted: str | None = None
    """The limit that left requests unsent."""


class Limited(NamedTuple):
    """How much a call may spend, what the largest reply so far took, and how many requests are under way at a time."""

    limits: BudgetConfig
    largest: Spent
    threads: int


def send_all(
    requests: Sequence[Request],
    config: EndpointConfig,
    replies: Replies,
    limited: Limited,
    received: Callable[[Request, Reply], None],
) -> Sent:
    """Send the requests, whose keys differ. `received` is called with every reply, by one thread at a time.

    Raises EndpointRefused or EndpointDown, after the replies under way are on the disk.
    """
    from jpo_dist.endpoint.client import Endpoint

    stop = threading.Event()
    endpoint = Endpoint(config, stop)
    sender = _Sender(config, replies, endpoint, Budget(limited.limits, config, limited.largest), stop, received)
    try:
        with ThreadPoolExecutor(limited.threads, thread_name_prefix="ask") as pool:
            try:
                for _ in pool.map(sender.settle, requests):
                    pass
            except BaseException:  # Ctrl-C: end the waits, begin nothing, keep what is under way
                stop.set()
                raise
    finally:
        endpoint.close()
    if sender.fatal is not None:
        raise sender.fatal
    return Sent(sender.failed, endpoint.tries, sender.budget.exhausted)


class _Sender:
    """The state that the threads of one call share."""

    def __init__(
        self,
        config: EndpointConfig,
        replies: Replies,
        endpoint: Any,
        budget: Budget,
        stop: threading.Event,
        received: Callable[[Request, Reply], None],
    ) -> None:
        self.config, self.replies, self.endpoint, self.budget, self.stop = config, replies, endpoint, budget, stop
        self.received = received
        self.failed: dict[str, str] = {}
        self.fatal: Exception | None = None
        self._in_a_row: deque[str] = deque(maxlen=config.max_failures)
        self._lock = threading.Lock()

    def settle(self, request: Request) -> None:
        """Send one request, as often as it takes."""
        from jpo_dist.endpoint.client import EndpointDown, EndpointRefused, QuestionFailed, Stopped

        try:
            if not self.stop.is_set():
                self._send(request)
        except QuestionFailed as error:
            self._fail(request, str(error))
        except Stopped:
            pass
        except (EndpointRefused, EndpointDown) as error:
            self._end(error)
        except BaseException as error:  # a full disk, a bug: no more money for replies that cannot be kept
            self._end(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _send(self, request: Request) -> None:
        if not self.budget.begin():
            return
        reply, start = None, monotonic()
        try:
            if self.stop.is_set():
                return
            completion = self.endpoint.ask(request.body)
            seconds = round(monotonic() - start, 3)
            reply = Reply(seconds=seconds, server=self.config.base_url, key=request.key, **completion.as_reply())
            self.replies.add(reply)
            with self._lock:
                self._in_a_row.clear()
                self.received(request, reply)
        finally:
            self.budget.end(reply)

    def _fail(self, request: Request, reason: str) -> None:
        from jpo_dist.endpoint.client import EndpointDown

        with self._lock:
            self.failed[request.key] = reason
            self._in_a_row.append(reason)
            limit = self.config.max_failures
            if len(self._in_a_row) == limit and self.fatal is None:
                self.stop.set()
                self.fatal = EndpointDown(
                    f"endpoint.base_url ({self.config.base_url}): {limit} requests in a row (endpoint.max_failures) "
                    f"without an answer, the last: {reason}; mend that, then run again: no answer so far is lost"
                )

    def _end(self, error: Exception) -> None:
        with self._lock:
            self.fatal = self.fatal or error
        self.stop.set()
