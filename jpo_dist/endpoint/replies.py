"""Replies on disk: append-only, found by the content of the request.

A folder of JSON-lines files. Every process writes to a file of its own that no other will ever append to, so that
killed runs, several tasks and several hosts cannot mix their lines; readers take all files. The last line of a file
may be torn by a kill: it is not there, and its question will be asked again.
"""

import logging
import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jpo_dist.digests import sound_lines, with_digest
from jpo_dist.endpoint.completion import is_count
from jpo_dist.files import JsonLines

log = logging.getLogger(__name__)

Ending = Literal["ended", "cut", "refused", "withheld", "tool call", "broken off"]
_ENDINGS: dict[Ending, tuple[str, ...]] = {
    "cut": ("length", "max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit"),
    "refused": ("refusal",),
    "withheld": ("content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content",
                 "guardrail_intervened", "sensitive"),
    "tool call": ("tool_calls", "tool_call", "tool_use", "function_call"),
    "broken off": ("error", "abort", "aborted", "cancelled", "timeout", "insufficient_system_resource"),
}  # fmt: skip
_ENDING_OF = {reason: ending for ending, reasons in _ENDINGS.items() for reason in reasons}


class Reply(NamedTuple):
    """A reply that was paid for; its fields are the keys of its line on disk.

    `reply` is its text. `estimated`: the server did not say how many tokens it took.
    """

    key: str
    reply: str
    input_tokens: int
    output_tokens: int
    estimated: bool
    seconds: float
    server: str
    finish_reason: str = ""
    sent_without: str = ""
    """Fields that the server refused, joined by commas; see jpo_dist.endpoint.refused_fields."""

    def is_sound(self) -> bool:
        """Whether every field has a value that it can have."""
        return (
            isinstance(self.key, str)
            and isinstance(self.reply, str)
            and isinstance(self.server, str)
            and isinstance(self.finish_reason, str)
            and isinstance(self.sent_without, str)
            and is_count(self.input_tokens)
            and is_count(self.output_tokens)
            and isinstance(self.estimated, bool)
            and isinstance(self.seconds, int | float)
            and 0 <= self.seconds < math.inf
        )

    def ending(self, allowed: int) -> Ending:
        """Whether the text was said to its end, with `allowed` tokens at most; else what came between.

        Where the server does not say, as records of old runs do not, a reply of all the tokens that it could have was
        cut. Reasons that stand in no list of ours (`eos`, `end_turn`, …) are ends.
        """
        if not self.finish_reason:
            return "cut" if self.output_tokens >= allowed and not self.estimated else "ended"
        return _ENDING_OF.get(self.finish_reason.strip().lower().replace("-", "_"), "ended")


def counted(replies: Iterable[Reply], allowed: int) -> dict[str, int]:
    """How many replies were cut, how many ended otherwise than by themselves, and how many were sent without a field.

    Flat, for a report: `answers_cut` always, the others where there are some.
    """
    found: Counter[str] = Counter(answers_cut=0)
    for reply in replies:
        if (ending := reply.ending(allowed)) != "ended":
            found[f"answers_{ending.replace(' ', '_')}"] += 1
        found.update(f"answers_sent_without_{name}" for name in reply.sent_without.split(",") if name)
    return dict(sorted(found.items()))


class Replies:
    """All replies of a folder, by key; those that come now go into one more file. For many threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._lines: JsonLines | None = None
        self._by_key: dict[str, Reply] = {}
        self.repeated: Counter[str] = Counter()
        """Replies to a question that had one already, by key: paid twice. Empty unless two runs shared the folder."""
        for path in sorted(path for path in folder.glob("*.jsonl") if path.is_file()):
            damaged = sum(line is None or not self._take(line) for line in sound_lines(path))
            if damaged:
                log.warning("%s: %d lines are no replies; their questions are asked again", path, damaged)

    def _take(self, line: dict[str, Any]) -> bool:
        """Whether a line is a reply: a file may be damaged, or another's."""
        try:
            reply = Reply(**line)
        except TypeError:
            return False
        if not reply.is_sound():
            return False
        if self._by_key.setdefault(reply.key, reply) is not reply:
            self.repeated[reply.key] += 1
        return True

    def get(self, key: str) -> Reply | None:
        """The reply to the request with this key; None where there is none yet."""
        return self._by_key.get(key)

    def __len__(self) -> int:
        return len(self._by_key)

    def all(self) -> list[Reply]:
        return list(self._by_key.values())

    def add(self, reply: Reply) -> None:
        """When this returns the reply is on the disk, and survives a kill and a power cut."""
        with self._lock:
            if self._lines is None:
                name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.jsonl"
                self._lines = JsonLines(self.folder / name)
            self._lines.add(with_digest(reply._asdict()))
        self._lines.sync()  # outside the lock: one flush of the disk serves all threads that wait for it
        self._by_key[reply.key] = reply

    def close(self) -> None:
        with self._lock:
            if self._lines is not None:
                self._lines.close()
                self._lines = None
