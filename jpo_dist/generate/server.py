"""A model behind an OpenAI-compatible server: a request an answer, its reply kept on disk by its content.

Sampling is the server's: what it says to a seed is its own affair, and may change with its load. What was said is kept,
so that a kill or another number of tasks pays for nothing twice and changes nothing that is there.
"""

import hashlib
import json
import logging
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jpo_dist.endpoint.budget import Spent, largest_of, left_of, reached, spent_on
from jpo_dist.endpoint.many import Request, Terms, send_all
from jpo_dist.endpoint.replies import Replies, Reply, counted
from jpo_dist.fan_out import Spread
from jpo_dist.generate.answers import Answer
from jpo_dist.generate.asking import Outcome, Row, row_of
from jpo_dist.generate.config import GenerateConfig
from jpo_dist.generate.progress import Made, Writer
from jpo_dist.generate.sampling import key_of
from jpo_dist.records.chat import for_server

log = logging.getLogger(__name__)

REPLIES = "replies"


class Server:
    """The server of `config.endpoint`."""

    def __init__(self, config: GenerateConfig) -> None:
        assert config.endpoint is not None, "checked by GenerateConfig"
        self.config, self.endpoint = config, config.endpoint
        extra = {"extra_body": json.dumps(self.endpoint.extra_body)} if self.endpoint.extra_body else {}
        self.about = {"engine": config.engine, "model": self.endpoint.model, **extra}
        self._left_out: tuple[str, ...] = ()

    def ask(self, rows: list[Row], folder: Path, spread: Spread, tasks: int) -> Outcome:
        """See Answerer. Each task gets a share of the rows, of the concurrency, and of what is left of the budget; what
        some leave of theirs is shared out again, until a round brings nothing new."""
        outcome, before = Outcome(), -1
        by_key = _by_key(rows, self.config)
        written: set[str] = set()
        while True:
            replies = Replies(folder / REPLIES)
            there = {key: reply for key in by_key if (reply := replies.get(key)) is not None}
            if before < 0:  # replies of a run that was killed before it wrote the answers
                writer = Writer(folder)
                for key, reply in there.items():
                    _write(writer, by_key[key], reply, self.config, self.about)
                writer.close()
            written |= set(there)
            left = [same for key, same in by_key.items() if key not in written and key not in outcome.failed_keys]
            everything = replies.all()
            outcome.usage = _usage(everything, self.config)
            limits = left_of(self.config.budget, spent_on(everything, self.endpoint))
            if not left:
                outcome.exhausted = None
            elif limits is None:
                outcome.exhausted = outcome.exhausted or reached(
                    self.config.budget, spent_on(everything, self.endpoint)
                )
            if not left or limits is None or len(replies) == before:
                return outcome
            before = len(replies)
            largest = largest_of(Spent(1, 0, 0.0), *(spent_on([reply], self.endpoint) for reply in everything))
            terms = Terms(limits, largest, self.endpoint.concurrency, self._left_out)
            for result in self._round(left, folder, terms, spread, tasks):
                self._left_out = tuple(dict.fromkeys((*self._left_out, *result["left_out"])))
                outcome.exhausted = outcome.exhausted or result["exhausted"]
                for key, reason in result["failed"].items():
                    outcome.fail(by_key[key], key, reason, key in result["passing"])

    def _round(
        self, rows: list[list[Row]], folder: Path, terms: Terms, spread: Spread, tasks: int
    ) -> list[dict[str, Any]]:
        """`rows`: those of each request."""
        parts = min(tasks, len(rows), terms.threads, terms.limits.max_requests or tasks)
        payloads = []
        with TemporaryDirectory(prefix="shards-", dir=folder) as aside:
            for part, share in enumerate(terms.shared(parts)):
                path = Path(aside) / f"{part}.json"
                path.write_text(json.dumps(rows[part::parts]), encoding="utf-8")
                payloads.append({
                    "config": self.config.model_dump(mode="json", exclude_unset=True), "about": self.about,
                    "rows": str(path), "folder": str(folder), "terms": share.as_dict(),
                })  # fmt: skip
            return spread(ask_shard, payloads)


