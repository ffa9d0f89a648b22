"""What is asked of a model, wherever it runs, and what becomes of it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from jpo_dist.fan_out import Spread
from jpo_dist.generate.answers import Answer
from jpo_dist.generate.config import GenerateConfig
from jpo_dist.records.comparisons import Item, Message
from jpo_dist.records.text import as_prompt

Place = tuple[float, int, int]
"""Temperature, prompt, sample: which answer it is."""


class Row(NamedTuple):
    """An answer that is to be made; it can be sent to a task as plain data."""

    prompt: int
    turns: tuple[Message, ...]
    temperature: float
    sample: int

    @property
    def place(self) -> Place:
        return self.temperature, self.prompt, self.sample

    @property
    def prompt_id(self) -> str:
        return Item(self.turns, "").instruction_id

    def answered(
        self, text: str, finished: bool, tokens: int, config: GenerateConfig, about: dict[str, Any],
        sent_without: str = "",
    ) -> Answer:  # fmt: skip
        """The answer, as the folder keeps it."""
        return Answer(self.prompt, self.prompt_id, as_prompt(self.turns), text, finished, tokens, self.temperature,
                      self.sample, config.seed, about["model"], about["engine"], sent_without)  # fmt: skip


def row_of(values: list[Any]) -> Row:
    """A row from plain data, as JSON gives it back."""
    prompt, turns, temperature, sample = values
    return Row(prompt, tuple(Message(*turn) for turn in turns), temperature, sample)


@dataclass
class Outcome:
    """What became of rows that got no answer, and what the others took."""

    skipped: dict[Place, dict[str, Any]] = field(default_factory=dict)
    """Rows whose prompt leaves no room in the model's positions ({"tokens", "positions"}), or which the chat template
    refuses ({"refused": why})."""
    failed: Counter[str] = field(default_factory=Counter)
    """Reasons of a server."""
    passing: Counter[str] = field(default_factory=Counter)
    """Those of rows that may get an answer when they are asked again."""
    failed_at: Counter[float] = field(default_factory=Counter)
    """The same rows by temperature."""
    failed_keys: set[str] = field(default_factory=set)
    """Keys of their requests."""
    exhausted: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)

    def fail(self, rows: list[Row], key: str, reason: str, passing: bool) -> None:
        """Count the rows of a request to which a server gave no answer."""
        self.failed[reason] += len(rows)
        self.failed_at.update(row.temperature for row in rows)
        self.failed_keys.add(key)
        if passing:
            self.passing[reason] += len(rows)

    def and_also(self, other: "Outcome") -> "Outcome":
        """Both together; of what is counted over a whole folder, the later."""
        return Outcome(
            self.skipped | other.skipped, self.failed + other.failed, self.passing + other.passing,
            self.failed_at + other.failed_at, self.failed_keys | other.failed_keys,
            self.exhausted or other.exhausted, other.usage or self.usage,
        )  # fmt: skip


class Answerer(Protocol):
    """A model that answers, here or behind an address. `about`: engine, model, and what else decides answers."""

    about: dict[str, Any]

    def ask(self, rows: list[Row], folder: Any, spread: Spread, tasks: int) -> Outcome:
        """Put answers to the rows into `folder` (jpo_dist/generate/progress.py), as far as possible."""
