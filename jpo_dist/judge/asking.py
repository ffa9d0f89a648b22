"""Putting questions to the endpoint: many at a time, within a budget, none twice.

A question is a prompt. Questions of one call differ, so that no two threads or tasks ever ask the same; a reply is on
the disk before it counts.
"""

import json
import logging
import threading
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from jpo_dist.endpoint.budget import Budget, Spent, largest_of, left_of, reached, spent_on
from jpo_dist.endpoint.config import BudgetConfig, EndpointConfig
from jpo_dist.endpoint.replies import Replies, Reply
from jpo_dist.fan_out import Spread, here
from jpo_dist.judge.config import JudgingConfig
from jpo_dist.judge.questions import letter_in, read_prompts, request_of
from jpo_dist.judge.verdict import NOT_ASKED, UNPARSABLE

log = logging.getLogger(__name__)

ANSWERS = "answers"
_REPORT_EVERY_S = 30.0


def letter_of(prompt: str, replies: Replies, config: EndpointConfig, again: str) -> str:
    """`a`, `b`, `?` (asked as often as allowed, never a label) or `-` (not asked often enough yet)."""
    for attempt in range(config.ask_again + 1):
        reply = replies.get(request_of(prompt, attempt, config, again).key)
        if reply is None:
            return NOT_ASKED
        letter = letter_in(reply.reply)
        if letter is not None:
            return letter
    return UNPARSABLE


@dataclass
class Asked:
    """What became of the questions of a call."""

    failed: dict[str, str] = field(default_factory=dict)
    """Reasons why no reply came, by prompt."""
    tries: Counter[str] = field(default_factory=Counter)
    exhausted: str | None = None
    """The limit that left questions unasked."""


def ask_all(
    prompts: Sequence[str], config: JudgingConfig, folder: Path, limits: BudgetConfig, largest: Spent, threads: int
) -> Asked:
    """Ask the prompts to which the folder has no reply, by so many `threads`.

    `limits` are those of this call alone; `largest` is what the largest reply so far took. Raises EndpointRefused or
    EndpointDown, after the replies under way are on the disk.
    """
    from jpo_dist.endpoint.client import Endpoint

    replies = Replies(folder / ANSWERS)
    stop = threading.Event()
    endpoint = Endpoint(config.endpoint, stop)
    asker = _Asker(config, replies, endpoint, Budget(limits, config.endpoint, largest), stop, total=len(prompts))
    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="judge") as pool:
            try:
                for _ in pool.map(asker.settle, prompts):
                    pass
            except BaseException:  # Ctrl-C: end the waits, begin nothing, keep what is under way
                stop.set()
                raise
    finally:
        endpoint.close()
        replies.close()
    if asker.fatal is not None:
        raise asker.fatal
    return Asked(asker.failed, endpoint.tries, asker.budget.exhausted)


