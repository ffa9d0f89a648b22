"""Many requests at a time to one server: each at most once, within a budget, a reply on the disk before it counts."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

from jpo_dist.endpoint.budget import NOTHING_SPENT, Budget, Spent, largest_of, spent_on, spent_since
from jpo_dist.endpoint.config import BudgetConfig, EndpointConfig
from jpo_dist.endpoint.replies import Replies, Reply


class Request(NamedTuple):
    """One request: `key` is the SHA-256 of the server's name and of all that is sent."""

    key: str
    body: dict[str, Any]


@dataclass
class Sent:
    """What became of the requests of a call."""

    failed: dict[str, str] = field(default_factory=dict)
    """Reasons why no reply came, by key."""
    passing: set[str] = field(default_factory=set)
    """Keys of those that may get a reply when they are sent again (jpo_dist.endpoint.left)."""
    tries: Counter[str] = field(default_factory=Counter)
    exhausted: str | None = None
    """The limit that left requests unsent."""
    left_out: tuple[str, ...] = ()
    """Fields that the server refused, now or before, as jpo_dist.endpoint.refused_fields.learned has them."""


class Terms(NamedTuple):
    """How a call may send: it can be sent to a task as plain data."""

    limits: BudgetConfig
    """What it may spend."""
    largest: Spent
    """What the largest reply so far took."""
    threads: int
    """Requests under way at a time."""
    left_out: tuple[str, ...] = ()
    """What the server has refused before."""
    before: Spent = NOTHING_SPENT
    """What replies to the questions of this call took before `limits` began to hold. A task that is started again, its
    host lost, finds more: that is spent of its limits."""

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        spent = {"largest": list(self.largest), "before": list(self.before)}
        return {**self._asdict(), "limits": self.limits.model_dump(), **spent}

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Terms":
        """What `as_dict` has made plain."""
        limits, largest = BudgetConfig.model_validate(data["limits"]), Spent(*data["largest"])
        return cls(limits, largest, data["threads"], tuple(data["left_out"]), Spent(*data["before"]))

    def budget(self, so_far: Sequence[Reply], config: EndpointConfig) -> Budget:
        """The limits, and what of them is spent, by the replies `so_far` to the questions of this call."""
        spent = spent_since(self.before, spent_on(so_far, config))
        largest = largest_of(self.largest, *(spent_on([reply], config) for reply in so_far))
        return Budget(self.limits, config, largest, spent)

    def shared(self, parts: int) -> list["Terms"]:
        """The terms of each of `parts` calls that run beside each other: together no more than these."""
        limits = self.limits
        requests, threads = parts_of(limits.max_requests or 0, parts), parts_of(self.threads, parts)
        tokens, cost = (
            limits.max_tokens and max(1, limits.max_tokens // parts),
            limits.max_cost and limits.max_cost / parts,
        )
        return [
            self._replace(
                limits=BudgetConfig(max_requests=requests[part] or None, max_tokens=tokens, max_cost=cost),
                threads=threads[part],
            )
            for part in range(parts)
        ]


def parts_of(total: int, parts: int) -> list[int]:
    """`total` in `parts` whole numbers that differ by at most one.

    >>> parts_of(7, 3)
    [3, 2, 2]
    """
    return [total // parts + (part < total % parts) for part in range(parts)]


def send_all(
    requests: Sequence[Request],
    config: EndpointConfig,
    replies: Replies,
    terms: Terms,
    received: Callable[[Request, Reply], Request | None],
    so_far: Sequence[Reply],
) -> Sent:
    """Send the requests, whose keys differ. `received` is called with every reply, by one thread at a time, and may
    return a request that the reply has made necessary. `so_far`: replies that there are to the questions of this call.

    Raises EndpointRefused or EndpointDown, after the replies under way are on the disk.
    """
    from jpo_dist.endpoint.client import Endpoint

    stop = threading.Event()
    endpoint = Endpoint(config, stop, terms.left_out)
    sender = _Sender(config, replies, endpoint, terms.budget(so_far, config), stop, received)
    try:
        with ThreadPoolExecutor(terms.threads, thread_name_prefix="ask") as pool:
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
    return Sent(sender.failed, sender.passing, endpoint.tries, sender.budget.exhausted, endpoint.left_out)


class _Sender:
    """The state that the threads of one call share."""

    def __init__(
        self,
        config: EndpointConfig,
        replies: Replies,
        endpoint: Any,
        budget: Budget,
        stop: threading.Event,
        received: Callable[[Request, Reply], Request | None],
    ) -> None:
        self.config, self.replies, self.endpoint, self.budget, self.stop = config, replies, endpoint, budget, stop
        self.received = received
        self.failed: dict[str, str] = {}
        self.passing: set[str] = set()
        self.fatal: Exception | None = None
        self._in_a_row: deque[str] = deque(maxlen=config.max_failures)
        self._lock = threading.Lock()

    def settle(self, request: Request) -> None:
        """Send one request, and those that its reply makes necessary, each as often as it takes."""
        from jpo_dist.endpoint.client import EndpointDown, EndpointRefused, QuestionFailed, Stopped

        following: Request | None = request
        try:
            while following is not None and not self.stop.is_set():
                request = following
                following = self._send(request)
        except QuestionFailed as error:
            self._fail(request, str(error), error.passing)
        except Stopped:
            pass
        except (EndpointRefused, EndpointDown) as error:
            self._end(error)
        except BaseException as error:  # a full disk, a bug: no more money for replies that cannot be kept
            self._end(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _send(self, request: Request) -> Request | None:
        if not self.budget.begin():
            return None
        reply, start = None, monotonic()
        try:
            if self.stop.is_set():
                return None
            completion = self.endpoint.ask(request.body)
            seconds = round(monotonic() - start, 3)
            reply = Reply(seconds=seconds, server=self.config.base_url, key=request.key, **completion.as_reply())
            self.replies.add(reply)
            with self._lock:
                self._in_a_row.clear()
                return self.received(request, reply)
        finally:
            self.budget.end(reply)

    def _fail(self, request: Request, reason: str, passing: bool) -> None:
        from jpo_dist.endpoint.client import EndpointDown

        with self._lock:
            self.failed[request.key] = reason
            if passing:
                self.passing.add(request.key)
            self._in_a_row.append(reason)
            limit = self.config.max_failures
            if len(self._in_a_row) == limit and self.fatal is None:
                self.stop.set()
                self.fatal = EndpointDown(
                    f"endpoint.base_url ({self.config.base_url}): {limit} questions in a row (endpoint.max_failures) "
                    f"without an answer, the last: {reason}; mend that, then run again: no answer so far is lost"
                )

    def _end(self, error: Exception) -> None:
        with self._lock:
            self.fatal = self.fatal or error
        self.stop.set()