def ask_shard(payload: dict[str, Any]) -> dict[str, Any]:
    """One task: plain data in and out; the answers are in the folder."""
    config, folder = GenerateConfig.model_validate(payload["config"]), Path(payload["folder"])
    assert config.endpoint is not None, "a shard has an endpoint"
    rows = [[row_of(row) for row in same] for same in json.loads(Path(payload["rows"]).read_text(encoding="utf-8"))]
    requests = [request_of(same[0], config) for same in rows]
    by_key = {request.key: same for request, same in zip(requests, rows, strict=True)}
    replies, writer = Replies(folder / REPLIES), Writer(folder)
    # Of this task, before its host was lost.
    so_far = [reply for key in by_key if (reply := replies.get(key)) is not None]

    def received(request: Request, reply: Reply) -> None:
        _write(writer, by_key[request.key], reply, config, payload["about"])

    try:
        for reply in so_far:
            _write(writer, by_key[reply.key], reply, config, payload["about"])
        missing = [request for request in requests if replies.get(request.key) is None]
        sent = send_all(missing, config.endpoint, replies, Terms.of(payload["terms"]), received, so_far)
    finally:
        replies.close()
        writer.close()
    return {
        "failed": sent.failed, "passing": sent.passing, "exhausted": sent.exhausted, "left_out": sent.left_out
    }  # fmt: skip


def _by_key(rows: list[Row], config: GenerateConfig) -> dict[str, list[Row]]:
    """The rows of each request by its key: those whose turns are equal so far, whatever comes after, share one."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[request_of(row, config).key].append(row)
    return found


def request_of(row: Row, config: GenerateConfig) -> Request:
    """The request for an answer. Samples differ in their seed, which no other answer has."""
    endpoint = config.endpoint
    assert endpoint is not None, "a request needs a server"
    chat = for_server(row.turns)
    seed = key_of(config.seed, row.prompt_id, row.sample, row.temperature) % 2**31
    body: dict[str, Any] = {
        "model": endpoint.model,
        "messages": chat.turns,
        endpoint.max_tokens_field: config.max_new_tokens,
        "temperature": row.temperature,
        "seed": seed,
    }
    if chat.tools is not None:
        body["tools"] = chat.tools
    if config.top_p < 1:
        body["top_p"] = config.top_p
    if config.stop:
        body["stop"] = config.stop
    if endpoint.extra_body:
        body["extra_body"] = endpoint.extra_body
    asked = json.dumps([config.engine, body, row.sample], sort_keys=True, separators=(",", ":"))
    return Request(hashlib.sha256(asked.encode()).hexdigest(), body)


def _write(writer: Writer, rows: list[Row], reply: Reply, config: GenerateConfig, about: dict[str, Any]) -> None:
    for row in rows:
        writer.add(_made(row, reply, config, about))


def _made(row: Row, reply: Reply, config: GenerateConfig, about: dict[str, Any]) -> Made:
    """A refusal in a field of its own is what the model says, to its end; a tool call or a filter leaves no answer."""
    finished = reply.ending(config.max_new_tokens) in ("ended", "refused")
    text, tokens = reply.reply.strip(), reply.output_tokens
    answer: Answer = row.answered(text, finished, tokens, config, about, reply.sent_without)
    return Made(answer, reply.seconds)


def _usage(replies: list[Reply], config: GenerateConfig) -> dict[str, Any]:
    assert config.endpoint is not None, "replies come from a server"
    spent = spent_on(replies, config.endpoint)
    return {
        "requests": spent.requests,
        "input_tokens": sum(reply.input_tokens for reply in replies),
        "output_tokens": sum(reply.output_tokens for reply in replies),
        "answers_with_estimated_tokens": sum(reply.estimated for reply in replies),
        "cost": round(spent.cost, 6),
        **counted(replies, config.max_new_tokens),
    }