class _Asker:
    """The state that the threads of one call share."""

    def __init__(
        self, config: JudgingConfig, replies: Replies, endpoint: Any, budget: Budget, stop: threading.Event, total: int
    ) -> None:
        self.config, self.replies, self.endpoint, self.budget, self.stop = config, replies, endpoint, budget, stop
        self.again = read_prompts(config.prompts).again
        self.failed: dict[str, str] = {}
        self.fatal: Exception | None = None
        self.done, self.total = 0, total
        self._in_a_row: deque[str] = deque(maxlen=config.endpoint.max_failures)
        self._lock = threading.Lock()
        self._said = monotonic()

    def settle(self, prompt: str) -> None:
        """Ask until there is a label, or the allowed number of unparsable replies."""
        from jpo_dist.endpoint.client import EndpointDown, EndpointRefused, QuestionFailed, Stopped

        try:
            if not self.stop.is_set():
                self._settle(prompt)
        except QuestionFailed as error:
            self._fail(prompt, str(error))
        except Stopped:
            pass
        except (EndpointRefused, EndpointDown) as error:
            self._end(error)
        except BaseException as error:  # a full disk, a bug: no more money for answers that cannot be kept
            self._end(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        finally:
            self._progress()

    def _settle(self, prompt: str) -> None:
        config = self.config.endpoint
        for attempt in range(config.ask_again + 1):
            request = request_of(prompt, attempt, config, self.again)
            reply = self.replies.get(request.key) or self._ask(request.key, request.body)
            if reply is None or letter_in(reply.reply) is not None:
                return

    def _ask(self, key: str, body: dict[str, Any]) -> Reply | None:
        if not self.budget.begin():
            return None
        reply, start = None, monotonic()
        try:
            if self.stop.is_set():
                return None
            completion = self.endpoint.ask(body)
            seconds = round(monotonic() - start, 3)
            server = self.config.endpoint.base_url
            reply = Reply(key=key, seconds=seconds, server=server, **completion.as_reply())
            self.replies.add(reply)
            self._in_a_row.clear()
        finally:
            self.budget.end(reply)
        return reply

    def _fail(self, prompt: str, reason: str) -> None:
        from jpo_dist.endpoint.client import EndpointDown

        with self._lock:
            self.failed[prompt] = reason
            self._in_a_row.append(reason)
            limit = self.config.endpoint.max_failures
            if len(self._in_a_row) == limit and self.fatal is None:
                self.stop.set()
                self.fatal = EndpointDown(
                    f"endpoint.base_url ({self.config.endpoint.base_url}): {limit} questions in a row "
                    f"(endpoint.max_failures) without an answer, the last: {reason}; mend that, then run again: "
                    "no answer so far is lost"
                )

    def _end(self, error: Exception) -> None:
        with self._lock:
            self.fatal = self.fatal or error
        self.stop.set()

    def _progress(self) -> None:
        with self._lock:
            self.done += 1
            if monotonic() - self._said > _REPORT_EVERY_S:
                self._said = monotonic()
                spent = self.budget.spent
                log.info("%d of %d questions, %d tokens, cost %.4g", self.done, self.total, spent.tokens, spent.cost)


# ---- shards: the same work in one process or in many


def ask_shard(payload: dict[str, Any]) -> dict[str, Any]:
    """One task: plain data in and out. The prompts are in a file, since they may be hundreds of megabytes."""
    asked = ask_all(
        json.loads(Path(payload["prompts"]).read_text(encoding="utf-8")),
        JudgingConfig.model_validate(payload["config"]),
        Path(payload["folder"]),
        BudgetConfig.model_validate(payload["limits"]),
        Spent(*payload["largest"]),
        payload["threads"],
    )
    return {"failed": asked.failed, "tries": dict(asked.tries), "exhausted": asked.exhausted}


def ask(prompts: Sequence[str], config: JudgingConfig, folder: Path, spread: Spread = here, tasks: int = 1) -> Asked:
    """Ask each of the (different) prompts until it is settled, has failed, or the budget is used up.

    Each task gets a share of the prompts, of the concurrency and of what is left of the budget; when some have used
    theirs up and others have not, what is left is shared out again, until a round brings nothing new.
    """
    again = read_prompts(config.prompts).again
    total, before = Asked(), -1
    while True:
        replies = Replies(folder / ANSWERS)
        left = [
            prompt
            for prompt in prompts
            if prompt not in total.failed and letter_of(prompt, replies, config.endpoint, again) == NOT_ASKED
        ]
        if not left:
            total.exhausted = None
        if not left or len(replies) == before:
            return total
        before = len(replies)
        each = [spent_on([reply], config.endpoint) for reply in replies.all()]
        spent = spent_on(replies.all(), config.endpoint)
        limits = left_of(config.budget, spent)
        log.info(
            "%d questions, %d of them answered before, %d to ask", len(prompts), len(prompts) - len(left), len(left)
        )
        if limits is None:
            total.exhausted = total.exhausted or reached(config.budget, spent)
            return total
        for result in _round(left, config, folder, limits, largest_of(Spent(1, 0, 0.0), *each), (spread, tasks)):
            total.failed |= result["failed"]
            total.tries.update(result["tries"])
            total.exhausted = total.exhausted or result["exhausted"]


def _round(
    prompts: list[str],
    config: JudgingConfig,
    folder: Path,
    limits: BudgetConfig,
    largest: Spent,
    how: tuple[Spread, int],
) -> list[dict[str, Any]]:
    spread, tasks = how
    parts = min(tasks, len(prompts), config.endpoint.concurrency, limits.max_requests or tasks)
    threads = parts_of(config.endpoint.concurrency, parts)
    requests = parts_of(limits.max_requests or 0, parts)
    payloads = []
    with TemporaryDirectory(prefix="shards-", dir=folder) as aside:  # beside the answers: all hosts see it
        for part in range(parts):
            path = Path(aside) / f"{part}.json"
            path.write_text(json.dumps(prompts[part::parts]), encoding="utf-8")
            share = {
                "max_requests": requests[part] or None,
                "max_tokens": limits.max_tokens and max(1, limits.max_tokens // parts),
                "max_cost": limits.max_cost and limits.max_cost / parts,
            }
            payloads.append(
                {
                    "config": config.model_dump(mode="json", include=set(JudgingConfig.model_fields)),
                    "prompts": str(path),
                    "folder": str(folder),
                    "limits": share,
                    "largest": list(largest),
                    "threads": threads[part],
                }
            )
        return spread(ask_shard, payloads)


def parts_of(total: int, parts: int) -> list[int]:
    """`total` in `parts` whole numbers that differ by at most one.

    >>> parts_of(7, 3)
    [3, 2, 2]
    """
    return [total // parts + (part < total % parts) for part in range(parts)]
