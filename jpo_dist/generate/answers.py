"""Answers on disk: a folder with `part-*.jsonl`, one line an answer, which `jpo winrate` and `jpo data build` read."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.records.comparisons import Message


class Answer(NamedTuple):
    """What a model said to an instruction; its fields are the keys of its line on disk."""

    prompt: int
    """Place of the instruction among those that were asked, from 0."""
    prompt_id: str
    """`Item.instruction_id` of the instruction: equal instructions, equal id."""
    instruction: str | list[dict[str, str]]
    """Text where it is one user message, else its messages: {"role", "content"}."""
    answer: str
    finished: bool
    """The model ended it, or a stop text did; False: it was cut off at max_new_tokens."""
    tokens: int
    """Tokens of the answer, its end included."""
    temperature: float
    sample: int
    """Which of several answers to this instruction at this temperature, from 0."""
    seed: int
    model: str
    """Digest of the model's files, or the name of the model at an endpoint."""
    engine: str
    """`local`, or the name of the endpoint."""

    @property
    def place(self) -> tuple[float, int, int]:
        """Its place in a folder: by temperature, instruction, sample."""
        return self.temperature, self.prompt, self.sample

    @property
    def messages(self) -> tuple[Message, ...]:
        """The instruction as an item has it."""
        if isinstance(self.instruction, str):
            return (Message("user", self.instruction),)
        return tuple(Message(**turn) for turn in self.instruction)


def is_answers(folder: Path) -> bool:
    """Whether `folder` holds answers."""
    return folder.is_dir() and any(folder.glob("part-*.jsonl"))


def read_answers(folder: str | Path) -> list[Answer]:
    """All answers in `folder`, in the order of their places.

    Raises FileNotFoundError for a folder without parts, and ValueError, which names file and line, for a line that is
    no answer.
    """
    parts = sorted(Path(folder).glob("part-*.jsonl"))
    if not parts:
        raise FileNotFoundError(f"{folder} holds no answers (part-*.jsonl); make some with jpo generate")
    found = [_read(line, f"{part}:{number}") for part in parts for number, line in enumerate(_lines(part), 1)]
    return sorted(found, key=lambda answer: answer.place)


def _lines(part: Path) -> list[str]:
    return part.read_text(encoding="utf-8").splitlines()


def _read(line: str, where: str) -> Answer:
    try:
        row: dict[str, Any] = json.loads(line)
        return Answer(**row)
    except (ValueError, TypeError):
        raise ValueError(f"{where} is no answer of jpo generate; make them again, or remove the line") from None
