"""Putting questions to the endpoint: many at a time, within a budget, none twice.

A question is a prompt. Questions of one call differ, so that no two threads or tasks ever ask the same; a reply is on
the disk before it counts.
"""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from jpo_dist.distributed.waiting import Work, working
from jpo_dist.endpoint.budget import Spent, largest_of, left_of, reached, spent_on
from jpo_dist.endpoint.config import EndpointConfig
from jpo_dist.endpoint.many import Request, Terms, send_all
from jpo_dist.endpoint.replies import Replies, Reply
from jpo_dist.fan_out import Spread, here
from jpo_dist.judge.config import JudgingConfig
from jpo_dist.judge.questions import read_prompts, request_of
from jpo_dist.judge.reading import read_reply
from jpo_dist.judge.verdict import NOT_ASKED, UNPARSABLE

log = logging.getLogger(__name__)

ANSWERS = "answers"


class Standing(NamedTuple):
    """How far a question is, by the replies on the disk."""

    letter: str
    """`a`, `b`, `?` (asked as often as allowed, never a label) or `-` (not asked often enough yet)."""
    missing: Request | None = None
    """The request that comes next, where it is not asked often enough."""
    why: str = ""
    """Why the last reply gives no label, where none does."""
    so_far: tuple[Reply, ...] = ()
    """The replies to it that were read."""


def standing(prompt: str, replies: Replies, config: EndpointConfig, again: str) -> Standing:
    """How far the question `prompt` is: its attempts one after the other, up to the first with a label or no reply."""
    why, so_far = "", tuple[Reply, ...]()
    for attempt in range(config.ask_again + 1):
        request = request_of(prompt, attempt, config, again)
        reply = replies.get(request.key)
        if reply is None:
            return Standing(NOT_ASKED, request, so_far=so_far)
        read, so_far = read_reply(reply, config.max_tokens), (*so_far, reply)
        if read.letter is not None:
            return Standing(read.letter, so_far=so_far)
        why = read.why
    return Standing(UNPARSABLE, why=why, so_far=so_far)


@dataclass
class Asked:
    """What became of the questions of a call."""

    failed: dict[str, str] = field(default_factory=dict)
    """Reasons why no reply came, by prompt."""
    passing: set[str] = field(default_factory=set)
    """Prompts of those that may get a reply when they are asked again."""
    tries: Counter[str] = field(default_factory=Counter)
    exhausted: str | None = None
    """The limit that left questions unasked."""
    left_out: tuple[str, ...] = ()
    """Fields that the server refused."""


def ask_all(prompts: Sequence[str], config: JudgingConfig, folder: Path, terms: Terms) -> Asked:
    """Ask the (different) prompts until each has a label, or the allowed number of unparsable replies.

    Raises EndpointRefused or EndpointDown, after the replies under way are on the disk.
    """
    replies = Replies(folder / ANSWERS)
    try:
        with working("judging", len(prompts), "questions") as work:
            questions = _Questions(config, replies, work)
            stand = [questions.standing(prompt) for prompt in prompts]
            requests = [one.missing for one in stand if one.missing is not None]
            so_far = [reply for one in stand for reply in one.so_far]
            sent = send_all(requests, config.endpoint, replies, terms, questions.received, so_far)
    finally:
        replies.close()
    failed = {questions.prompts[key]: reason for key, reason in sent.failed.items()}
    passing = {questions.prompts[key] for key in sent.passing}
    return Asked(failed, passing, sent.tries, sent.exhausted, sent.left_out)


class _Questions:
    """Which request a question needs next, and which question a request belongs to."""

    def __init__(self, config: JudgingConfig, replies: Replies, work: Work) -> None:
        self.config, self.replies, self._work = config.endpoint, replies, work
        self.again = read_prompts(config.prompts).again
        self.prompts: dict[str, str] = {}
        """Prompts by the keys of their requests."""

    def standing(self, prompt: str) -> Standing:
        """How far the question is; what it lacks is its own from now on."""
        found = standing(prompt, self.replies, self.config, self.again)
        if found.missing is not None:
            self.prompts[found.missing.key] = prompt
        return found

    def received(self, request: Request, reply: Reply) -> Request | None:
        """What the question of a request lacks after its reply."""
        following = self.standing(self.prompts[request.key]).missing
        if following is None:
            self._work.add()
        return following


# ---- shards: the same work in one process or in many


def ask_shard(payload: dict[str, Any]) -> dict[str, Any]:
    """One task: plain data in and out. The prompts are in a file, since they may be hundreds of megabytes."""
    prompts = json.loads(Path(payload["prompts"]).read_text(encoding="utf-8"))
    config = JudgingConfig.model_validate(payload["config"])
    asked = ask_all(prompts, config, Path(payload["folder"]), Terms.of(payload["terms"]))
    return {
        "failed": asked.failed, "passing": asked.passing, "tries": dict(asked.tries),
        "exhausted": asked.exhausted, "left_out": asked.left_out,
    }  # fmt: skip


def ask(prompts: Sequence[str], config: JudgingConfig, folder: Path, spread: Spread = here, tasks: int = 1) -> Asked:
    """Ask each of the (different) prompts until it is settled, has failed, or the budget is used up.

    Each task gets a share of the prompts, of the concurrency and of what is left of the budget; when some have used
    theirs up and others have not, what is left is shared out again, until a round brings nothing new.
    """
    again = read_prompts(config.prompts).again
    total, before = Asked(), -1
    while True:
        replies = Replies(folder / ANSWERS)
        left = {
            prompt: found.so_far
            for prompt in prompts
            if prompt not in total.failed
            and (found := standing(prompt, replies, config.endpoint, again)).letter == NOT_ASKED
        }
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
        largest = largest_of(Spent(1, 0, 0.0), *each)
        terms = Terms(limits, largest, config.endpoint.concurrency, total.left_out)
        for result in _round(left, config, folder, terms, (spread, tasks)):
            total.failed |= result["failed"]
            total.passing |= result["passing"]
            total.tries.update(result["tries"])
            total.exhausted = total.exhausted or result["exhausted"]
            total.left_out = tuple(dict.fromkeys((*total.left_out, *result["left_out"])))


def _round(
    left: dict[str, tuple[Reply, ...]],
    config: JudgingConfig,
    folder: Path,
    terms: Terms,
    how: tuple[Spread, int],
) -> list[dict[str, Any]]:
    """`left`: the replies so far, by prompt."""
    prompts, (spread, tasks) = list(left), how
    parts = min(tasks, len(prompts), terms.threads, terms.limits.max_requests or tasks)
    payloads = []
    with TemporaryDirectory(prefix="shards-", dir=folder) as aside:  # beside the answers: all hosts see it
        for part, share in enumerate(terms.shared(parts)):
            path = Path(aside) / f"{part}.json"
            path.write_text(json.dumps(prompts[part::parts]), encoding="utf-8")
            before = spent_on([reply for prompt in prompts[part::parts] for reply in left[prompt]], config.endpoint)
            payloads.append(
                {
                    "config": config.model_dump(mode="json", include=set(JudgingConfig.model_fields)),
                    "prompts": str(path),
                    "folder": str(folder),
                    "terms": share._replace(before=before).as_dict(),
                }
            )
        return spread(ask_shard, payloads)
